// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// cpus keeps the test on one thread and returns what puts that on one of the
// CPUs, and how many there are to choose from.
func cpus(t *testing.T) (n int, use func(cpu int)) {
	t.Helper()
	runtime.LockOSThread()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.SchedSetaffinity(0, &all); err != nil {
			t.Error(err) // and the thread ends with the test
			return
		}
		runtime.UnlockOSThread()
	})
	var numbers []int
	for i := 0; len(numbers) < all.Count(); i++ {
		if all.IsSet(i) {
			numbers = append(numbers, i)
		}
	}
	return len(numbers), func(cpu int) {
		var one unix.CPUSet
		one.Set(numbers[cpu])
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			t.Fatal(err)
		}
	}
}

// TestManyListeners has more listeners than a CPU keeps at hand, which differ in
// one thing alone: some share a place. Each packet is counted by its own,
// whichever was found there before.
func TestManyListeners(t *testing.T) {
	_, use := cpus(t)
	use(0)
	word := func(n int) func(i uint16) netip.AddrPort {
		return func(i uint16) netip.AddrPort {
			a := netip.MustParseAddr("3fff::10").As16()
			binary.BigEndian.PutUint16(a[4*n+2:], i)
			return netip.AddrPortFrom(netip.AddrFrom16(a), portIPIP4)
		}
	}
	for _, test := range []struct {
		name    string
		address func(i uint16) netip.AddrPort
	}{
		{"ports4", func(i uint16) netip.AddrPort { return netip.AddrPortFrom(vip4, i) }},
		{"ports6", func(i uint16) netip.AddrPort { return netip.AddrPortFrom(vip6, i) }},
		{"addresses4", func(i uint16) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), portIPIP4)
		}},
		{"first word", word(0)}, {"second word", word(1)}, {"third word", word(2)}, {"last word", word(3)},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, frames := manyListeners(t, test.address)
			sent := make([]ListenerTraffic, len(frames))
			order := rand.New(rand.NewPCG(1, 2))
			for range 2 {
				for _, i := range order.Perm(len(frames)) {
					for range 2 { // the second surely found before
						action, _, err := l.run(frames[i])
						if err != nil || action != uint32(model.Redirect) {
							t.Fatalf("%s: action %d, %v", test.address(uint16(i)), action, err)
						}
						one := Traffic{Packets: 1, Bytes: uint64(len(frames[i]))}
						sent[i].Forwarded = sent[i].Forwarded.Add(one)
					}
				}
			}
			after, err := l.read()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(sent, after.listeners[1:len(sent)+1]); diff != "" {
				t.Errorf("listeners' counters (-want +got):\n%s", diff)
			}
		})
	}
}

// manyListeners opens a lab with listeners on more addresses than a CPU keeps
// at hand, and makes a packet for each. The identifier of the first is 1.
func manyListeners(t *testing.T, address func(i uint16) netip.AddrPort) (l *lab, frames [][]byte) {
	t.Helper()
	spec, err := loadWeir()
	if err != nil {
		t.Fatal(err)
	}
	n := spec.Maps[weirMapListenerCache4].MaxEntries + 100
	l = openLab(t, Limits{Listeners: 2 * n, Backends: 2 * n, Slots: n * SlotsPerLine}, labKnobs(), countInMemory)
	for i := range uint16(n) {
		a := address(i)
		l.addListener(t, []netip.Addr{a.Addr()}, a.Port(), lb.TCP, lb.Maglev, []uint16{1}, ways()[0].backend)
		src := client4
		if a.Addr().Is6() {
			src = client6
		}
		frames = append(frames, eth.IP(src, a.Addr()).TCP(clientPort, a.Port(), packet.SYN).Bytes())
	}
	return l, frames
}

// TestListenerChanges: on every CPU, the packet after a change of a listener is
// treated as the change says.
func TestListenerChanges(t *testing.T) {
	n, use := cpus(t)
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			l := fastLab(t)
			frame := f.in.TCP(clientPort, portIPIP4, packet.SYN).Bytes()
			key := ListenerKey{Address: f.vip, Port: portIPIP4, Protocol: lb.TCP}
			onEveryCPU := func() {
				for cpu := range n {
					use(cpu)
					l.checkAsModel(t, frame)
					l.checkAsModel(t, frame)
				}
			}
			onEveryCPU()
			entries, err := l.tables.Listeners()
			if err != nil {
				t.Fatal(err)
			}
			was, other := entries[key], ListenerKey{Address: f.vip, Port: portDSR4, Protocol: lb.TCP}
			wasModel := l.config.Listeners[service(f.vip, portIPIP4, lb.TCP)]

			l.setListener(t, key, entries[other], l.config.Listeners[service(f.vip, portDSR4, lb.TCP)])
			onEveryCPU()
			l.setListener(t, key, Listener{}, nil)
			onEveryCPU()
			l.setListener(t, key, was, wasModel)
			onEveryCPU()
		})
	}
}

// fataler is what setListener needs of a test or a property.
type fataler interface{ Fatal(args ...any) }

// setListener changes the entry of a key, in the map and for the model. No
// listener removes it.
func (l *lab) setListener(t fataler, key ListenerKey, entry Listener, m *model.Listener) {
	s := service(key.Address, key.Port, key.Protocol)
	var err error
	if m == nil {
		delete(l.config.Listeners, s)
		err = l.tables.DeleteListener(key)
	} else {
		l.config.Listeners[s] = m
		err = l.tables.PutListener(key, entry)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestListenerHistories changes listeners at random between packets, which come
// in on all CPUs.
func TestListenerHistories(t *testing.T) {
	n, use := cpus(t)
	l := fastLab(t)
	entries, err := l.tables.Listeners()
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[Listener]*model.Listener)
	for key, entry := range entries {
		known[entry] = l.config.Listeners[service(key.Address, key.Port, key.Protocol)]
	}
	rapid.Check(t, func(t *rapid.T) {
		key := func() ListenerKey {
			f := rapid.SampledFrom(families()).Draw(t, "family")
			return ListenerKey{Address: f.vip, Port: rapid.Uint16Range(portIPIP4, portIPIP4+3).Draw(t, "port"), Protocol: lb.TCP}
		}
		for range 25 {
			k := key()
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				from := key()
				entry := entries[from]
				l.setListener(t, k, entry, known[entry])
			case 1:
				l.setListener(t, k, Listener{}, nil)
			default:
				use(rapid.IntRange(0, n-1).Draw(t, "cpu"))
				src := client4
				if k.Address.Is6() {
					src = client6
				}
				l.checkAsModel(t, eth.IP(src, k.Address).TCP(clientPort, k.Port, packet.ACK).Bytes())
			}
		}
	})
}

// TestEmptyCache: what a CPU has never looked up it does not take for found,
// whatever the generation.
func TestEmptyCache(t *testing.T) {
	for _, generation := range []uint32{0, 1, 0xffffffff} {
		t.Run(fmt.Sprint(generation), func(t *testing.T) {
			l := standardLab(t)
			if err := l.tables.maps.ListenerGeneration.Put(uint32(0), generation); err != nil {
				t.Fatal(err)
			}
			for _, f := range families() {
				for _, port := range []uint16{0, 1, portIPIP4} {
					l.checkAsModel(t, f.in.TCP(0, port, packet.SYN).Bytes())
				}
			}
		})
	}
}
