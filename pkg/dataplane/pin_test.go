// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weirlb/weir/pkg/lb"
)

// repinned puts another map in the place of one that is pinned, as another
// version would have made it.
func repinned(t *testing.T, o Options, name string, change func(*ebpf.MapSpec)) {
	t.Helper()
	spec, err := loadWeir()
	if err != nil {
		t.Fatal(err)
	}
	resize(spec, o.Limits)
	change(spec.Maps[name])
	m, err := ebpf.NewMap(spec.Maps[name])
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	path := filepath.Join(mapsDir(o.PinPath), name)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := m.Pin(path); err != nil {
		t.Fatal(err)
	}
}

func grow(by uint32) func(*ebpf.MapSpec) {
	return func(s *ebpf.MapSpec) { s.MaxEntries += by }
}

func widen(s *ebpf.MapSpec) { s.ValueSize += 8 }

func TestOpenWithRoomForMoreReasons(t *testing.T) {
	o := testOptions(t)
	closeTest(t, openTest(t, o))
	repinned(t, o, weirMapReasonCounters, grow(10))

	d := openTest(t, o)
	defer closeTest(t, d)
	if _, _, err := d.Program().Test(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	reasons, err := d.Tables().ReasonCounters()
	if err != nil {
		t.Fatal(err)
	}
	var packets uint64
	for _, r := range reasons {
		packets += r.Packets
	}
	if packets != 1 || len(reasons) != int(weirReasonREASON_MAX) {
		t.Errorf("%d packets counted in %d reasons, want 1 in %d", packets, len(reasons), weirReasonREASON_MAX)
	}
	infos, err := d.Tables().Maps()
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		if info.Name == weirMapReasonCounters && info.Entries != uint32(weirReasonREASON_MAX) {
			t.Errorf("%d entries are in use, want %d", info.Entries, weirReasonREASON_MAX)
		}
	}
	if err := d.SetKnobs(Knobs{TunnelSource4: o.Knobs.TunnelSource4, TunnelSource6: o.Knobs.TunnelSource6}); err != nil {
		t.Errorf("loading the program again: %v", err)
	}
}

func TestOpenWithCacheOfAnotherVersion(t *testing.T) {
	for name, change := range map[string]func(*ebpf.MapSpec){
		"size":   grow(10),
		"layout": widen,
		"type":   func(s *ebpf.MapSpec) { s.Type = ebpf.Array },
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t)
			closeTest(t, openTest(t, o))
			for _, cache := range []string{weirMapListenerCache4, weirMapListenerCache6} {
				repinned(t, o, cache, change)
			}
			closeTest(t, openTest(t, o))

			tables, err := OpenTables(o.PinPath)
			if err != nil {
				t.Fatal(err)
			}
			defer tables.Close()
			for _, m := range []*ebpf.Map{tables.maps.ListenerCache4, tables.maps.ListenerCache6} {
				if m.Type() != ebpf.PerCPUArray || m.MaxEntries() != 2048 {
					t.Errorf("%s is a %s of %d entries, want that of this version", m, m.Type(), m.MaxEntries())
				}
			}
		})
	}
}

// TestOpenSaysWhatDiffers: agent.limits is named where it is what differs.
func TestOpenSaysWhatDiffers(t *testing.T) {
	for _, test := range []struct {
		name, want string
		change     func(*ebpf.MapSpec)
	}{
		{weirMapReasonCounters, "made by another version of Weir", grow(^uint32(0))}, // one less
		{weirMapReasonCounters, "made by another version of Weir", widen},
		{weirMapBackends, "agent.limits now asks for", grow(1)},
		{weirMapBackends, "made by another version of Weir", widen},
	} {
		o := testOptions(t)
		closeTest(t, openTest(t, o))
		repinned(t, o, test.name, test.change)
		if _, err := Open(t.Context(), o); !strings.Contains(errorText(err), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestOpenTablesOfAnotherVersion(t *testing.T) {
	o := testOptions(t)
	closeTest(t, openTest(t, o))
	check := func() {
		t.Helper()
		tables, err := OpenTables(o.PinPath)
		if err == nil {
			tables.Close()
		}
		if errors.Is(err, ErrNotLoaded) || !strings.Contains(errorText(err), "made by another version of Weir") {
			t.Errorf("OpenTables says %v, want that another version made the maps", err)
		}
	}
	repinned(t, o, weirMapVips, widen)
	check()
	if err := os.Remove(filepath.Join(mapsDir(o.PinPath), weirMapVips)); err != nil {
		t.Fatal(err)
	}
	check()
}

// TestForeignPinAmongLinks pins a map where only links should be.
func TestForeignPinAmongLinks(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	m, err := d.Tables().maps.Vips.Clone()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	foreign := filepath.Join(linksDir(o.PinPath), "eth0@native")
	if err := m.Pin(foreign); err != nil {
		t.Fatal(err)
	}
	closeTest(t, d)
	if _, err := link.LoadPinnedLink(foreign, nil); err == nil {
		t.Fatal("a map was opened as a link")
	}

	closeTest(t, openTest(t, o))
	if found, err := PinnedLinks(o.PinPath); err != nil || len(found) != 0 {
		t.Errorf("links are %v, %v; want none", found, err)
	}
	if err := Unload(o.PinPath); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(o.PinPath); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", o.PinPath, err)
	}
}

func TestPrivateMounts(t *testing.T) {
	dir := t.TempDir()
	for name, target := range map[string]string{"self": "mnt:[1]", "same": "mnt:[1]", "other": "mnt:[2]"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		self, first string
		want        bool
	}{
		{"self", "same", false},
		{"self", "other", true},
		{"self", "unreadable", false},
		{"unreadable", "other", false},
	} {
		if got := privateMounts(filepath.Join(dir, test.self), filepath.Join(dir, test.first)); got != test.want {
			t.Errorf("%s and %s: %t, want %t", test.self, test.first, got, test.want)
		}
	}
}

// TestOpenWithoutTracking takes over what a version pinned that did not track
// flows: its entries say that all backends accept, and its slots are steady.
func TestOpenWithoutTracking(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	backend := Backend{Address: netip.MustParseAddrPort("192.0.2.1:80"), Forward: lb.IPIP, Weight: 1, Health: lb.HealthUp}
	slot := Slot{Current: 1, Previous: 1}
	if err := errors.Join(d.Tables().PutBackend(17, backend), d.Tables().WriteSlots(16, 1, []SlotChange{{Slot: slot}})); err != nil {
		t.Fatal(err)
	}
	closeTest(t, d)
	for _, name := range []string{
		weirMapFlows4, weirMapFlows6, weirMapEmbryonic, weirMapFlowClock, weirMapOldTables, weirMapTrackingCounters,
	} {
		if err := os.Remove(filepath.Join(mapsDir(o.PinPath), name)); err != nil {
			t.Fatal(err)
		}
	}
	d = openTest(t, o)
	defer closeTest(t, d)
	if d.New() {
		t.Error("the data plane was not taken over")
	}
	got, err := d.Tables().Backends(17, 1)
	if err != nil || got[0] != backend {
		t.Errorf("the entry is %+v, %v; want %+v", got, err, backend)
	}
	slots := make([]Slot, 1)
	if err := d.Tables().ReadSlots(16, slots); err != nil || slots[0] != slot || !slots[0].Steady() {
		t.Errorf("the slot is %+v, %v; want %+v", slots, err, slot)
	}
	if _, _, err := d.Program().Test(make([]byte, 64)); err != nil {
		t.Errorf("the program with the maps of both: %v", err)
	}
}
