// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"net/netip"
	"testing"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// eachStore runs a test against each kind of tables.
func eachStore(t *testing.T, test func(t *testing.T, open newStore)) {
	t.Helper()
	t.Run("fake", func(t *testing.T) { test(t, newFakeStore) })
	t.Run("kernel", func(t *testing.T) {
		testutil.RequireBPF(t)
		test(t, newKernelStore)
	})
}

// eachBenchStore runs a benchmark on each kind of tables.
func eachBenchStore(b *testing.B, bench func(b *testing.B, open newStore)) {
	b.Helper()
	b.Run("fake", func(b *testing.B) { bench(b, newFakeStore) })
	b.Run("kernel", func(b *testing.B) {
		testutil.RequireBPF(b)
		bench(b, newKernelStore)
	})
}

// newKernelStore makes tables in the kernel.
func newKernelStore(t testing.TB, limits dataplane.Limits) Store {
	t.Helper()
	if limits.Flows == 0 {
		limits.Flows = 1 << 16 // the kernel takes its time for the buckets of a million
	}
	d, err := dataplane.Open(t.Context(), dataplane.Options{
		PinPath: testutil.PinPath(t),
		Object:  "embedded",
		Limits:  limits,
		Knobs: dataplane.Knobs{
			TunnelSource4: netip.MustParsePrefix("198.18.0.0/15"),
			TunnelSource6: netip.MustParsePrefix("100::/64"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d.Tables()
}
