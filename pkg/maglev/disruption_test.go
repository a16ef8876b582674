// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package maglev

import (
	"fmt"
	"slices"
	"testing"
)

// TestDisruption measures how many slots move besides those that the change in
// shares demands, in percent of the table, as a mean over seeds. The figures in
// the comment of Build are from here.
func TestDisruption(t *testing.T) {
	weighted := equalMembers(100)
	for i := range weighted {
		weighted[i].Weight = uint8(1 + i*7919%255)
	}
	remove := func(m []Member, i int) []Member { return slices.Delete(m, i, i+1) }
	reweight := func(m []Member, i int) []Member {
		m[i].Weight = m[i].Weight/2 + 1
		return m
	}
	tests := []struct {
		name    string
		size    int
		members []Member
		change  func([]Member, int) []Member
		bound   float64
	}{
		{"remove", 65537, equalMembers(100), remove, 0.65},
		{"remove", 16381, equalMembers(100), remove, 1.6},
		{"remove one of 10", 65537, equalMembers(10), remove, 0.35},
		{"remove weighted", 65537, weighted, remove, 0.65},
		{"reweight", 65537, equalMembers(100), reweight, 0.55},
		{"reweight", 16381, equalMembers(100), reweight, 1.3},
		{"reweight weighted", 65537, weighted, reweight, 0.55},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s of %d", test.name, test.size), func(t *testing.T) {
			excess, changes := 0.0, 0
			for seed := range uint64(4) {
				before := build(test.size, seed, test.members)
				for i := 0; i < len(test.members); i += len(test.members)/3 + 1 {
					after := build(test.size, seed, test.change(slices.Clone(test.members), i))
					excess += float64(moved(before, after)-demanded(before, after)) / float64(test.size)
					changes++
				}
			}
			percent := 100 * excess / float64(changes)
			t.Logf("%.3f %% of the slots move without need", percent)
			if percent > test.bound {
				t.Errorf("%.3f %% of the slots move without need, want at most %.2f %%", percent, test.bound)
			}
		})
	}
}

// moved counts the slots that have another member.
func moved(before, after []uint16) int {
	n := 0
	for i := range before {
		if before[i] != after[i] {
			n++
		}
	}
	return n
}

// demanded counts the slots that have to move because shares shrink.
func demanded(before, after []uint16) int {
	n, now := 0, slotsOf(after)
	for id, slots := range slotsOf(before) {
		n += max(0, slots-now[id])
	}
	return n
}
