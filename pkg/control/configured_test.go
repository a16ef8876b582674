// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// leaving adds to an agent's snapshot an entry of a backend that was removed,
// and one of the other way of forwarding that the first backend had.
func leaving(agent *fakeAgent) {
	s := agent.snapshot
	gone, before := s.Backends[0], s.Backends[0]
	gone.Label, gone.Index, gone.Slots, gone.Health = "web-0", 3, 0, lb.HealthDown
	gone.Address = netip.MustParseAddrPort("10.0.0.10:8443")
	before.Index, before.Slots, before.Forward, before.Traffic = 4, 0, lb.DSR, dataplane.Traffic{Packets: 2, Bytes: 120}
	s.Backends = append([]dataplane.BackendState{gone, before}, s.Backends...)
	s.Balancers[0].Backends, s.Balancers[0].Up = 4, 2
	s.Listeners[0].Backends, s.Listeners[0].Up = 4, 2
}

func TestConfigured(t *testing.T) {
	want, agent := webAgent(), webAgent()
	want.snapshot.Backends[0].Traffic.Packets += 2
	want.snapshot.Backends[0].Traffic.Bytes += 120
	leaving(agent)
	got := Configured(agent.snapshot, agent.status, agent.conditions)
	if diff := cmp.Diff(BackendRows(want.snapshot, want.conditions), BackendRows(got, agent.conditions), cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); diff != "" {
		t.Errorf("backends (-want +got):\n%s", diff)
	}
	if b := got.Balancers[0]; b.Backends != 2 || b.Up != 1 {
		t.Errorf("the balancer has %d backends, %d up; want 2, 1", b.Backends, b.Up)
	}
	if l := got.Listeners[0]; l.Backends != 2 || l.Up != 1 {
		t.Errorf("the listener has %d backends, %d up; want 2, 1", l.Backends, l.Up)
	}
	if b := agent.snapshot.Balancers[0]; b.Backends != 4 || len(agent.snapshot.Backends) != 4 {
		t.Error("the snapshot itself was changed")
	}
}

// Until there is a running configuration nothing is taken out of what the
// kernel holds.
func TestConfiguredBeforeReady(t *testing.T) {
	agent := webAgent()
	agent.status.Ready = false
	if got := Configured(agent.snapshot, agent.status, map[BackendKey]Condition{}); len(got.Backends) != 2 {
		t.Errorf("%d backends, want all 2", len(got.Backends))
	}
	if got := Configured(agent.snapshot, agent.status, nil); len(got.Backends) != 2 {
		t.Errorf("%d backends, want all 2", len(got.Backends))
	}
}

// Without conditions the entries say themselves that they were removed.
func TestConfiguredWithoutAgent(t *testing.T) {
	agent := webAgent()
	leaving(agent)
	agent.snapshot.Backends[0].Unusable = dataplane.Removed
	agent.snapshot.Backends[1].Unusable = dataplane.Removed
	got := Configured(agent.snapshot, Status{}, nil)
	if len(got.Backends) != 2 || got.Listeners[0].Backends != 2 || got.Balancers[0].Backends != 2 {
		t.Errorf("%d backends, %d in the listener, %d in the balancer; want 2", len(got.Backends), got.Listeners[0].Backends, got.Balancers[0].Backends)
	}
}

// Of two entries of an address the one that stays is shown, though it may have
// no slot either.
func TestConfiguredShowsWhatStays(t *testing.T) {
	agent := webAgent()
	leaving(agent)
	left := &agent.snapshot.Backends[1]
	left.Unusable, left.Slots = dataplane.Removed, 252
	got := Configured(agent.snapshot, agent.status, agent.conditions)
	if b := got.Backends[0]; b.Forward != lb.IPIP || b.Slots != 251+252 {
		t.Errorf("got %+v, want the entry of ipip with the slots of both", b)
	}
}
