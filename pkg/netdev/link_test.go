// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/testutil"
)

func TestInterface(t *testing.T) {
	host := testutil.LAN(t, "host")[0]
	got, err := host.Interface("eth0")
	must(t, err)
	want := netdev.Link{
		Name: "eth0", Index: got.Index, MAC: host.MAC(), MTU: 1500,
		Kind: "veth", Ethernet: true, Up: true, Carrier: true,
	}
	if diff := cmp.Diff(want, got); diff != "" || got.Index == 0 {
		t.Errorf("Interface(eth0) (-want +got):\n%s", diff)
	}
	_, err = host.Interface("eth7")
	if want := `interface "eth7" does not exist; there are: eth0, lo`; err == nil || err.Error() != want {
		t.Errorf("Interface(eth7): %v, want %s", err, want)
	}
	if !errors.Is(err, netdev.ErrNoInterface) {
		t.Errorf("Interface(eth7): %v, want one that is ErrNoInterface", err)
	}
}

func TestXDPAttached(t *testing.T) {
	testutil.RequireBPF(t)
	host := testutil.LAN(t, "host")[0]
	eth0, err := host.Interface("eth0")
	must(t, err)
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.XDP,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}, // XDP_PASS
		License:      "GPL",
	})
	must(t, err)
	defer program.Close()
	info, err := program.Info()
	must(t, err)
	id, _ := info.ID()

	attached := func() string {
		var got string
		must(t, host.Do(func() error {
			progID, mode, ok := netdev.XDPAttached(eth0.Index)
			got = fmt.Sprintln(progID, mode, ok)
			return nil
		}))
		return got
	}
	none := fmt.Sprintln(0, "", false)
	if got := attached(); got != none {
		t.Errorf("before: %s", got)
	}
	for mode, flags := range map[string]link.XDPAttachFlags{
		"native": link.XDPDriverMode, "generic": link.XDPGenericMode,
	} {
		var l link.Link
		must(t, host.Do(func() (err error) {
			l, err = link.AttachXDP(link.XDPOptions{Program: program, Interface: eth0.Index, Flags: flags})
			return err
		}))
		if got, want := attached(), fmt.Sprintln(uint32(id), mode, true); got != want {
			t.Errorf("XDPAttached: %s, want %s", got, want)
		}
		must(t, l.Close())
	}
	if got := attached(); got != none {
		t.Errorf("after: %s", got)
	}
}

// watch is a running WatchLinks and the last event of each name.
type watch struct {
	t    *testing.T
	host *testutil.Host
	mu   sync.Mutex
	last map[string]netdev.LinkEvent
	log  []netdev.LinkEvent
}

func startWatch(t *testing.T, host *testutil.Host, names ...string) *watch {
	t.Helper()
	return startWatchWith(t, host, func() {}, names...)
}

// startWatchWith calls also with each event.
func startWatchWith(t *testing.T, host *testutil.Host, also func(), names ...string) *watch {
	t.Helper()
	w := &watch{t: t, host: host, last: make(map[string]netdev.LinkEvent)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- host.Do(func() error {
			return netdev.WatchLinks(ctx, names, func(e netdev.LinkEvent) {
				w.mu.Lock()
				w.last[e.Name] = e
				w.log = append(w.log, e)
				w.mu.Unlock()
				also()
			})
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("WatchLinks: %v", err)
		}
	})
	return w
}

// await waits until the last event about an interface says what the kernel
// says, and returns it.
func (w *watch) await(name string, exists, up bool) netdev.LinkEvent {
	w.t.Helper()
	var got netdev.LinkEvent
	testutil.WaitFor(w.t, patience, func() error {
		want := netdev.LinkEvent{Name: name, Exists: exists, Up: up}
		if l, err := w.host.Interface(name); exists {
			must(w.t, err)
			want.Index, want.MAC, want.MTU = l.Index, l.MAC, l.MTU
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		got = w.last[name]
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("last event (-want +got):\n%s", diff)
		}
		return nil
	})
	return got
}

func TestWatchLinks(t *testing.T) {
	n := testutil.NewTopology(t)
	host := n.LAN("host")[0]
	w := startWatch(t, host, "eth0", "eth1")
	before := w.await("eth0", true, true)
	w.await("eth1", false, false)

	must(t, host.SetDown("eth0"))
	w.await("eth0", true, false)
	must(t, host.SetUp("eth0"))
	w.await("eth0", true, true)
	must(t, host.SetMTU("eth0", 1400))
	w.await("eth0", true, true)
	must(t, host.SetMAC("eth0", lb.MAC{0x02, 0, 0, 0, 0x11, 0x22}))
	w.await("eth0", true, true)

	must(t, host.SetDown("eth0"))
	must(t, host.Rename("eth0", "eth1"))
	w.await("eth0", false, false)
	if e := w.await("eth1", true, false); e.Index != before.Index {
		t.Errorf("after renaming: %+v, want index %d", e, before.Index)
	}
	must(t, host.DeleteInterface("eth1"))
	w.await("eth1", false, false)

	p := host.Ports[0]
	must(t, netdev.Connect(
		netdev.Port{Namespace: host.Namespace, Name: "eth0", Addresses: []netip.Prefix{p.IPv4}},
		netdev.Port{Namespace: n.Switch(), Name: p.SwitchPort}))
	if e := w.await("eth0", true, true); e.Index == before.Index {
		t.Errorf("the new interface has the old index: %+v", e)
	}
}

func TestWatchLinksIsNotFooledByBridges(t *testing.T) {
	// A bridge says RTM_DELLINK of a port that leaves it.
	n := testutil.NewTopology(t)
	host := n.LAN("host")[0]
	must(t, host.AddBridge("br0", "eth0"))
	w := startWatch(t, host, "eth0", "mark")
	w.await("eth0", true, true)
	must(t, host.RemoveBridgePort("eth0"))
	must(t, host.AddBridge("mark")) // what comes after has been seen, too
	w.await("mark", true, true)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.log {
		if e.Name == "eth0" && !e.Exists {
			t.Errorf("eth0 was said to be gone: %v", w.log)
		}
	}
}

func TestWatchLinksIgnoresOtherInterfaces(t *testing.T) {
	host := testutil.LAN(t, "host")[0]
	w := startWatch(t, host, "eth0")
	w.await("eth0", true, true)
	must(t, host.AddBridge("other"))
	must(t, host.SetMTU("eth0", 1400))
	w.await("eth0", true, true)
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for _, e := range w.log {
		names = append(names, e.Name)
	}
	if got := strings.Join(names, " "); got != "eth0 eth0" {
		t.Errorf("events about %q, want one at the start and one for the MTU", got)
	}
}

func TestWatchLinksRecoversFromLostEvents(t *testing.T) {
	host := testutil.LAN(t, "host")[0]
	held, release := make(chan struct{}), make(chan struct{})
	w := startWatchWith(t, host, sync.OnceFunc(func() {
		close(held)
		<-release
	}), "eth0", "mark")
	<-held
	for i := range 500 { // more than the socket can queue
		must(t, host.SetMTU("eth0", 1000+i))
	}
	must(t, host.DeleteInterface("eth0"))
	close(release)
	w.await("eth0", false, false)
	// What was queued before is not mistaken for news.
	must(t, host.AddBridge("mark"))
	w.await("mark", true, true)
	w.await("eth0", false, false)
}
