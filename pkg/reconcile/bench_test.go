// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"runtime"
	"testing"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// benchLimits are the default sizes of the tables.
var benchLimits = dataplane.Limits{Listeners: 4096, Backends: 131072, Slots: 1 << 24}

func openBench(b *testing.B, store Store) *Reconciler {
	b.Helper()
	r, err := Open(store, Options{})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// BenchmarkUpdate changes the health of one of 100 backends in a table of
// 65,537 slots.
func BenchmarkUpdate(b *testing.B) {
	eachBenchStore(b, func(b *testing.B, newStore newStore) {
		r := openBench(b, newStore(b, benchLimits))
		l := tcp(80, servers(1, 100)...)
		l.TableSize = 65537
		if _, err := r.Apply(b.Context(), state(balancerOf("web", addrs(vip1, vip6), l))); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		slots := 0
		for i := 0; b.Loop(); i++ {
			l.Backends[50].Health = []lb.Health{lb.HealthDown, lb.HealthUp}[i%2]
			report, err := r.Update(b.Context(), []Change{{Balancer: "web", Listener: l}})
			if err != nil {
				b.Fatal(err)
			}
			slots = report.Slots
		}
		b.ReportMetric(float64(slots), "slots/op")
	})
}

// BenchmarkApply applies 1,000 listeners of 100 backends and 16,381 slots.
func BenchmarkApply(b *testing.B) {
	d := wide(1000, 100, 16381)
	eachBenchStore(b, func(b *testing.B, newStore newStore) {
		b.Run("from empty", func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				store := newStore(b, benchLimits)
				b.StartTimer()
				if _, err := openBench(b, store).Apply(b.Context(), d); err != nil {
					b.Fatal(err)
				}
			}
		})
		store := newStore(b, benchLimits)
		r := openBench(b, store)
		if _, err := r.Apply(b.Context(), d); err != nil {
			b.Fatal(err)
		}
		b.Run("again", func(b *testing.B) {
			for b.Loop() {
				if report, err := r.Apply(b.Context(), d); err != nil || report.Writes() > 0 {
					b.Fatal(report, err)
				}
			}
		})
		b.Run("after a restart", func(b *testing.B) {
			for b.Loop() {
				if report, err := openBench(b, store).Apply(b.Context(), d); err != nil || report.Writes() > 0 {
					b.Fatal(report, err)
				}
			}
		})
		b.Run("open", func(b *testing.B) {
			for b.Loop() {
				openBench(b, store)
			}
		})
		runtime.GC()
		var with, without runtime.MemStats
		runtime.ReadMemStats(&with)
		r.workers, r.model = nil, nil
		runtime.GC()
		runtime.ReadMemStats(&without)
		runtime.KeepAlive(store)
		b.Logf("a Reconciler of this state holds %d kB", (with.HeapAlloc-without.HeapAlloc)/1024)
	})
}
