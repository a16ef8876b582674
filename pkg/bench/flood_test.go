// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"testing"

	"github.com/weirlb/weir/pkg/testutil"
)

const (
	floodSize   = 10_000_000
	established = 100_000 // flows that have records when a flood comes
)

// floodCost is what a flood of SYNs does.
type floodCost struct {
	ns        float64 // each takes, with its making
	sent      uint64
	records   int    // of flows, after it
	embryonic uint32 // records
	maps      int64  // bytes that they take more than before, as the kernel says
	memory    int64  // bytes that the kernel has less than before
}

// BenchmarkFlood prints what ten million SYNs of as many flows take, and what
// they leave behind.
func BenchmarkFlood(b *testing.B) {
	testutil.RequireBPF(b)
	defer stayAlone(b)()
	for b.Loop() {
		steady := openShape(b, *bpfObject, base)
		quiet := steady.flood(b)
		steady.check(b)

		moving := openMoving(b, *bpfObject, base)
		flows := to(vip4, established)[0]
		moving.meet(b, flows)
		busy := moving.flood(b)
		moving.tracking.New += busy.sent
		flows.inTurn = true
		moving.tracking.Record += moving.send(b, flows, established) // each goes where it was
		moving.check(b)
		b.ReportMetric(0, "ns/op") // says nothing here
		printFloods(quiet, busy)
	}
}

// flood sends SYNs of flows that are none of the established.
func (p *plane) flood(b *testing.B) (c floodCost) {
	b.Helper()
	s := firstPackets(vip4)
	s.flows, s.first = floodSize, established
	mapsBefore, before := p.mapMemory(b), kernelMemory(b)
	start, err := cpuTime()
	if err != nil {
		b.Fatal(err)
	}
	c.sent = p.send(b, s, floodSize)
	end, err := cpuTime()
	if err != nil {
		b.Fatal(err)
	}
	c.ns = float64(end-start) / float64(c.sent)
	c.maps, c.memory = p.mapMemory(b)-mapsBefore, kernelMemory(b)-before
	c.records = p.flowRecords(b)
	if c.embryonic, err = p.Tables().Embryonic(); err != nil {
		b.Fatal(err)
	}
	return c
}

func printFloods(costs ...floodCost) {
	w := newTable("10,000,000 SYNs of as many flows", "steady slots", "moving slots")
	print := func(what string, cell func(floodCost) string) {
		cells := []string{what}
		for _, c := range costs {
			cells = append(cells, cell(c))
		}
		row(w, cells...)
	}
	print("each, with its making", func(c floodCost) string { return fmt.Sprintf("%.0f ns", c.ns) })
	print("a second, on one core", func(c floodCost) string { return fmt.Sprintf("%.1f million", 1e3/c.ns) })
	print("records of flows, after it", func(c floodCost) string { return thousands(c.records) })
	print("embryonic records, after it", func(c floodCost) string { return thousands(int(c.embryonic)) })
	print("memory that the maps take more", func(c floodCost) string { return megabytes(c.maps) })
	print("memory that the kernel has less", func(c floodCost) string { return megabytes(c.memory) })
	w.Flush()
}
