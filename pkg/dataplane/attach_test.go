// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/testutil"
)

// inHost runs fn inside a namespace that has one interface eth0.
func inHost(t *testing.T, fn func(host *testutil.Host)) {
	t.Helper()
	host := testutil.LAN(t, "balancer", "other")[0]
	err := host.Do(func() error {
		fn(host)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func eth0(t *testing.T) Interface {
	t.Helper()
	return named(t, "eth0")
}

func attach(t *testing.T, d *Dataplane, iface Interface, mode Mode) Attachment {
	t.Helper()
	a, err := d.Attach(iface, mode)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// onInterface returns the mode in which a program is on an interface.
func onInterface(iface Interface) (program uint32, mode string) {
	id, mode, _ := netdev.XDPAttached(iface.Index)
	return id, mode
}

func TestAttachOutlivesTheProcess(t *testing.T) {
	o := testOptions(t)
	inHost(t, func(*testutil.Host) {
		d := openTest(t, o)
		iface := eth0(t)
		if got := attach(t, d, iface, Auto); got.Mode != Native || got.Fallback != nil {
			t.Errorf("attached as %+v, want native", got)
		}
		closeTest(t, d)
		first, mode := onInterface(iface)
		if mode != "native" {
			t.Fatalf("after Close the mode is %q, want native", mode)
		}

		// The next process puts its own program there by the same link.
		again := openTest(t, o)
		attach(t, again, iface, Auto)
		if second, _ := onInterface(iface); second == first || second == 0 {
			t.Errorf("program %d stayed after another process attached, now %d", first, second)
		}
		if diff := cmp.Diff([]Attachment{{Interface: iface, Mode: Native}}, again.Attachments()); diff != "" {
			t.Error(diff)
		}
		closeTest(t, again)
		if err := Unload(o.PinPath); err != nil {
			t.Fatal(err)
		}
		if id, _ := onInterface(iface); id != 0 {
			t.Errorf("program %d is still there after Unload", id)
		}
	})
}

func TestAttachGenericWhereTheDriverCannot(t *testing.T) {
	o := testOptions(t)
	inHost(t, func(*testutil.Host) {
		d := openTest(t, o)
		defer closeTest(t, d)
		lo := Interface{Name: "lo", Index: 1}
		got := attach(t, d, lo, Auto)
		if got.Mode != Generic || got.Fallback == nil {
			t.Errorf("attached to lo as %+v, want generic and why", got)
		}
		if err := d.Detach("lo"); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Attach(lo, Native); err == nil {
			t.Error("native was granted on lo, which has no native XDP")
		}
	})
}

func TestAttachInAnotherMode(t *testing.T) {
	o := testOptions(t)
	inHost(t, func(*testutil.Host) {
		d := openTest(t, o)
		defer closeTest(t, d)
		iface := eth0(t)
		attach(t, d, iface, Native)
		attach(t, d, iface, Generic)
		if _, mode := onInterface(iface); mode != "generic" {
			t.Errorf("mode is %q, want generic", mode)
		}
	})
}

func TestAttachWhereSomebodyElseIs(t *testing.T) {
	ours, theirs := testOptions(t), testOptions(t)
	inHost(t, func(*testutil.Host) {
		other := openTest(t, theirs)
		defer closeTest(t, other)
		iface := eth0(t)
		attach(t, other, iface, Auto)

		d := openTest(t, ours)
		defer closeTest(t, d)
		_, err := d.Attach(iface, Auto)
		if !errors.Is(err, ErrHookTaken) {
			t.Errorf("Attach says %v, want ErrHookTaken", err)
		}
		for _, want := range []string{"weir unload --pin-path", "ip link set dev eth0 xdp off", "bpftool link detach"} {
			if !strings.Contains(errorText(err), want) {
				t.Errorf("error %q does not say %q", err, want)
			}
		}
	})
}

func TestAttachAfterTheInterfaceWasAway(t *testing.T) {
	o := testOptions(t)
	inHost(t, func(host *testutil.Host) {
		d := openTest(t, o)
		defer closeTest(t, d)
		attach(t, d, eth0(t), Auto)
		if err := host.DeleteInterface("eth0"); err != nil {
			t.Fatal(err)
		}
		if err := d.SetKnobs(Knobs{TunnelSource4: o.Knobs.TunnelSource4, TunnelSource6: o.Knobs.TunnelSource6}); err != nil {
			t.Errorf("replacing the program while the interface is away: %v", err)
		}
		reconnect(t, host)
		iface := eth0(t)
		attach(t, d, iface, Auto)
		if _, mode := onInterface(iface); mode != "native" {
			t.Errorf("mode is %q, want native", mode)
		}
	})
}

func TestStalePinIsReplaced(t *testing.T) {
	o := testOptions(t)
	inHost(t, func(host *testutil.Host) {
		d := openTest(t, o)
		attach(t, d, eth0(t), Auto)
		closeTest(t, d)
		if err := host.DeleteInterface("eth0"); err != nil {
			t.Fatal(err)
		}

		again := openTest(t, o)
		defer closeTest(t, again)
		if got := again.Attachments(); len(got) != 0 {
			t.Errorf("attachments of an interface that is gone: %v", got)
		}
		if pins, err := os.ReadDir(linksDir(o.PinPath)); err != nil || len(pins) != 0 {
			t.Errorf("pins are %v, %v; want none", pins, err)
		}
		reconnect(t, host)
		attach(t, again, eth0(t), Auto)
	})
}

func reconnect(t *testing.T, host *testutil.Host) {
	t.Helper()
	peer := testutil.LAN(t, "replacement")[0]
	err := netdev.Connect(netdev.Port{Namespace: host.Namespace, Name: "eth0"},
		netdev.Port{Namespace: peer.Namespace, Name: "cable"})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPinName(t *testing.T) {
	for _, name := range []string{"eth0", "eth0.100", "a%2e", "br-1@x"} {
		file := pinName(name, Native)
		got, mode, ok := parsePinName(file)
		if !ok || got != name || mode != Native {
			t.Errorf("%q became %q, which reads as %q %q %v", name, file, got, mode, ok)
		}
	}
}

func TestAttachAfterRename(t *testing.T) {
	o := testOptions(t)
	inHost(t, func(host *testutil.Host) {
		d := openTest(t, o)
		attach(t, d, eth0(t), Auto)
		closeTest(t, d)
		rename(t, host, "eth0", "uplink")

		again := openTest(t, o)
		defer closeTest(t, again)
		iface := named(t, "uplink")
		attach(t, again, iface, Auto)
		if diff := cmp.Diff([]Attachment{{Interface: iface, Mode: Native}}, again.Attachments()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"uplink@native"}, linkPins(t, o)); diff != "" {
			t.Error(diff)
		}
		if err := again.Detach("uplink"); err != nil {
			t.Fatal(err)
		}
		if id, _ := onInterface(iface); id != 0 {
			t.Errorf("program %d is still there", id)
		}
	})
}

// TestAttachAfterSwap swaps the names of two interfaces: neither is without a
// program for a moment.
func TestAttachAfterSwap(t *testing.T) {
	o := testOptions(t)
	inHost(t, func(host *testutil.Host) {
		peer := testutil.LAN(t, "second")[0]
		err := netdev.Connect(netdev.Port{Namespace: host.Namespace, Name: "eth1"},
			netdev.Port{Namespace: peer.Namespace, Name: "cable"})
		if err != nil {
			t.Fatal(err)
		}
		d := openTest(t, o)
		attach(t, d, named(t, "eth0"), Native)
		attach(t, d, named(t, "eth1"), Generic)
		closeTest(t, d)
		rename(t, host, "eth0", "aside")
		rename(t, host, "eth1", "eth0")
		rename(t, host, "aside", "eth1")

		again := openTest(t, o)
		defer closeTest(t, again)
		attach(t, again, named(t, "eth0"), Auto)
		attach(t, again, named(t, "eth1"), Auto)
		want := []Attachment{
			{Interface: named(t, "eth0"), Mode: Generic},
			{Interface: named(t, "eth1"), Mode: Native},
		}
		if diff := cmp.Diff(want, again.Attachments()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"eth0@generic", "eth1@native"}, linkPins(t, o)); diff != "" {
			t.Error(diff)
		}
	})
}

func named(t *testing.T, name string) Interface {
	t.Helper()
	link, err := netdev.Interface(name)
	if err != nil {
		t.Fatal(err)
	}
	return Interface{Name: name, Index: link.Index}
}

func rename(t *testing.T, host *testutil.Host, from, to string) {
	t.Helper()
	if err := errors.Join(host.SetDown(from), host.Rename(from, to), host.SetUp(to)); err != nil {
		t.Fatal(err)
	}
}

func linkPins(t *testing.T, o Options) []string {
	t.Helper()
	entries, err := os.ReadDir(linksDir(o.PinPath))
	if err != nil {
		t.Fatal(err)
	}
	var pins []string
	for _, e := range entries {
		pins = append(pins, e.Name())
	}
	return pins
}
