// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"net/netip"
	"time"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// What clients send.
const (
	syn   = packet.SYN
	ack   = packet.ACK
	data  = packet.PSH | packet.ACK
	fin   = packet.FIN | packet.ACK
	reset = packet.RST | packet.ACK
)

// phase is where a connection is in its life, by what its client has sent.
type phase uint8

const (
	closed  phase = iota
	opening       // a SYN went to a backend
	open          // and another packet came after it; of UDP, some packet went to a backend
	closing       // FIN was sent; what comes in is still acknowledged
)

// Why a connection is free to be moved: the limits of persistence. Each frees a
// connection for one packet, and from where that goes on it must stay there.
const (
	// Its backend was not usable in between.
	freeUnusable = "its backend is not usable"

	// There was nowhere to go for it: its packet was dropped. Where it goes once
	// there is a backend again is counted as broken only if a record says still
	// where it was.
	freeDropped = "it has been dropped"

	// No packet for more than idle_timeout, by the clock of the flows as well as
	// by the wall's: it counts as over. One that comes back at the very moment at
	// which its record is looked at and removed may still go by the record, and by
	// the table after that.
	freeIdle = "it was silent"

	// Its SYN left an embryonic record, which is gone: thrown out by another flow
	// with the same of 2^18 places, or swept away, because for more than 64
	// seconds nothing but SYNs was seen of it. Nobody knows where it was.
	freeLost = "its embryonic record is lost"

	// A SYN came where there was no record of it, after its slot had changed: the
	// SYN looks like the first of a new connection. (A SYN that is repeated before
	// anything else was seen of the flow, and the first of which came when its slot
	// was steady, is the same; and so is one that is forged.)
	freeSYN = "a SYN came before a record was made"
)

// client is one end of a flow.
type client struct {
	flow   model.Flow
	frames map[packet.TCPFlags][]byte
	slow   bool // its SYNs are not answered for long

	phase  phase
	at     netip.Addr // the backend that it is on
	free   string     // why its next packet may go elsewhere, "" if it may not
	exempt bool       // a record of it found no room: it may be anywhere
	embryo bool       // it is opening, and its SYN left an embryonic record
	seen   uint32     // the clock of the flows at its last packet
	sent   time.Time  // when that was
}

// newClient returns client n of a listener.
func newClient(p port, n int, ipv6 bool) *client {
	src, dst := netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + n%16)}), vip4
	if ipv6 {
		src, dst = netip.AddrFrom16([16]byte{0: 0x20, 0x01, 0x0d, 0xb8, 5: 0xc, 15: byte(1 + n%16)}), vip6
	}
	return &client{
		flow: model.Flow{
			Src: netip.AddrPortFrom(src, uint16(40000+n/16)), Dst: netip.AddrPortFrom(dst, p.number), Protocol: p.protocol,
		},
		frames: make(map[packet.TCPFlags][]byte), slow: n%4 == 3,
	}
}

// clientsOf returns n clients of each listener and family.
func clientsOf(n int) (all []*client) {
	for i := range n {
		for _, p := range ports {
			all = append(all, newClient(p, i, false), newClient(p, i, true))
		}
	}
	return all
}

func (c *client) port() port { return port{c.flow.Dst.Port(), c.flow.Protocol} }

// frame returns a packet of the client.
func (c *client) frame(flags packet.TCPFlags) []byte {
	if c.frames[flags] == nil {
		c.frames[flags] = frameOf(c.flow, flags)
	}
	return c.frames[flags]
}

func frameOf(f model.Flow, flags packet.TCPFlags) []byte {
	frame := packet.Eth(lb.MAC{2, 0, 0, 0, 0, 9}, lb.MAC{2, 0, 0, 0, 0, 1}).IP(f.Src.Addr(), f.Dst.Addr())
	if f.Protocol == lb.UDP {
		return frame.UDP(f.Src.Port(), f.Dst.Port()).Text("?").Bytes()
	}
	return frame.TCP(f.Src.Port(), f.Dst.Port(), flags).Bytes()
}

// next returns what the client sends next, of itself.
func (c *client) next() packet.TCPFlags {
	switch {
	case c.flow.Protocol == lb.UDP:
		return 0
	case c.phase == closed:
		return syn
	case c.phase == opening:
		return ack
	}
	return data
}

// lives reports whether the client has a connection.
func (c *client) lives() bool { return c.phase != closed }

// end takes the connection away.
func (c *client) end() {
	c.phase, c.at, c.free, c.exempt, c.embryo = closed, netip.Addr{}, "", false, false
}

// arrived takes note of where a packet went.
func (c *client) arrived(flags packet.TCPFlags, o outcome) {
	if o.to.IsValid() {
		c.at, c.free, c.embryo = o.to, "", false
	}
	switch {
	case flags&packet.RST != 0:
		c.end()
	case flags&packet.FIN != 0:
		c.phase = closing
	case c.phase != closing:
		c.phase = open
	}
}
