// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"testing"

	"github.com/weirlb/weir/pkg/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// testOptions are a small data plane under a pin path of the test's own.
func testOptions(t *testing.T) Options {
	t.Helper()
	return Options{
		PinPath: testutil.PinPath(t),
		Object:  "embedded",
		Limits:  Limits{Listeners: 64, Backends: 256, Slots: 4096, Flows: labFlows},
		Knobs: Knobs{
			Features:      Features{DSR: true, IPIP4: true, IPIP6: true, SourceHash: true, Reject: true},
			Seed:          1,
			TunnelSource4: netip.MustParsePrefix("198.18.0.0/15"),
			TunnelSource6: netip.MustParsePrefix("100::/64"),
		},
	}
}

func openTest(t *testing.T, o Options) *Dataplane {
	t.Helper()
	d, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func closeTest(t *testing.T, d *Dataplane) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
