// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"flag"
	"fmt"
	"math"
	"regexp"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/testutil"
)

var (
	rounds    = flag.Int("rounds", 15, "how often each packet is measured; the median is shown")
	packets   = flag.String("packets", "", "measure packets whose row matches this regular expression only")
	bpfObject = flag.String("object", "embedded", "the BPF object to measure, as agent.bpf_object")
)

// Bounds of DESIGN: of the steady path to the floor, and of its most expensive
// number of flows to the cheapest.
const (
	steadyBound = 4.0
	flatBound   = 1.25
)

// A measurement takes turns; in the first one caches fill.
const (
	turns     = 3
	warmTurns = 1
)

// unusual is how far the speed of the machine may be off in a turn that counts.
const unusual = 0.06

// XDP actions.
const (
	xdpPass     = 2
	xdpTX       = 3
	xdpRedirect = 4
)

// packet is a row of the table: a stream through a program.
type packet struct {
	name   string
	stream stream
	plane  *plane                         // whose program is measured,
	floor  func(*generator) *ebpf.Program // or one of the generator's own
	action uint32
	reason string
	steady bool // the bound of the steady path holds
	turns  []turn

	ns      float64 // what it costs
	counted int     // turns that say so
}

// turn is one comparison: what a packet took without and with the program, in
// nanoseconds.
type turn struct{ bare, whole float64 }

// BenchmarkPacket prints what a packet costs in the data plane.
func BenchmarkPacket(b *testing.B) {
	testutil.RequireBPF(b)
	all := listPackets(b)
	defer stayAlone(b)()
	for b.Loop() {
		for round := range *rounds {
			if err := measureAll(all, uint64(round)); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(0, "ns/op") // says nothing here
	for _, p := range all {
		if p.plane != nil {
			p.plane.checkCounters(b)
		}
	}
	setCosts(all)
	printPackets(all)
}

// measureAll measures each packet once. All code is loaded anew for that: where
// the kernel puts it makes a difference of some nanoseconds.
func measureAll(all []*packet, round uint64) error {
	for _, p := range all {
		if p.plane == nil {
			continue
		}
		if err := p.plane.reload(round + 1); err != nil {
			return err
		}
	}
	for _, p := range all {
		if err := p.measure(); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// measure sends the stream through the program and, in turns, through one that
// does nothing: the difference is what the program costs.
func (p *packet) measure() error {
	baseline, err := newGenerator(p.stream)
	if err != nil {
		return err
	}
	defer baseline.Close()
	if err := baseline.aim(baseline.BenchBaseline); err != nil {
		return err
	}
	g, err := newGenerator(p.stream)
	if err != nil {
		return err
	}
	defer g.Close()
	prog := p.floor(g)
	if p.plane != nil {
		prog = p.plane.Program()
	}
	if err := g.aim(prog); err != nil {
		return err
	}
	for i := range turns + warmTurns {
		bare, _, err := baseline.run(xdpTX)
		if err != nil {
			return err
		}
		whole, n, err := g.run(p.action)
		if err != nil {
			return err
		}
		if i >= warmTurns {
			p.turns = append(p.turns, turn{bare, whole})
		}
		if p.plane != nil {
			p.plane.expected[p.reason] += n
		}
	}
	return nil
}

// setCosts works out what each packet costs: the median over its turns, but for
// those in which the machine was faster or slower than it mostly was, as the
// turns without a program show. All packets are compared at one speed so.
func setCosts(all []*packet) {
	var bare []float64
	for _, p := range all {
		for _, t := range p.turns {
			bare = append(bare, t.bare)
		}
	}
	usual := median(bare)
	for _, p := range all {
		var costs []float64
		for _, t := range p.turns {
			if math.Abs(t.bare-usual) <= unusual*usual {
				costs = append(costs, t.whole-t.bare)
			}
		}
		p.ns, p.counted = median(costs), len(costs)
	}
}

// median returns the median of values, NaN if there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// listPackets loads what is measured.
func listPackets(b *testing.B) []*packet {
	noFloor := func(*generator) *ebpf.Program { return nil }
	floor4 := func(g *generator) *ebpf.Program { return g.BenchFloor4 }
	floor6 := func(g *generator) *ebpf.Program { return g.BenchFloor6 }
	all := []*packet{
		{name: "floor: IPv4 in IPv4", stream: stream{vip4, 1000, 1}, floor: floor4, action: xdpTX},
		{name: "floor: IPv6 in IPv6", stream: stream{vip6, 1000, 1}, floor: floor6, action: xdpTX},
	}
	add := func(name string, s shape, forward packet, streams ...stream) {
		streams = slices.DeleteFunc(streams, func(s stream) bool {
			return !regexp.MustCompile(*packets).MatchString(fmt.Sprintf("%s, %d flows", name, s.flows))
		})
		if len(streams) == 0 {
			return
		}
		forward.name, forward.plane, forward.floor = name, openShape(b, *bpfObject, s), noFloor
		for _, s := range streams {
			row := forward
			row.stream = s
			all = append(all, &row)
		}
	}
	base := shape{
		listeners: 1, backends: 100, tableSize: 65537, forward: lb.IPIP, egress: ingress,
		features: dataplane.Features{IPIP4: true},
	}
	with := func(change func(*shape)) shape {
		s := base
		change(&s)
		return s
	}
	out := packet{action: xdpTX, reason: "forwarded"}
	steady := packet{action: xdpTX, reason: "forwarded", steady: true}
	redirect := packet{action: xdpRedirect, reason: "forwarded"}
	foreign := packet{action: xdpPass, reason: "pass_not_ours"}
	const many = 1_000_000

	add("ipip, IPv4 in IPv4", base, steady,
		stream{vip4, 1, 1}, stream{vip4, 1000, 1}, stream{vip4, 100_000, 1}, stream{vip4, many, 1})
	add("the same, 16,381 slots", with(func(s *shape) { s.tableSize = 16381 }), out, stream{vip4, many, 1})
	add("the same, all features on", with(func(s *shape) {
		s.features = dataplane.Features{DSR: true, IPIP4: true, IPIP6: true, SourceHash: true, Reject: true}
	}), out, stream{vip4, many, 1})
	add("the same, by another interface", with(func(s *shape) { s.egress = another }), redirect, stream{vip4, many, 1})
	add("the same, 1,000 listeners", with(func(s *shape) {
		s.listeners, s.tableSize = 1000, 16381
	}), out, stream{vip4, many, 1000})
	add("ipip, IPv6 in IPv4", base, out, stream{vip6, many, 1})
	over6 := with(func(s *shape) { s.outer6, s.features = true, dataplane.Features{IPIP6: true} })
	add("ipip, IPv4 in IPv6", over6, out, stream{vip4, many, 1})
	add("ipip, IPv6 in IPv6", over6, out, stream{vip6, many, 1})
	dsr := with(func(s *shape) { s.forward, s.features = lb.DSR, dataplane.Features{DSR: true} })
	add("dsr, IPv4", dsr, out, stream{vip4, many, 1})
	add("dsr, IPv6", dsr, out, stream{vip6, many, 1})
	add("not ours, IPv4", base, foreign, stream{foreign4, many, 1})
	add("not ours, IPv6", base, foreign, stream{foreign6, many, 1})
	return all
}
