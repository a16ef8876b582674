// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/maglev"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

var (
	routerMAC, balancerMAC = lb.MAC{6, 0x11, 0x12, 0x13, 0x14, 0x15}, lb.MAC{2, 0x21, 0x22, 0x23, 0x24, 0x25}

	client4, client6 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	other4, other6   = netip.MustParseAddr("192.0.2.99"), netip.MustParseAddr("2001:db8::99") // nobody's

	// Of the balancer: with listeners, with listeners of TCP alone, with none.
	vip4, vip6   = netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8:f::10")
	half4, half6 = netip.MustParseAddr("203.0.113.11"), netip.MustParseAddr("2001:db8:f::11")
	bare4, bare6 = netip.MustParseAddr("203.0.113.12"), netip.MustParseAddr("2001:db8:f::12")

	backend4, backend6 = netip.MustParseAddr("198.51.100.11"), netip.MustParseAddr("2001:db8:b::11")

	// far is beyond another interface, near beyond the one that packets come
	// in by.
	far = lb.NextHop{
		Interface: 7, Source: lb.MAC{0x0a, 0x71, 0x72, 0x73, 0x74, 0x75}, Dest: lb.MAC{0x0e, 0x7a, 0x7b, 0x7c, 0x7d, 0x7e}, MTU: 1500,
	}
	near = lb.NextHop{Interface: loopback, Source: balancerMAC, Dest: lb.MAC{0x12, 0x31, 0x32, 0x33, 0x34, 0x35}, MTU: 1500}

	// What comes in.
	eth    = packet.Eth(routerMAC, balancerMAC)
	from4  = eth.IP(client4, vip4)
	from6  = eth.IP(client6, vip6)
	answer = packet.Eth(balancerMAC, routerMAC)
)

const (
	clientPort = 40000
	labSeed    = 0x8f2a61d7c3b4095e
)

// Ports with a listener, of TCP and of UDP.
const (
	portIPIP4         = 8000 + iota // one backend each, see ways
	portIPIP6                       //
	portDSR4                        //
	portDSR6                        //
	portNearIPIP4                   //
	portNearIPIP6                   //
	portNearDSR                     //
	portSource                      // as portIPIP4, by the client's address
	portMany                        // several backends of both families
	portNone                        // no backend
	portNoHop                       // one backend whose next hop is not known
	portReject                      // no backend, on_all_down: reject
	portTracked                     // several backends and slots in every state
	portTrackedSource               // the same, by the client's address, with an old table
	portTCP                         // TCP alone, on the half VIPs too
	portUDP                         // UDP alone
)

// way is a way to a backend, and the port that leads there.
type way struct {
	name    string
	port    uint16
	backend model.Backend
	action  model.Action
}

func ways() []way {
	return []way{
		{"ipip4", portIPIP4, model.Backend{Address: backend4, Forward: lb.IPIP, NextHop: far}, model.Redirect},
		{"ipip6", portIPIP6, model.Backend{Address: backend6, Forward: lb.IPIP, NextHop: far}, model.Redirect},
		{"dsr4", portDSR4, model.Backend{Address: backend4, Forward: lb.DSR, NextHop: far}, model.Redirect},
		{"dsr6", portDSR6, model.Backend{Address: backend6, Forward: lb.DSR, NextHop: far}, model.Redirect},
		{"near ipip4", portNearIPIP4, model.Backend{Address: backend4, Forward: lb.IPIP, NextHop: near}, model.TX},
		{"near ipip6", portNearIPIP6, model.Backend{Address: backend6, Forward: lb.IPIP, NextHop: near}, model.TX},
		{"near dsr", portNearDSR, model.Backend{Address: backend4, Forward: lb.DSR, NextHop: near}, model.TX},
	}
}

// leaves returns the frame in which the IP packet of in leaves by the way. Of
// an outer header, if there is one, options are what is not as always.
func (w way) leaves(in packet.Frame, hash uint32, options ...packet.IPOption) packet.Frame {
	out := packet.Eth(w.backend.NextHop.Source, w.backend.NextHop.Dest)
	switch {
	case w.backend.Forward == lb.DSR:
	case w.backend.Address.Is4():
		out = out.IP(outer4(hash), w.backend.Address, options...)
	default:
		out = out.IP(outer6(hash), w.backend.Address, append(options, packet.Label(hash&0xfffff))...)
	}
	return out.Inner(in)
}

// overhead is by how much the packet is longer after than before.
func (w way) overhead() int {
	switch {
	case w.backend.Forward == lb.DSR:
		return 0
	case w.backend.Address.Is4():
		return 20
	default:
		return 40
	}
}

// outer4 and outer6 are the outer source addresses of a hash.
func outer4(hash uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18 | byte(hash>>16)&1, byte(hash >> 8), byte(hash)})
}

func outer6(hash uint32) netip.Addr {
	b := [16]byte{0: 1}
	binary.BigEndian.PutUint32(b[12:], hash)
	return netip.AddrFrom16(b)
}

// hashOf is the lower half of the hash of a flow from the client's port.
func hashOf(src, dst netip.Addr, port uint16, p lb.Protocol) uint32 {
	return uint32(maglev.Hash(labSeed, src, dst, clientPort, port, uint8(p)))
}

// labKnobs has everything in it.
func labKnobs() Knobs {
	return Knobs{
		Features:      Features{DSR: true, IPIP4: true, IPIP6: true, SourceHash: true, Reject: true},
		Seed:          labSeed,
		TunnelSource4: netip.MustParsePrefix("198.18.0.0/15"),
		TunnelSource6: netip.MustParsePrefix("100::/64"),
	}
}

// standardLab has every VIP and port of above.
func standardLab(t testing.TB) *lab { return labWith(t, labKnobs()) }

// fastLab is a standardLab for very many packets.
func fastLab(t testing.TB) *lab { return labWith(t, labKnobs(), countInMemory) }

func labWith(t testing.TB, knobs Knobs, patch ...func(*ebpf.CollectionSpec)) *lab {
	t.Helper()
	l := openLab(t, Limits{Listeners: 64, Backends: 128, Slots: 4096}, knobs, patch...)
	l.populate(t)
	return l
}

func (l *lab) populate(t testing.TB) {
	t.Helper()
	vips := []netip.Addr{vip4, vip6}
	first := []uint16{1, 1, 1, 1, 1, 1, 1}
	ipip := ways()[0].backend
	lost := model.Backend{Address: backend4, Forward: lb.IPIP}
	for _, p := range []lb.Protocol{lb.TCP, lb.UDP} {
		for _, w := range ways() {
			l.addListener(t, vips, w.port, p, lb.Maglev, first, w.backend)
		}
		l.addListener(t, vips, portSource, p, lb.Source, first, ipip)
		l.addListener(t, vips, portMany, p, lb.Maglev, manyTable(), manyBackends()...)
		l.addListener(t, vips, portNone, p, lb.Maglev, make([]uint16, 7))
		l.addListener(t, vips, portNoHop, p, lb.Maglev, first, lost)
		l.addRejecting(t, vips, portReject, p)
		l.addTracked(t, vips, portTracked, p, lb.Maglev, false)
		l.addTracked(t, vips, portTrackedSource, p, lb.Source, true)
	}
	l.config.FlowLimit = int(l.tables.Limits().Flows)
	l.addListener(t, append(vips, half4, half6), portTCP, lb.TCP, lb.Maglev, first, ipip)
	l.addListener(t, vips, portUDP, lb.UDP, lb.Maglev, first, ipip)
	for _, vip := range []netip.Addr{vip4, vip6, half4, half6, bare4, bare6} {
		l.addVIP(t, vip)
	}
}

// addTracked makes a listener whose slots are in every state there is, and of
// whose backends one is unusable.
func (l *lab) addTracked(t testing.TB, vips []netip.Addr, port uint16, p lb.Protocol, a lb.Algorithm, old bool) {
	t.Helper()
	pool := manyBackends()
	pool[1].Unusable = model.Down
	entry := l.addListener(t, vips, port, p, a, manyTable(), pool...)
	b, err := l.tables.Backends(entry.Pool+2, 1)
	if err != nil {
		t.Fatal(err)
	}
	b[0].Unusable = Down
	l.putBackend(t, entry.Pool+2, b[0])

	listener := l.config.Listeners[service(vips[0], port, p)]
	write := func(first uint32, slots []model.Slot, state func(i uint16) Slot) {
		var changes []SlotChange
		for i := range slots {
			s := state(uint16(i))
			slots[i] = model.Slot(s)
			changes = append(changes, SlotChange{Index: uint32(i), Slot: s})
		}
		if err := l.tables.WriteSlots(first, uint32(len(slots)), changes); err != nil {
			t.Fatal(err)
		}
	}
	write(entry.Slots, listener.Slots, func(i uint16) Slot {
		s := Slot{Current: i % 5, Previous: i / 5 % 5, Tracked: true}
		s.Tracked = s.Current != s.Previous || i%3 > 0
		return s
	})
	if !old {
		return
	}
	first := l.slots
	l.slots += 2 * SlotsPerLine
	listener.Old = &model.OldTable{Algorithm: lb.Maglev, Slots: make([]model.Slot, 31)}
	write(first, listener.Old.Slots, func(i uint16) Slot { return Slot{Current: 1, Previous: i % 5, Tracked: true} })
	if err := l.tables.PutOldTable(entry.ID, OldTable{Slots: first, TableSize: 31}); err != nil {
		t.Fatal(err)
	}
	entry.OldTable = true
	for _, vip := range vips {
		l.putListener(t, vip, port, p, entry)
	}
}

func manyBackends() (pool []model.Backend) {
	for range 2 {
		for i, a := range []netip.Addr{backend4, backend6} {
			hop := []lb.NextHop{far, near}[(i+len(pool)/2)%2]
			pool = append(pool, model.Backend{Address: a, Forward: lb.IPIP, NextHop: hop})
		}
	}
	return pool
}

func manyTable() []uint16 {
	table := make([]uint16, 251)
	for i := range table {
		table[i] = uint16(i%len(manyBackends())) + 1
	}
	return table
}
