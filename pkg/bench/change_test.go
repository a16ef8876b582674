// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/reconcile"
	"github.com/weirlb/weir/pkg/testutil"
)

// Bounds of DESIGN for changes.
const (
	changeBound = 20 * time.Millisecond // one backend of 100, in 65,537 slots
	applyBound  = 2 * time.Second       // 1,000 listeners of 100 backends
)

// changeRounds is how often a change is measured; the median is shown.
const changeRounds = 15

// BenchmarkChange prints what changes of the tables take.
func BenchmarkChange(b *testing.B) {
	testutil.RequireBPF(b)
	for b.Loop() {
		change := measureChange(b)
		first, cpu, again, writes := measureApply(b)
		b.ReportMetric(0, "ns/op") // says nothing here

		w := newTable("change", "took", "bound", "")
		row(w, fmt.Sprintf("1 of 100 backends, 65,537 slots (%s written)", thousands(change.written)),
			milliseconds(change.took), milliseconds(changeBound), judgeTime(change.took, changeBound))
		row(w, fmt.Sprintf("its slots are settled (%s written)", thousands(change.settled)), milliseconds(change.settle), "", "")
		row(w, fmt.Sprintf("and steady again (%s written)", thousands(change.ended)), milliseconds(change.end), "", "")
		row(w, "1,000 listeners of 100 backends, from empty", milliseconds(first), milliseconds(applyBound), judgeTime(first, applyBound))
		row(w, "of it on processors, of all threads", milliseconds(cpu), "", "")
		row(w, fmt.Sprintf("the same again (%d writes)", writes), milliseconds(again), "no write", judge(float64(writes), 0))
		w.Flush()
	}
}

// changeCost is what a change takes from the decision to the last write, and what
// becomes due of it later: with how many slots are written.
type changeCost struct {
	took, settle, end       time.Duration
	written, settled, ended int
}

// measureChange takes a backend out of a table and puts it back, and lets time
// pass until all slots are steady again.
func measureChange(b *testing.B) (c changeCost) {
	b.Helper()
	s := base
	s.idle = time.Second
	p := openShape(b, *bpfObject, s)
	l := s.desired().Balancers[0].Listeners[0]
	var all []float64
	for i := range changeRounds {
		l.Backends[50].Health = []lb.Health{lb.HealthDown, lb.HealthUp}[i%2]
		began := time.Now()
		report, err := p.reconciler.Update(b.Context(), []reconcile.Change{{Balancer: "web", Listener: l}})
		all = append(all, float64(time.Since(began)))
		if err != nil {
			b.Fatal(err)
		}
		c.written = report.Slots
	}
	c.took = time.Duration(median(all))
	c.settle, c.settled = p.collectSlots(b)
	c.end, c.ended = p.collectSlots(b)
	if moves := p.reconciler.Tracking().Unsteady; moves > 0 {
		b.Fatalf("%d slots are not steady in the end", moves)
	}
	return c
}

// collectSlots lets time pass until the agent writes slots, and returns how long
// that took and how many they were.
func (p *plane) collectSlots(b *testing.B) (took time.Duration, slots int) {
	b.Helper()
	for slots == 0 {
		var report reconcile.Report
		took, _, report = p.collect(b)
		slots = report.Slots
	}
	return took, slots
}

// measureApply applies a large configuration to empty tables, and once more.
func measureApply(b *testing.B) (first, cpu, again time.Duration, writes int) {
	b.Helper()
	s := shape{listeners: 1000, backends: 100, tableSize: 16381, forward: lb.IPIP, egress: ingress}
	p := open(b, "embedded", s.limits(), dataplane.Features{IPIP4: true})
	before, err := allCPUTime()
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	p.apply(b, s)
	first = time.Since(began)
	after, err := allCPUTime()
	if err != nil {
		b.Fatal(err)
	}
	began = time.Now()
	report := p.apply(b, s)
	return first, after - before, time.Since(began), report.Writes()
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

func judgeTime(figure, bound time.Duration) string { return judge(float64(figure), float64(bound)) }
