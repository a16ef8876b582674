// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

func TestStatusNamesBackends(t *testing.T) {
	r := runningRig(t, "accept")
	problems := r.Status().Problems
	if len(problems) != 2 || !strings.HasPrefix(problems[0], "backend web/80/tcp/web-1 (192.0.2.1:80): ") {
		t.Errorf("problems: %q, want those of two backends by label and address", problems)
	}
	b := lb.Backend{Label: "192.0.2.1:80", Address: netip.MustParseAddrPort("192.0.2.1:80")}
	if got, want := backendName(key(80), b), "web/80/tcp/192.0.2.1:80"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What an agent finds is not taken for what happens while it runs.
func TestStatusOverflowBefore(t *testing.T) {
	r := newRig(t)
	before := &dataplane.Snapshot{Listeners: []dataplane.ListenerState{
		{ListenerKey: key(80), Tracking: dataplane.TrackingTraffic{Overflow: 7}}, {ListenerKey: key(81)},
	}}
	if err := r.startFrom(t.Context(), configuration(t, "[eth0]", 1, "ipip"), before); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]uint64{"web/80/tcp": 7}, r.Status().Tracking.OverflowBefore); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
