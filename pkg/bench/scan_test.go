// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/reconcile"
	"github.com/weirlb/weir/pkg/testutil"
)

// scanRounds is how often a scan is measured; the median is shown.
const scanRounds = 5

// scanPause is how many times longer than a scan the reconciler waits after it.
const scanPause = 50

// changePace is how often a small change is made beside a scan.
const changePace = time.Millisecond

// scanCost is what the records of a family cost while they are there.
type scanCost struct {
	perMap, perKernel float64       // bytes a record: as the map says, and as the kernel has less
	empty             int64         // bytes that the map takes without records
	took, cpu         time.Duration // by one scan that finds nothing to remove
	part              time.Duration // the longest on a processor that holds up changes
	allocated         uint64        // bytes, by that scan
	removal           time.Duration // by one that removes all
	removalCPU        time.Duration
	removalPart       time.Duration
	alone             []float64 // what small changes took, in nanoseconds, with no scan beside them
	beside, removing  []float64 // beside scans, and beside the one that removed all
}

// BenchmarkScan prints what a flow table of a million records costs the agent,
// and how long changes wait for a scan of it.
func BenchmarkScan(b *testing.B) {
	testutil.RequireBPF(b)
	runtime.LockOSThread() // whose time is taken
	defer runtime.UnlockOSThread()
	for b.Loop() {
		v4, v6 := measureScan(b, vip4), measureScan(b, vip6)
		b.ReportMetric(0, "ns/op") // says nothing here
		printScans(v4, v6)
	}
}

// measureScan fills a flow table and lets the agent look at it.
func measureScan(b *testing.B, vip netip.Addr) (c scanCost) {
	b.Helper()
	s := base
	s.idle = 10 * scanRounds * time.Second
	p := open(b, *bpfObject, s.moved().limits(), s.features)
	store := &timedStore{Tables: p.Tables()}
	p.store = store
	p.applyMoving(b, s)
	flows := map[bool]string{true: "flows4", false: "flows6"}[vip.Is4()]
	mapBefore, before := p.mapMemory(b, flows), kernelMemory(b)
	p.meet(b, to(vip, many)[0])
	c.empty = mapBefore
	c.perMap = float64(p.mapMemory(b, flows)-mapBefore) / many
	c.perKernel = float64(kernelMemory(b)-before) / many

	u := newUpdater(b, p, s)
	c.alone = u.beside(func() { <-time.After(time.Second) })
	var took, cpu []float64
	for range scanRounds {
		wall, busy, report := p.collect(b)
		if report.Flows > 0 {
			b.Fatalf("a scan has removed %d records, want none", report.Flows)
		}
		took, cpu = append(took, float64(wall)), append(cpu, float64(busy))
	}
	c.took, c.cpu = time.Duration(median(took)), time.Duration(median(cpu))
	c.part, store.longest = store.longest, 0
	c.allocated = allocatedBy(func() { p.collect(b) })
	c.beside = u.beside(func() {
		for range scanRounds {
			p.collect(b)
		}
	})
	for removed := 0; removed == 0; { // until they are idle for long enough
		store.longest = 0
		c.removing = u.beside(func() {
			var report reconcile.Report
			c.removal, c.removalCPU, report = p.collect(b)
			removed = report.Flows
		})
	}
	c.removalPart = store.longest
	p.records = 0
	p.check(b)
	return c
}

// scanPart is how many records a scan looks at while changes wait.
const scanPart = 1024

// timedStore is the tables, and takes the time of the parts of a scan, in each of
// which it has the reconciler to itself: what they take on a processor, whatever
// else runs in between.
type timedStore struct {
	*dataplane.Tables
	longest time.Duration
}

func (s *timedStore) ScanFlows(fn func([]dataplane.Flow) error) error {
	return s.Tables.ScanFlows(func(flows []dataplane.Flow) error {
		for part := range slices.Chunk(flows, scanPart) {
			before, err := cpuTime()
			if err != nil {
				return err
			}
			if err := fn(part); err != nil {
				return err
			}
			after, err := cpuTime()
			if err != nil {
				return err
			}
			s.longest = max(s.longest, after-before)
		}
		return nil
	})
}

// collect lets some time pass and the agent do what is due, and returns how long
// that took, and what of it on a processor.
func (p *plane) collect(b *testing.B) (took, cpu time.Duration, report reconcile.Report) {
	b.Helper()
	p.now = p.now.Add(time.Minute)
	before, err := cpuTime()
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	if report, err = p.reconciler.Collect(b.Context()); err != nil {
		b.Fatal(err)
	}
	took = time.Since(began)
	after, err := cpuTime()
	if err != nil {
		b.Fatal(err)
	}
	return took, after - before, report
}

// allocatedBy returns how many bytes of heap were allocated while fn ran.
func allocatedBy(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// updater makes small changes, one after the other: a backend of a listener of
// its own goes down, and up again.
type updater struct {
	*testing.B
	plane    *plane
	listener reconcile.Listener
}

func newUpdater(b *testing.B, p *plane, s shape) *updater {
	b.Helper()
	d := s.moved().desired()
	web := &d.Balancers[0]
	small := shape{backends: 2, tableSize: 251, forward: lb.IPIP, egress: ingress, idle: s.idle, listeners: 1}
	listener := small.desired().Balancers[0].Listeners[0]
	listener.Port = 80
	web.Listeners = append(web.Listeners, listener)
	if _, err := p.reconciler.Apply(b.Context(), d); err != nil {
		b.Fatal(err)
	}
	return &updater{B: b, plane: p, listener: listener}
}

// beside makes changes as long as fn runs, and returns what each took in
// nanoseconds.
func (u *updater) beside(fn func()) (took []float64) {
	u.Helper()
	done, stopped := make(chan struct{}), make(chan error)
	go func() {
		var err error
		took, err = u.changeUntil(done)
		stopped <- err
	}()
	fn()
	close(done)
	if err := <-stopped; err != nil {
		u.Fatal(err)
	}
	return took
}

// changeUntil makes changes until done is closed.
func (u *updater) changeUntil(done <-chan struct{}) (took []float64, err error) {
	pace := time.NewTicker(changePace)
	defer pace.Stop()
	for i := 0; ; i++ {
		select {
		case <-done:
			return took, nil
		case <-pace.C:
		}
		u.listener.Backends[0].Health = []lb.Health{lb.HealthDown, lb.HealthUp}[i%2]
		began := time.Now()
		_, err := u.plane.reconciler.Update(u.Context(), []reconcile.Change{{Balancer: "web", Listener: u.listener}})
		if err != nil {
			return took, err
		}
		took = append(took, float64(time.Since(began)))
	}
}

func printScans(costs ...scanCost) {
	w := newTable("flow table of 1,000,000 records", "IPv4", "IPv6")
	print := func(what string, cell func(scanCost) string) {
		cells := []string{what}
		for _, c := range costs {
			cells = append(cells, cell(c))
		}
		row(w, cells...)
	}
	changes := func(took []float64) string {
		slices.Sort(took)
		return fmt.Sprintf("%.2f, %.2f, %.2f ms", median(took)/1e6, took[len(took)*99/100]/1e6, took[len(took)-1]/1e6)
	}
	print("memory of the map without records", func(c scanCost) string { return megabytes(c.empty) })
	print("a record: as the map says", func(c scanCost) string { return fmt.Sprintf("%.0f bytes", c.perMap) })
	print("a record: as the kernel has less", func(c scanCost) string { return fmt.Sprintf("%.0f bytes", c.perKernel) })
	print("one scan", func(c scanCost) string { return milliseconds(c.took) })
	print("of it on a processor", func(c scanCost) string { return milliseconds(c.cpu) })
	print("share of a core, with the pauses", func(c scanCost) string {
		return fmt.Sprintf("%.1f %%", 100*float64(c.cpu)/float64((1+scanPause)*c.took))
	})
	print("longest part that holds up changes", func(c scanCost) string { return fmt.Sprintf("%.2f ms", c.part.Seconds()*1000) })
	print("heap that a scan allocates", func(c scanCost) string { return megabytes(int64(c.allocated)) })
	print("one scan that removes all", func(c scanCost) string { return milliseconds(c.removal) })
	print("of it on a processor", func(c scanCost) string { return milliseconds(c.removalCPU) })
	print("longest part that holds up changes", func(c scanCost) string { return fmt.Sprintf("%.2f ms", c.removalPart.Seconds()*1000) })
	print("a small change, median, 99 %, longest: alone", func(c scanCost) string { return changes(c.alone) })
	print("beside scans", func(c scanCost) string { return changes(c.beside) })
	print("beside the scan that removes all", func(c scanCost) string { return changes(c.removing) })
	w.Flush()
}
