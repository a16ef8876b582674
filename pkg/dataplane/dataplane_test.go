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

	"github.com/weirlb/weir/pkg/lb"
)

func TestOpenTakesOverWhatIsPinned(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	key := ListenerKey{Address: netip.MustParseAddr("203.0.113.10"), Port: 443, Protocol: lb.TCP}
	entry := Listener{ID: 3, Balancer: 2, TableSize: 7, PoolSize: 16}
	if err := d.Tables().PutListener(key, entry); err != nil {
		t.Fatal(err)
	}
	closeTest(t, d)

	again := openTest(t, o)
	defer closeTest(t, again)
	got, err := again.Tables().Listeners()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[key] != entry {
		t.Errorf("listeners after the second Open: %v, want the one that was written", got)
	}
}

func TestOpenTwice(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	defer closeTest(t, d)

	_, err := Open(t.Context(), o)
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("the second Open says %v, want ErrLocked", err)
	}
	if want := "by process "; !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not say who holds the path", err)
	}
	if err := Unload(o.PinPath); !errors.Is(err, ErrLocked) {
		t.Errorf("Unload under a running agent says %v, want ErrLocked", err)
	}
}

func TestOpenWithOtherLimits(t *testing.T) {
	o := testOptions(t)
	closeTest(t, openTest(t, o))

	o.Limits.Slots *= 2
	_, err := Open(t.Context(), o)
	if err == nil {
		t.Fatal("other limits were accepted")
	}
	for _, want := range []string{"slots", "agent.limits", "weir unload --pin-path " + o.PinPath} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	o.Limits.Slots /= 2
	closeTest(t, openTest(t, o)) // the old limits still work
}

func TestOpenWithPinOfAnotherVersion(t *testing.T) {
	o := testOptions(t)
	if err := os.MkdirAll(mapsDir(o.PinPath), 0o700); err != nil {
		t.Fatal(err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Pin(filepath.Join(mapsDir(o.PinPath), "vips")); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "made by another version of Weir") {
		t.Fatalf("Open says %v, want that the map is another version's", err)
	}
	if err := Unload(o.PinPath); err != nil {
		t.Fatalf("the remedy that the message names: %v", err)
	}
	closeTest(t, openTest(t, o))
}

func TestOpenOutsideOfBPFFS(t *testing.T) {
	o := testOptions(t)
	o.PinPath = filepath.Join(t.TempDir(), "weir")
	_, err := Open(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "is not on a bpffs") {
		t.Fatalf("Open says %v, want that the path is not on a bpffs", err)
	}
	if _, err := os.Stat(o.PinPath); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s was made", o.PinPath)
	}
}

func TestUnload(t *testing.T) {
	o := testOptions(t)
	if err := Unload(o.PinPath); !errors.Is(err, ErrNotLoaded) {
		t.Errorf("Unload of nothing says %v, want ErrNotLoaded", err)
	}
	closeTest(t, openTest(t, o))
	if err := Unload(o.PinPath); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(o.PinPath); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there", o.PinPath)
	}
	if _, err := OpenTables(o.PinPath); !errors.Is(err, ErrNotLoaded) {
		t.Errorf("OpenTables after Unload says %v, want ErrNotLoaded", err)
	}
}

func TestSetKnobsLoadsAnotherProgram(t *testing.T) {
	d := openTest(t, testOptions(t))
	defer closeTest(t, d)

	before := programSize(t, d)
	k := d.Knobs()
	if err := d.SetKnobs(k); err != nil {
		t.Fatal(err)
	}
	if programSize(t, d) != before {
		t.Error("the same knobs made another program")
	}
	k.Features = Features{IPIP4: true}
	if err := d.SetKnobs(k); err != nil {
		t.Fatal(err)
	}
	if after := programSize(t, d); after >= before {
		t.Errorf("program without most features has %d bytes, with all %d: nothing was left out", after, before)
	}
}

func programSize(t *testing.T, d *Dataplane) int {
	t.Helper()
	info, err := d.Program().Info()
	if err != nil {
		t.Fatal(err)
	}
	size, err := info.TranslatedSize()
	if err != nil {
		t.Fatal(err)
	}
	return size
}
