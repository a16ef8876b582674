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
		change, slots := measureChange(b)
		first, again, writes := measureApply(b)
		b.ReportMetric(0, "ns/op") // says nothing here

		w := newTable("change", "took", "bound", "")
		row(w, fmt.Sprintf("1 of 100 backends, 65,537 slots (%s written)", thousands(slots)),
			milliseconds(change), milliseconds(changeBound), judgeTime(change, changeBound))
		row(w, "1,000 listeners of 100 backends, from empty", milliseconds(first), milliseconds(applyBound), judgeTime(first, applyBound))
		row(w, fmt.Sprintf("the same again (%d writes)", writes), milliseconds(again), "no write", judge(float64(writes), 0))
		w.Flush()
	}
}

// measureChange takes a backend out of a table and puts it back, and returns
// what that took from the decision to the last write.
func measureChange(b *testing.B) (took time.Duration, slots int) {
	s := shape{listeners: 1, backends: 100, tableSize: 65537, forward: lb.IPIP, egress: ingress}
	p := open(b, "embedded", s.limits(), dataplane.Features{IPIP4: true})
	r := apply(b, p, s.desired())
	l := s.desired().Balancers[0].Listeners[0]
	var all []float64
	for i := range changeRounds {
		l.Backends[50].Health = []lb.Health{lb.HealthDown, lb.HealthUp}[i%2]
		began := time.Now()
		report, err := r.Update(b.Context(), []reconcile.Change{{Balancer: "web", Listener: l}})
		all = append(all, float64(time.Since(began)))
		if err != nil {
			b.Fatal(err)
		}
		slots = report.Slots
	}
	return time.Duration(median(all)), slots
}

// measureApply applies a large configuration to empty tables, and once more.
func measureApply(b *testing.B) (first, again time.Duration, writes int) {
	s := shape{listeners: 1000, backends: 100, tableSize: 16381, forward: lb.IPIP, egress: ingress}
	p := open(b, "embedded", s.limits(), dataplane.Features{IPIP4: true})
	d := s.desired()
	began := time.Now()
	r := apply(b, p, d)
	first = time.Since(began)
	began = time.Now()
	report, err := r.Apply(b.Context(), d)
	if err != nil {
		b.Fatal(err)
	}
	return first, time.Since(began), report.Writes()
}

func apply(b *testing.B, p *plane, d reconcile.Desired) *reconcile.Reconciler {
	b.Helper()
	r, err := reconcile.Open(p.Tables(), reconcile.Options{})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := r.Apply(b.Context(), d); err != nil {
		b.Fatal(err)
	}
	return r
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

func judgeTime(figure, bound time.Duration) string { return judge(float64(figure), float64(bound)) }
