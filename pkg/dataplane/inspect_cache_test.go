// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"maps"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
)

// TestEveryMapIsInspected: a map of the program that Tables or its listing
// forgot would be seen by nobody.
func TestEveryMapIsInspected(t *testing.T) {
	spec, err := loadWeir()
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]*ebpf.Map)
	for name := range spec.Maps {
		if !isInternal(name) {
			want[name] = new(ebpf.Map)
		}
	}
	got := newTables(want).byName()
	names := func(m map[string]*ebpf.Map) []string { return slices.Sorted(maps.Keys(m)) }
	if diff := cmp.Diff(names(want), names(got)); diff != "" {
		t.Fatalf("maps of the program and those of Tables.Maps (-want +got):\n%s", diff)
	}
	for name, m := range want {
		if got[name] != m {
			t.Errorf("Tables.Maps shows another map as %s", name)
		}
	}
}

// TestCachedListeners: what is shown of each CPU is what that CPU looked up,
// and current until a listener changes.
func TestCachedListeners(t *testing.T) {
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			n, use := cpus(t)
			l := standardLab(t)
			entries, err := l.tables.Listeners()
			if err != nil {
				t.Fatal(err)
			}
			family, other := IPv4, IPv6
			if f.vip.Is6() {
				family, other = other, family
			}
			key := ListenerKey{Address: f.vip, Port: portIPIP4, Protocol: lb.TCP}
			second := ListenerKey{Address: f.vip, Port: portDSR4, Protocol: lb.TCP}
			generation, err := l.tables.ListenerGeneration()
			if err != nil {
				t.Fatal(err)
			}
			l.checkCached(t, family, 0, nil)

			var want []CachedListener
			for i := range n {
				use(i)
				l.checkAsModel(t, f.in.TCP(clientPort, key.Port, packet.SYN).Bytes())
				want = append(want, CachedListener{thisCPU(t), key, generation, true, entries[key]})
			}
			l.checkCached(t, family, 1, want)
			l.checkAsModel(t, f.in.TCP(clientPort, second.Port, packet.SYN).Bytes())
			want = append(want, CachedListener{thisCPU(t), second, generation, true, entries[second]})
			l.checkCached(t, family, 2, want)

			l.setListener(t, key, entries[second], l.config.Listeners[service(f.vip, second.Port, lb.TCP)])
			for i := range want {
				want[i].Current = false
			}
			l.checkCached(t, family, 0, want)
			l.checkAsModel(t, f.in.TCP(clientPort, key.Port, packet.SYN).Bytes())
			want[n-1] = CachedListener{thisCPU(t), key, generation + 1, true, entries[second]}
			l.checkCached(t, family, 1, want)
			l.checkCached(t, other, 0, nil)
		})
	}
}

// checkCached compares what the CPUs keep, and how many current entries the
// CPU has that has most of them.
func (l *lab) checkCached(t *testing.T, f Family, most uint32, want []CachedListener) {
	t.Helper()
	got, err := l.tables.CachedListeners(f)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b ListenerKey) bool { return a == b })); diff != "" {
		t.Errorf("cached listeners (-want +got):\n%s", diff)
	}
	used, err := l.tables.entries(FlowCounts{})
	if err != nil {
		t.Fatal(err)
	}
	name := map[Family]string{IPv4: weirMapListenerCache4, IPv6: weirMapListenerCache6}[f]
	if used[name] != most {
		t.Errorf("%s has %d entries in use, want %d", name, used[name], most)
	}
}

// thisCPU returns the CPU that the test's thread is kept on.
func thisCPU(t *testing.T) int {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	if set.Count() != 1 {
		t.Fatalf("the thread may run on %d CPUs", set.Count())
	}
	cpu := 0
	for !set.IsSet(cpu) {
		cpu++
	}
	return cpu
}
