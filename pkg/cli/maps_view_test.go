// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/testutil"
)

// TestEveryMapHasAView: what the kernel holds can be dumped, and nothing else
// is offered.
func TestEveryMapHasAView(t *testing.T) {
	testutil.RequireBPF(t)
	d, err := dataplane.Open(t.Context(), dataplane.Options{
		PinPath: testutil.PinPath(t),
		Object:  "embedded",
		Limits:  dataplane.Limits{Listeners: 64, Backends: 128, Slots: 1024},
		Knobs: dataplane.Knobs{
			TunnelSource4: netip.MustParsePrefix("198.18.0.0/15"),
			TunnelSource6: netip.MustParsePrefix("100::/64"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	infos, err := d.Tables().Maps()
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string // both are sorted
	for _, info := range infos {
		want = append(want, info.Name)
	}
	for _, v := range mapViews() {
		got = append(got, v.name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("maps and views (-maps +views):\n%s", diff)
	}
}
