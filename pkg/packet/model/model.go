// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"
	"slices"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/maglev"
)

// Action is what an XDP program returns, numbered as enum xdp_action.
type Action uint32

// Actions.
const (
	Aborted Action = iota
	Drop
	Pass
	TX
	Redirect
)

// String returns the name of the action, such as "PASS".
func (a Action) String() string {
	return []string{"ABORTED", "DROP", "PASS", "TX", "REDIRECT"}[a]
}

// Reasons, as enum reason in bpf/lib/verdict_reasons.h names them.
const (
	PassNotIP      = "PASS_NOT_IP"
	PassMalformed  = "PASS_MALFORMED"
	PassNotOurs    = "PASS_NOT_OURS"
	PassNoListener = "PASS_NO_LISTENER"
	PassICMP       = "PASS_ICMP"
	EchoReply      = "ECHO_REPLY"
	Forwarded      = "FORWARDED"
	DropFragment   = "DROP_FRAGMENT"
	DropNoBackend  = "DROP_NO_BACKEND"
	DropNoNextHop  = "DROP_NO_NEXTHOP"
	DropTooBig     = "DROP_TOO_BIG"
	PassOnItsWay   = "PASS_ON_ITS_WAY"
)

// Why flows may not stay on a backend.
const (
	Removed     = "removed" // also if the pool has no such backend
	Down        = "down"
	Drained     = "drained"
	Rejected    = "rejected"
	Unreachable = "unreachable"
)

// Config is what the maps and knobs of a data plane hold. Run changes Flows and
// Embryonic, which may be nil at first.
type Config struct {
	VIPs          []netip.Addr // addresses of balancers
	Listeners     map[Service]*Listener
	Seed          uint64
	TunnelSource4 netip.Prefix // of outer IPv4 source addresses
	TunnelSource6 netip.Prefix
	Ingress       int    // index of the interface that frames come in by
	FlowLimit     int    // records that there is room for, in each IP family
	Clock         uint32 // now, in milliseconds; it may wrap
	Flows         map[Flow]Record
	Embryonic     map[uint32]Embryo // by the place that a hash gives
	AnswersSpent  bool              // what is rejected is dropped: too much has been answered
}

// Service is what a listener listens on.
type Service struct {
	Address  netip.AddrPort
	Protocol lb.Protocol
}

// Listener is a listener with its pool.
type Listener struct {
	ID        uint32
	Algorithm lb.Algorithm
	Slots     []Slot
	Old       *OldTable           // while the table's size or algorithm is changing
	Backends  map[uint16]*Backend // by number, from 1 on
	Rejects   bool                // on_all_down: reject
}

// backend returns the backend of a slot or record, nil if there is none.
func (l *Listener) backend(number uint16) *Backend {
	if number == 0 {
		return nil
	}
	return l.Backends[number]
}

// Backend is an entry of a pool.
type Backend struct {
	Address  netip.Addr
	Forward  lb.Forward
	NextHop  lb.NextHop // Interface 0 while it is unknown
	Unusable string     // why flows may not stay on it, "" if they may
}

// Result is what becomes of a frame.
type Result struct {
	Action   Action
	Reason   string
	Frame    []byte    // as it leaves
	Egress   int       // the interface by which it leaves; 0 unless TX or Redirect
	Listener *Listener // whose counter counts it as forwarded or as dropped
	Backend  *Backend  // whose counter counts it
	Decided  string    // how its backend was, such as DecidedRecord; "" in a steady slot and without one
	Broken   string    // why the flow could not stay on its backend; "" if it did
	Overflow bool      // there was no room for the flow's record
}

// Run returns what becomes of frame, which it does not change. What there is to
// remember of its flow is remembered, also if the frame is dropped after that.
//
// Counters: the reason of the result counts one packet and the bytes of frame.
// So does the listener, if there is one in the result, under forwarded if Reason
// is Forwarded and else under dropped, and the backend.
func (c *Config) Run(frame []byte) Result {
	p, reason := parse(frame)
	if reason != "" {
		return pass(reason, frame)
	}
	listener := c.Listeners[p.service()]
	vip := slices.Contains(c.VIPs, p.dst)
	switch {
	case listener != nil:
		return c.balance(p, listener)
	case !vip:
		return pass(PassNotOurs, frame)
	case p.fragment == later && c.hasListener(p.dst, lb.Protocol(p.protocol)):
		return Result{Action: Drop, Reason: DropFragment, Frame: frame}
	case p.isICMP():
		return c.icmp(p)
	default:
		return pass(PassNoListener, frame)
	}
}

func pass(reason string, frame []byte) Result {
	return Result{Action: Pass, Reason: reason, Frame: frame}
}

// hasListener reports whether addr has a listener of the protocol on any port.
func (c *Config) hasListener(addr netip.Addr, protocol lb.Protocol) bool {
	for s := range c.Listeners {
		if s.Address.Addr() == addr && s.Protocol == protocol {
			return true
		}
	}
	return false
}

// balance decides on the backend of a packet of a listener and sends it there.
func (c *Config) balance(p *packet, l *Listener) Result {
	if p.fragment != whole {
		return Result{Action: Drop, Reason: DropFragment, Frame: p.frame, Listener: l}
	}
	d := c.decide(p, l)
	r := c.send(p, l, l.backend(d.backend))
	r.Decided, r.Broken, r.Overflow = d.decided, d.broken, d.overflow
	return r
}

// send sends a packet of a listener to b, which may be nil.
func (c *Config) send(p *packet, l *Listener, b *Backend) Result {
	dropped := func(reason string) Result {
		return Result{Action: Drop, Reason: reason, Frame: p.frame, Listener: l}
	}
	switch {
	case b == nil:
		return c.noBackend(p, l)
	case b.NextHop.Interface == 0:
		return dropped(DropNoNextHop)
	case b.Forward == lb.DSR && lb.MAC(p.frame[:6]) == b.NextHop.Dest:
		return pass(PassOnItsWay, p.frame)
	case len(p.l3)+overhead(b) > b.NextHop.MTU:
		return dropped(DropTooBig)
	}
	r := Result{
		Action: Redirect, Reason: Forwarded, Frame: c.forward(p, b, uint32(c.flowHash(p))),
		Egress: b.NextHop.Interface, Listener: l, Backend: b,
	}
	if r.Egress == c.Ingress {
		r.Action = TX
	}
	return r
}

func (c *Config) hash(p *packet, a lb.Algorithm) uint64 {
	if a == lb.Source {
		return maglev.HashSource(c.Seed, p.src)
	}
	return c.flowHash(p)
}

// flowHash is what outer headers vary with, whatever decides on the slot.
func (c *Config) flowHash(p *packet) uint64 {
	return maglev.Hash(c.Seed, p.src, p.dst, p.sport, p.dport, p.protocol)
}
