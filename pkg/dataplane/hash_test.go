// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/maglev"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// hashSlots is the size of the table: every slot leads to a backend of its own,
// so that where a packet goes says which slot it fell into.
const hashSlots = 1021

// Listeners of the hash tests, by algorithm.
const (
	portByFlow   = 8000
	portBySource = 8001
)

// hashLab sends flows to as many backends as there are slots.
func hashLab(t *testing.T, seed uint64, family6 bool) *lab {
	t.Helper()
	knobs := labKnobs()
	knobs.Seed = seed
	l := openLab(t, Limits{Listeners: 64, Backends: 8 * hashSlots, Slots: 8 * 1024}, knobs)
	table, pool := make([]uint16, hashSlots), make([]model.Backend, hashSlots)
	for slot := range table {
		// Neither the order of backends nor their number is that of the slots.
		table[slot] = uint16((slot*7+3)%hashSlots) + 1
	}
	for i := range pool {
		pool[i] = model.Backend{Address: hashBackend(i+1, family6), Forward: lb.IPIP, NextHop: far}
	}
	vips := []netip.Addr{vip4, vip6}
	for _, p := range []lb.Protocol{lb.TCP, lb.UDP} {
		l.addListener(t, vips, portByFlow, p, lb.Maglev, table, pool...)
		l.addListener(t, vips, portBySource, p, lb.Source, table, pool...)
	}
	return l
}

// hashBackend is the address of a backend by its index.
func hashBackend(index int, family6 bool) netip.Addr {
	if family6 {
		a := backend6.As16()
		binary.BigEndian.PutUint16(a[14:], uint16(index))
		return netip.AddrFrom16(a)
	}
	return netip.AddrFrom4([4]byte{198, 51, 96 + byte(index>>8), byte(index)})
}

// TestHashesAgree: C and Go give the same hash of every flow, all bits of which
// can be seen: the upper half in the backend, the lower in the outer header.
func TestHashesAgree(t *testing.T) {
	const flows = 400 // of each kind
	random := rand.New(rand.NewPCG(1, 2))
	for _, seed := range []uint64{0, 1, 0xffffffffffffffff, labSeed} {
		for _, family6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("seed %x, outer IPv6 %v", seed, family6), func(t *testing.T) {
				l := hashLab(t, seed, family6)
				sent := make(map[uint16]uint64)
				for range flows {
					for _, f := range drawFlows(random) {
						sent[l.checkFlow(t, f, family6)]++
					}
				}
				l.checkSpread(t, sent)
			})
		}
	}
}

// flow is a TCP or UDP flow to a listener.
type flow struct {
	src, dst netip.Addr
	sport    uint16
	dport    uint16
	protocol lb.Protocol
}

// drawFlows draws a client, and gives it a flow of every kind.
func drawFlows(r *rand.Rand) (flows []flow) {
	var a [16]byte
	binary.BigEndian.PutUint64(a[:], r.Uint64())
	binary.BigEndian.PutUint64(a[8:], r.Uint64())
	for _, dport := range []uint16{portByFlow, portBySource} {
		for _, p := range []lb.Protocol{lb.TCP, lb.UDP} {
			flows = append(flows,
				flow{netip.AddrFrom4([4]byte(a[:4])), vip4, uint16(r.Uint32()), dport, p},
				flow{netip.AddrFrom16(a), vip6, uint16(r.Uint32()), dport, p},
			)
		}
	}
	return flows
}

func (f flow) frame() []byte {
	in := eth.IP(f.src, f.dst)
	if f.protocol == lb.TCP {
		return in.TCP(f.sport, f.dport, packet.SYN).Bytes()
	}
	return in.UDP(f.sport, f.dport).Bytes()
}

// checkFlow sends a packet of a flow and returns the backend that must get it.
func (l *lab) checkFlow(t *testing.T, f flow, family6 bool) (index uint16) {
	t.Helper()
	hash := maglev.Hash(l.config.Seed, f.src, f.dst, f.sport, f.dport, uint8(f.protocol))
	low := uint32(hash) // the outer header varies with the flow in any case
	if f.dport == portBySource {
		hash = maglev.HashSource(l.config.Seed, f.src)
	}
	index = l.config.Listeners[service(f.dst, f.dport, f.protocol)].Slots[maglev.Slot(hash, hashSlots)].Current
	action, out, err := l.run(f.frame())
	if err != nil {
		t.Fatal(err)
	}
	if action != uint32(model.Redirect) {
		t.Fatalf("%+v: action %d", f, action)
	}
	ip := out[atIP:]
	var src, dst, wantSrc netip.Addr
	if family6 {
		src, dst, wantSrc = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:])), outer6(low)
		if label := binary.BigEndian.Uint32(ip) & 0xfffff; label != low&0xfffff {
			t.Errorf("%+v: flow label %#x, the hash ends in %#x", f, label, low)
		}
	} else {
		src, dst, wantSrc = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:])), outer4(low)
	}
	if want := hashBackend(int(index), family6); dst != want || src != wantSrc {
		t.Errorf("%+v: sent from %s to %s, want from %s to %s", f, src, dst, wantSrc, want)
	}
	return index
}

// checkSpread compares the counters of the backends with what was sent to each,
// over all listeners.
func (l *lab) checkSpread(t *testing.T, sent map[uint16]uint64) {
	t.Helper()
	after, err := l.read()
	if err != nil {
		t.Fatal(err)
	}
	total := uint64(0)
	for index, want := range sent {
		got := uint64(0)
		for listener := range l.listeners {
			got += after.backends[l.backends[listener.Backends[index]]].Packets
		}
		if got != want {
			t.Errorf("backend %d has %d packets, want %d", index, got, want)
		}
		total += got
	}
	if forwarded := after.reasons[weirReasonREASON_FORWARDED].Packets; forwarded != total {
		t.Errorf("%d packets are forwarded, the backends have %d", forwarded, total)
	}
}
