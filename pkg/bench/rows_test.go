// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"net/netip"
	"regexp"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// Numbers of flows.
const (
	few  = 1000
	many = 1_000_000
)

// base is the listener that rows vary.
var base = shape{
	listeners: 1, backends: 100, tableSize: 65537, forward: lb.IPIP, egress: ingress, idle: 350 * time.Second,
	features: dataplane.Features{IPIP4: true},
}

// with returns base with something changed.
func with(change func(*shape)) shape {
	s := base
	change(&s)
	return s
}

// to returns streams to one port of an address, one for each number of flows.
func to(dest netip.Addr, flows ...uint32) (streams []stream) {
	for _, n := range flows {
		streams = append(streams, stream{dest: dest, flows: n, ports: 1})
	}
	return streams
}

// firstPackets is a flood of SYNs to one port, each of a flow of its own.
func firstPackets(dest netip.Addr) stream {
	return stream{dest: dest, flows: countless, ports: 1, syn: true, inTurn: true}
}

// rows is a table of packets in the making.
type rows struct {
	*testing.B
	all []*packet
}

// listPackets loads what is measured.
func listPackets(b *testing.B) []*packet {
	floor4 := func(g *generator) *ebpf.Program { return g.BenchFloor4 }
	floor6 := func(g *generator) *ebpf.Program { return g.BenchFloor6 }
	r := rows{B: b, all: []*packet{
		{name: "floor: IPv4 in IPv4", stream: to(vip4, few)[0], floor: floor4, action: xdpTX},
		{name: "floor: IPv6 in IPv6", stream: to(vip6, few)[0], floor: floor6, action: xdpTX},
	}}
	r.addSteady()
	r.addTracked()
	return r.all
}

// add adds a row for each stream to one data plane, whose packets become what
// those of like do.
func (r *rows) add(name string, object string, s shape, like packet, streams ...stream) {
	var p *plane
	for _, st := range streams {
		if !wanted(name, st) {
			continue
		}
		if p == nil {
			p = openShape(r.B, object, s)
		}
		r.addRow(name, p, like, st)
	}
}

func (r *rows) addRow(name string, p *plane, like packet, s stream) {
	like.name, like.plane, like.stream = name, p, s
	like.floor = func(*generator) *ebpf.Program { return nil }
	r.all = append(r.all, &like)
}

// wanted reports whether the flag asks for a row.
func wanted(name string, s stream) bool {
	return regexp.MustCompile(*packets).MatchString(fmt.Sprintf("%s, %d flows", name, s.flows))
}

// addSteady adds what is measured of slots that are steady, and of packets that
// have none.
func (r *rows) addSteady() {
	out := packet{action: xdpTX, reason: "forwarded"}
	steady := packet{action: xdpTX, reason: "forwarded", path: steadyPath}
	redirect := packet{action: xdpRedirect, reason: "forwarded"}
	foreign := packet{action: xdpPass, reason: "pass_not_ours"}
	add := func(name string, s shape, like packet, streams ...stream) {
		r.add(name, *bpfObject, s, like, streams...)
	}
	counts := []uint32{1, few, 100_000, many}

	add("ipip, IPv4 in IPv4", base, steady, to(vip4, counts...)...)
	if *against != "" {
		other := packet{action: xdpTX, reason: "forwarded", path: againstPath}
		r.add("the other object", *against, base, other, to(vip4, counts...)...)
	}
	add("the same, first packets", base, out, firstPackets(vip4))
	add("the same, 16,381 slots", with(func(s *shape) { s.tableSize = 16381 }), out, to(vip4, many)...)
	add("the same, all features on", with(func(s *shape) {
		s.features = dataplane.Features{DSR: true, IPIP4: true, IPIP6: true, SourceHash: true, Reject: true}
	}), out, to(vip4, many)...)
	add("the same, by another interface", with(func(s *shape) { s.egress = another }), redirect, to(vip4, many)...)
	add("the same, 1,000 listeners", with(func(s *shape) {
		s.listeners, s.tableSize = 1000, 16381
	}), out, stream{dest: vip4, flows: many, ports: 1000})
	add("ipip, IPv6 in IPv4", base, steady, to(vip6, few, many)...)
	over6 := with(func(s *shape) { s.outer6, s.features = true, dataplane.Features{IPIP6: true} })
	add("ipip, IPv4 in IPv6", over6, out, to(vip4, many)...)
	add("ipip, IPv6 in IPv6", over6, out, to(vip6, many)...)
	dsr := with(func(s *shape) { s.forward, s.features = lb.DSR, dataplane.Features{DSR: true} })
	add("dsr, IPv4", dsr, out, to(vip4, many)...)
	add("dsr, IPv6", dsr, out, to(vip6, many)...)
	add("not ours, IPv4", base, foreign, to(foreign4, many)...)
	add("not ours, IPv6", base, foreign, to(foreign6, many)...)
}

// addTracked adds what is measured of slots that are not steady, each row with
// a data plane, and a flow table, of its own.
func (r *rows) addTracked() {
	add := func(name string, open func(*testing.B, string, shape) *plane, s shape, like packet, streams ...stream) {
		for _, st := range streams {
			if !wanted(name, st) {
				continue
			}
			p := open(r.B, *bpfObject, s)
			if like.path == recordedPath {
				p.meet(r.B, st)
			}
			r.addRow(name, p, like, st)
		}
	}
	recorded := packet{action: xdpTX, reason: "forwarded", path: recordedPath, decided: byRecord}
	add("moving, recorded", openMoving, base, recorded, to(vip4, 1, few, 100_000, many)...)
	add("moving, recorded, IPv6 in IPv4", openMoving, base, recorded, to(vip6, few, many)...)
	add("moving, recorded, two tables", openTwoTables, base, recorded, to(vip4, few, many)...)

	stamped := recorded
	stamped.ticks = true
	add("moving, recorded, stamped anew", openMoving, base, stamped, to(vip4, many)...)

	unrecorded := packet{action: xdpTX, reason: "forwarded", decided: byPrevious}
	settled := with(func(s *shape) { s.idle = time.Second })
	add("settled, no record needed", openSettled, settled, unrecorded, to(vip4, few, many)...)

	first := packet{action: xdpTX, reason: "forwarded", decided: asNew}
	add("moving, first packets", openMoving, base, first, firstPackets(vip4))
	add("moving, first packets, IPv6 in IPv4", openMoving, base, first, firstPackets(vip6))
}
