// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane_test

import (
	"net/netip"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/testutil"
)

// openInspected returns the tables of a data plane with one balancer of two
// addresses, one listener and one backend.
func openInspected(t *testing.T) *dataplane.Tables {
	t.Helper()
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
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	tables := d.Tables()
	for _, addr := range []string{"203.0.113.10", "2001:db8::10"} {
		key := dataplane.ListenerKey{Address: netip.MustParseAddr(addr), Port: 443, Protocol: lb.TCP}
		if err := tables.PutListener(key, inspectedListener()); err != nil {
			t.Fatal(err)
		}
		if err := tables.PutVIP(key.Address, dataplane.VIP{Balancer: 1, TCP: true}); err != nil {
			t.Fatal(err)
		}
	}
	for key, name := range map[dataplane.NameKey]string{
		{Kind: dataplane.NameBalancer, ID: 1}: "web",
		{Kind: dataplane.NameBackend, ID: 3}:  "web-1",
	} {
		if err := tables.PutName(key, name); err != nil {
			t.Fatal(err)
		}
	}
	return tables
}

func inspectedListener() dataplane.Listener {
	return dataplane.Listener{ID: 5, Balancer: 1, Slots: 32, TableSize: 251, Pool: 16, PoolSize: 16, Algorithm: lb.Source}
}

func TestMaps(t *testing.T) {
	infos, err := openInspected(t).Maps()
	if err != nil {
		t.Fatal(err)
	}
	want := []dataplane.MapInfo{
		{Name: "backend_counters", Type: "percpu_array", Entries: 1, MaxEntries: 128},
		{Name: "backends", Type: "array", Entries: 16, MaxEntries: 128},
		{Name: "embryonic", Type: "array", MaxEntries: 262144},
		{Name: "flow_cache", Type: "percpu_array", MaxEntries: 8192},
		{Name: "flow_clock", Type: "array", Entries: 1, MaxEntries: 1, Fixed: true},
		{Name: "flow_generation", Type: "array", Entries: 1, MaxEntries: 1, Fixed: true},
		{Name: "flows4", Type: "hash", MaxEntries: 1048576},
		{Name: "flows6", Type: "hash", MaxEntries: 1048576},
		{Name: "listener_cache4", Type: "percpu_array", MaxEntries: 2048},
		{Name: "listener_cache6", Type: "percpu_array", MaxEntries: 2048},
		{Name: "listener_counters", Type: "percpu_array", Entries: 1, MaxEntries: 64},
		{Name: "listener_generation", Type: "array", Entries: 1, MaxEntries: 1, Fixed: true},
		{Name: "listeners4", Type: "hash", Entries: 1, MaxEntries: 64},
		{Name: "listeners6", Type: "hash", Entries: 1, MaxEntries: 64},
		{Name: "names", Type: "hash", Entries: 2, MaxEntries: 192},
		{Name: "old_tables", Type: "array", MaxEntries: 64},
		{Name: "reason_counters", Type: "percpu_array", MaxEntries: 64, Fixed: true},
		{Name: "reject_bucket", Type: "percpu_array", Entries: 1, MaxEntries: 1, Fixed: true},
		{Name: "slots", Type: "array", Entries: 256, MaxEntries: 1024},
		{Name: "tracking_counters", Type: "percpu_array", Entries: 1, MaxEntries: 64},
		{Name: "vips", Type: "hash", Entries: 2, MaxEntries: 64},
	}
	reasons, err := dataplane.Reasons()
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if want[i].Name == "reason_counters" {
			want[i].Entries = uint32(len(reasons))
		}
	}
	if diff := cmp.Diff(want, infos, cmpopts.IgnoreFields(dataplane.MapInfo{}, "Memory")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, info := range infos {
		if info.Memory == 0 {
			t.Errorf("%s takes no memory", info.Name)
		}
	}
}

func TestLookups(t *testing.T) {
	tables := openInspected(t)
	check := func(what string, want, got any, wantOK, ok bool, err error) {
		t.Helper()
		if err != nil || ok != wantOK || want != got {
			t.Errorf("%s: got %+v, %t, %v; want %+v, %t", what, got, ok, err, want, wantOK)
		}
	}
	for addr, there := range map[string]bool{
		"203.0.113.10": true, "203.0.113.11": false, "2001:db8::10": true, "2001:db8::11": false,
	} {
		var wantListener dataplane.Listener
		var wantVIP dataplane.VIP
		if there {
			wantListener, wantVIP = inspectedListener(), dataplane.VIP{Balancer: 1, TCP: true}
		}
		key := dataplane.ListenerKey{Address: netip.MustParseAddr(addr), Port: 443, Protocol: lb.TCP}
		listener, ok, err := tables.LookupListener(key)
		check("listener "+addr, wantListener, listener, there, ok, err)
		vip, ok, err := tables.LookupVIP(key.Address)
		check("vip "+addr, wantVIP, vip, there, ok, err)
	}
	name, ok, err := tables.LookupName(dataplane.NameKey{Kind: dataplane.NameBackend, ID: 3})
	check("name of a backend", "web-1", name, true, ok, err)
	name, ok, err = tables.LookupName(dataplane.NameKey{Kind: dataplane.NameBalancer, ID: 3})
	check("name of no balancer", "", name, false, ok, err)
	listeners, ok, err := tables.LookupListenerCounter(5)
	check("listener counter", dataplane.ListenerTraffic{}, listeners, true, ok, err)
	_, ok, err = tables.LookupListenerCounter(64)
	check("no listener counter", nil, nil, false, ok, err)
	backends, ok, err := tables.LookupBackendCounter(127)
	check("backend counter", dataplane.Traffic{}, backends, true, ok, err)
	_, ok, err = tables.LookupBackendCounter(128)
	check("no backend counter", nil, nil, false, ok, err)
}

func TestObjectHash(t *testing.T) {
	if got := dataplane.ObjectHash(); !regexp.MustCompile(`^[0-9a-f]{12}$`).MatchString(got) {
		t.Errorf("ObjectHash() = %q", got)
	}
}
