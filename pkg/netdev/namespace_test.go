// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/testutil"
)

func TestNamespaceRunsCommandsInside(t *testing.T) {
	host := testutil.LAN(t, "host")[0]
	want, err := host.Sysctl("net/ipv4/conf/eth0/arp_ignore") // there is an eth0
	must(t, err)
	read := func() *netdev.Command {
		return host.Command(t.Context(), "cat", "/proc/sys/net/ipv4/conf/eth0/arp_ignore")
	}
	out, err := read().Output()
	must(t, err)
	if got := strings.TrimSpace(string(out)); got != want {
		t.Errorf("Output: %q, want %q", got, want)
	}
	out, err = read().CombinedOutput()
	must(t, err)
	if got := strings.TrimSpace(string(out)); got != want {
		t.Errorf("CombinedOutput: %q, want %q", got, want)
	}
	must(t, read().Run())
	c := read()
	must(t, c.Start())
	must(t, c.Wait())
}

func TestNamespaceConnectsHosts(t *testing.T) {
	hosts := testutil.LAN(t, "server", "client")
	for _, addr := range []netip.Addr{hosts[0].IPv4(), hosts[0].IPv6()} {
		listener, err := hosts[0].Listen("tcp", netip.AddrPortFrom(addr, 80).String())
		must(t, err)
		served := make(chan error, 1)
		go func() {
			conn, err := listener.Accept()
			if err == nil {
				_, err = conn.Write([]byte("hello"))
				err = errors.Join(err, conn.Close())
			}
			served <- err
		}()
		conn, err := hosts[1].DialContext(t.Context(), "tcp", listener.Addr().String())
		must(t, err)
		got, err := io.ReadAll(conn)
		must(t, errors.Join(err, conn.Close(), <-served, listener.Close()))
		if string(got) != "hello" {
			t.Errorf("got %q over %s", got, addr)
		}
	}
}

func TestNamespaceListensForPackets(t *testing.T) {
	hosts := testutil.LAN(t, "server", "client")
	server, err := hosts[0].ListenPacket("udp", netip.AddrPortFrom(hosts[0].IPv6(), 53).String())
	must(t, err)
	defer server.Close()
	client, err := hosts[1].DialContext(t.Context(), "udp", server.LocalAddr().String())
	must(t, err)
	defer client.Close()
	_, err = client.Write([]byte("hello"))
	must(t, err)
	buf := make([]byte, 16)
	n, from, err := server.ReadFrom(buf)
	must(t, err)
	if got := from.(*net.UDPAddr).AddrPort().Addr(); string(buf[:n]) != "hello" || got != hosts[1].IPv6() {
		t.Errorf("got %q from %s", buf[:n], got)
	}
}

// currentNamespace identifies the network namespace of the calling thread.
func currentNamespace(t *testing.T) string {
	t.Helper()
	id, err := os.Readlink("/proc/thread-self/ns/net")
	must(t, err)
	return id
}

func TestNamespaceDoComesBack(t *testing.T) {
	host := testutil.NewTopology(t).Host("host")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	outside := currentNamespace(t)
	var inside string
	cause := errors.New("cause")
	err := host.Do(func() error {
		inside = currentNamespace(t)
		return cause
	})
	if !errors.Is(err, cause) {
		t.Errorf("Do returned %v, want what the function did", err)
	}
	if inside == outside {
		t.Error("the function did not run in another namespace")
	}
	if now := currentNamespace(t); now != outside {
		t.Errorf("the caller is in %s now, was in %s", now, outside)
	}
}

func TestNamespaceDoPassesPanicsOn(t *testing.T) {
	host := testutil.NewTopology(t).Host("host")
	defer func() {
		if got := recover(); got != "oops" {
			t.Errorf("recovered %v", got)
		}
	}()
	_ = host.Do(func() error { panic("oops") })
}

func TestNamespaceDoPassesGoexitOn(t *testing.T) {
	host := testutil.NewTopology(t).Host("host")
	ended := make(chan bool)
	go func() {
		after := false
		defer func() { ended <- after }()
		_ = host.Do(func() error { runtime.Goexit(); return nil })
		after = true
	}()
	if after := <-ended; after {
		t.Error("the caller went on")
	}
}

func TestNamespaceNames(t *testing.T) {
	host := testutil.NewTopology(t).Host("host")
	if _, err := netdev.NewNamespace(host.Name()); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("making a namespace twice: %v", err)
	}
	names, err := netdev.Namespaces(host.Name())
	must(t, err)
	if !slices.Equal(names, []string{host.Name()}) {
		t.Errorf("Namespaces: %q", names)
	}
	if _, err := os.Stat(host.Path()); err != nil {
		t.Error(err)
	}
	if err := netdev.RemoveNamespace(host.Name() + "-none"); err == nil {
		t.Error("a namespace that does not exist was removed")
	}
}

func TestNamespaceErrorsNameTheThing(t *testing.T) {
	host := testutil.LAN(t, "host")[0]
	for _, c := range []struct {
		err  error
		want []string
	}{
		{host.SetUp("eth7"), []string{"eth7", host.Name(), "switched on"}},
		{host.SetRoute(netdev.Route{Destination: netip.MustParsePrefix("198.51.100.0/24"), Interface: "eth7"}),
			[]string{"198.51.100.0/24", host.Name()}},
		{host.AddBridgePort("br7", "eth0"), []string{"eth0", "br7"}},
		{host.AddAddress("eth0", host.Ports[0].IPv4), []string{"192.0.2.1/24", "eth0"}},
	} {
		for _, word := range c.want {
			if c.err == nil || !strings.Contains(c.err.Error(), word) {
				t.Errorf("error %v does not mention %s", c.err, word)
			}
		}
	}
	if _, err := host.DialContext(context.Background(), "tcp", "192.0.2.1:1"); err == nil {
		t.Error("a connection to a closed port was made")
	}
}
