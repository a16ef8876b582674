// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"flag"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/testutil"
)

var (
	rounds    = flag.Int("rounds", 15, "how often each packet is measured; the median is shown")
	packets   = flag.String("packets", "", "measure packets whose row matches this regular expression only")
	bpfObject = flag.String("object", "embedded", "the BPF object to measure, as agent.bpf_object")
	against   = flag.String("against", "", "another BPF object, whose steady path is measured beside it")
)

// Bounds of DESIGN: of the steady path to the floor, of its most expensive
// number of flows to the cheapest, and of flows that have records to the steady
// path with as many.
const (
	steadyBound   = 4.0
	flatBound     = 1.25
	recordedBound = 2.0
	recordedFlows = few // where that holds
)

// path is what a row is compared as.
type path int

const (
	otherPath path = iota
	steadyPath
	againstPath // the steady path of another object
	recordedPath
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
	path   path
	ticks  bool // the clock of records goes on before each turn
	turns  []turn

	// What decides on the backend where slots are not steady.
	decided func(*dataplane.TrackingTraffic) *uint64

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
			p.plane.check(b)
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
		if p.ticks {
			if err := p.plane.tick(); err != nil {
				return err
			}
		}
		whole, n, err := g.run(p.action)
		if err != nil {
			return err
		}
		if i >= warmTurns {
			p.turns = append(p.turns, turn{bare, whole})
		}
		if p.plane != nil {
			p.plane.expect(p.reason, n)
			if p.decided != nil {
				*p.decided(&p.plane.tracking) += n
			}
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
