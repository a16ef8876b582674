// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/reconcile"
)

// What decided on the backend of a packet, as the data plane counts it.
func byRecord(t *dataplane.TrackingTraffic) *uint64   { return &t.Record }
func byPrevious(t *dataplane.TrackingTraffic) *uint64 { return &t.Previous }
func asNew(t *dataplane.TrackingTraffic) *uint64      { return &t.New }

// moved returns the configuration after a change that lets all slots move: its
// backends drain, and as many others take their place.
func (s shape) moved() shape {
	s.backends, s.draining = 2*s.backends, s.backends
	return s
}

// openMoving loads a data plane and lets all slots move. So flows stay where they
// are only by their records.
func openMoving(b *testing.B, object string, s shape) *plane {
	b.Helper()
	p := open(b, object, s.moved().limits(), s.features)
	p.applyMoving(b, s)
	return p
}

// applyMoving applies a configuration and then the one that lets all slots move.
func (p *plane) applyMoving(b *testing.B, s shape) {
	b.Helper()
	p.apply(b, s)
	if report := p.apply(b, s.moved()); report.Slots != s.listeners*int(s.tableSize) {
		b.Fatalf("%d slots are on the move, want all", report.Slots)
	}
}

// openTwoTables loads a data plane whose listeners change the size of their
// tables, so that packets ask the old table too.
func openTwoTables(b *testing.B, object string, s shape) *plane {
	b.Helper()
	next := s.moved()
	next.tableSize += 2
	p := open(b, object, next.limits(), s.features)
	p.apply(b, s)
	if report := p.apply(b, next); report.OldTables != s.listeners {
		b.Fatalf("%d listeners have two tables, want all", report.OldTables)
	}
	return p
}

// openSettled loads a data plane whose slots have moved and are settled. They
// are not steady yet, so that packets look for records.
func openSettled(b *testing.B, object string, s shape) *plane {
	b.Helper()
	p := openMoving(b, object, s)
	p.collectSlots(b)
	return p
}

// apply applies a configuration.
func (p *plane) apply(b *testing.B, s shape) reconcile.Report {
	b.Helper()
	if p.store == nil {
		p.store = p.Tables()
	}
	if p.reconciler == nil {
		r, err := reconcile.Open(p.store, reconcile.Options{Clock: func() time.Time { return p.now }})
		if err != nil {
			b.Fatal(err)
		}
		p.reconciler = r
	}
	report, err := p.reconciler.Apply(b.Context(), s.desired())
	if err != nil {
		b.Fatal(err)
	}
	return report
}

// meet sends the flows of a stream through moving slots, one after the other,
// so that each has a record then.
func (p *plane) meet(b *testing.B, s stream) {
	b.Helper()
	s.inTurn = true
	sent := p.send(b, s, uint64(s.flows))
	p.tracking.Previous += uint64(s.flows)
	p.tracking.Record += sent - uint64(s.flows)
	p.records += int(s.flows)
	p.check(b)
}

// send sends at least n packets of a stream, which are forwarded, and returns
// how many it sent.
func (p *plane) send(b *testing.B, s stream, n uint64) (sent uint64) {
	b.Helper()
	g, err := newGenerator(s)
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	if err := g.aim(p.Program()); err != nil {
		b.Fatal(err)
	}
	for sent < n {
		_, run, err := g.run(xdpTX)
		if err != nil {
			b.Fatal(err)
		}
		sent += run
	}
	p.expect("forwarded", sent)
	return sent
}

// flowRecords returns how many records the flow table holds.
func (p *plane) flowRecords(b *testing.B) (n int) {
	b.Helper()
	err := p.Tables().ScanFlows(func(flows []dataplane.Flow) error {
		n += len(flows)
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}
