// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
)

// errFault is what an operation that was made to fail returns.
var errFault = errors.New("fault")

// fault makes one operation of a probe fail.
type fault struct {
	at    int  // which, counted from 1 on; 0: none
	after bool // it takes effect and fails nevertheless
}

// probe is tables that count operations, let one fail, and watch every write
// with the eyes of packets.
type probe struct {
	Store
	mu     sync.Mutex
	ops    int
	writes int
	fault  fault
	watch  *watcher // nil: nobody watches
}

// arm makes an operation from now on fail.
func (p *probe) arm(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ops, p.writes, p.fault = 0, 0, f
}

// do is one operation.
func (p *probe) do(op func() error) error {
	p.mu.Lock()
	p.ops++
	due := p.ops == p.fault.at
	after := p.fault.after
	p.mu.Unlock()
	if due && !after {
		return errFault
	}
	if err := op(); err != nil {
		return err
	}
	if due {
		return errFault
	}
	return nil
}

// write is one operation that writes. The watcher looks before and after.
func (p *probe) write(before func(*watcher), op func() error) error {
	p.mu.Lock()
	p.writes++
	p.mu.Unlock()
	return p.do(func() error {
		if p.watch != nil {
			before(p.watch)
			defer p.watch.look()
		}
		return op()
	})
}

func nothing(*watcher) {}

func (p *probe) Listeners() (out map[dataplane.ListenerKey]dataplane.Listener, err error) {
	err = p.do(func() error { out, err = p.Store.Listeners(); return err })
	return out, err
}

func (p *probe) VIPs() (out map[netip.Addr]dataplane.VIP, err error) {
	err = p.do(func() error { out, err = p.Store.VIPs(); return err })
	return out, err
}

func (p *probe) Names() (out map[dataplane.NameKey]string, err error) {
	err = p.do(func() error { out, err = p.Store.Names(); return err })
	return out, err
}

func (p *probe) Backends(first, n uint32) (out []dataplane.Backend, err error) {
	err = p.do(func() error { out, err = p.Store.Backends(first, n); return err })
	return out, err
}

func (p *probe) ReadSlots(first uint32, slots []dataplane.Slot) error {
	return p.do(func() error { return p.Store.ReadSlots(first, slots) })
}

func (p *probe) PutListener(k dataplane.ListenerKey, l dataplane.Listener) error {
	return p.write(func(w *watcher) { w.putListener(k, l) }, func() error { return p.Store.PutListener(k, l) })
}

func (p *probe) DeleteListener(k dataplane.ListenerKey) error {
	return p.write(nothing, func() error { return p.Store.DeleteListener(k) })
}

func (p *probe) PutVIP(a netip.Addr, v dataplane.VIP) error {
	return p.write(func(w *watcher) { w.putVIP(a, v) }, func() error { return p.Store.PutVIP(a, v) })
}

func (p *probe) DeleteVIP(a netip.Addr) error {
	return p.write(func(w *watcher) { w.putVIP(a, dataplane.VIP{}) }, func() error { return p.Store.DeleteVIP(a) })
}

func (p *probe) PutName(k dataplane.NameKey, name string) error {
	return p.write(nothing, func() error { return p.Store.PutName(k, name) })
}

func (p *probe) DeleteName(k dataplane.NameKey) error {
	return p.write(nothing, func() error { return p.Store.DeleteName(k) })
}

func (p *probe) PutBackend(i uint32, b dataplane.Backend) error {
	return p.write(func(w *watcher) { w.putBackend(i, b) }, func() error { return p.Store.PutBackend(i, b) })
}

func (p *probe) WriteSlots(first, size uint32, c []dataplane.SlotChange) error {
	return p.write(func(w *watcher) { w.writeSlots(first, c) }, func() error { return p.Store.WriteSlots(first, size, c) })
}

func (p *probe) OldTable(id uint32) (out dataplane.OldTable, err error) {
	err = p.do(func() error { out, err = p.Store.OldTable(id); return err })
	return out, err
}

func (p *probe) PutOldTable(id uint32, old dataplane.OldTable) error {
	return p.write(nothing, func() error { return p.Store.PutOldTable(id, old) })
}

func (p *probe) FlowClock() (out uint32, err error) {
	err = p.do(func() error { out, err = p.Store.FlowClock(); return err })
	return out, err
}

func (p *probe) SetFlowClock(now uint32) error {
	return p.do(func() error { return p.Store.SetFlowClock(now) })
}

func (p *probe) ScanFlows(fn func([]dataplane.Flow) error) error {
	return p.do(func() error { return p.Store.ScanFlows(fn) })
}

func (p *probe) DeleteFlows(ids []dataplane.FlowID) error {
	return p.write(nothing, func() error { return p.Store.DeleteFlows(ids) })
}

func (p *probe) SweepEmbryonic(now uint32, age time.Duration) (left uint32, err error) {
	err = p.do(func() error { left, err = p.Store.SweepEmbryonic(now, age); return err })
	return left, err
}

func (p *probe) TrackingCounters(n uint32) (out []dataplane.TrackingTraffic, err error) {
	err = p.do(func() error { out, err = p.Store.TrackingCounters(n); return err })
	return out, err
}

func (p *probe) ResetListenerCounter(id uint32) error {
	return p.write(func(w *watcher) { w.resetListener(id) }, func() error { return p.Store.ResetListenerCounter(id) })
}

func (p *probe) ResetBackendCounter(id uint32) error {
	return p.write(func(w *watcher) { w.resetBackend(id) }, func() error { return p.Store.ResetBackendCounter(id) })
}

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// uptime is of a machine that was started ten years before.
func (c *clock) uptime() time.Duration { return c.read().Sub(newClock().now.AddDate(-10, 0, 0)) }
