// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/rogpeppe/go-internal/testscript"
)

// spendAnswers is the script command `bucket ANSWERS NANOSECONDS`, which writes
// what the last CPU has in reject_bucket at $PINS. It leaves that CPU's number
// in $CPU.
func spendAnswers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: bucket ANSWERS NANOSECONDS")
	}
	cpus, err := ebpf.PossibleCPU()
	ts.Check(err)
	values := make([][2]uint64, cpus)
	for i, arg := range args {
		values[cpus-1][i], err = strconv.ParseUint(arg, 10, 64)
		ts.Check(err)
	}
	ts.Check(openPin(ts, "reject_bucket").Put(uint32(0), values))
	ts.Setenv("CPU", strconv.Itoa(cpus-1))
}
