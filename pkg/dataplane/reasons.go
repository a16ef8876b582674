// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Reasons returns the names of the reasons of the balancer's program, such as
// "drop_too_big", by number. Number 0 is "none" and never counted.
func Reasons() ([]string, error) {
	return reasons(loadWeir, "reason", "REASON_")
}

// NodeReasons returns the names of the reasons of a node's program.
func NodeReasons() ([]string, error) {
	return reasons(loadNode, "node_reason", "NODE_REASON_")
}

// UnusableReasons returns the names of the reasons for which flows leave a
// backend, such as "drained", by number. Number 0 is "no".
func UnusableReasons() ([]string, error) {
	return reasons(loadWeir, "unusable", "UNUSABLE_")
}

// reasons reads the enumerators of an enum from BTF. The last one is the
// number of reasons and not a reason.
func reasons(load func() (*ebpf.CollectionSpec, error), enum, prefix string) ([]string, error) {
	spec, err := load()
	if err != nil {
		return nil, fmt.Errorf("reading the embedded program: %w", err)
	}
	var reason *btf.Enum
	if err := spec.Types.TypeByName(enum, &reason); err != nil {
		return nil, fmt.Errorf("reading the names of enum %s: %w", enum, err)
	}
	names := make([]string, len(reason.Values)-1)
	for _, v := range reason.Values[:len(names)] {
		names[v.Value] = strings.ToLower(strings.TrimPrefix(v.Name, prefix))
	}
	return names, nil
}
