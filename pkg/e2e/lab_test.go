// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/testutil"
)

// lab is a network with what runs in it. The client is 192.0.2.1, the balancer
// 192.0.2.2, backends come after them, and likewise below 2001:db8:1::/64.
type lab struct {
	t        testing.TB
	network  *testutil.Topology
	client   *testutil.Host
	balancer *testutil.Host
	backends []*backend
	sources  map[bool][]netip.Addr // of clients, IPv6 under true: see addSources
	dir      string                // of configurations and sockets: short, for a socket's path
}

// vip4 and vip6 return the n-th address of balancers, of each family.
func vip4(n int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(10 * n)}) }
func vip6(n int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("2001:db8:a::%d", 10*n)) }

// vipCount is how many addresses of each family the backends hold.
const vipCount = 4

// newLab makes a network with n backends, which neither hold the balancers'
// addresses nor serve anything yet, and more hosts after them.
func newLab(t testing.TB, n int, more ...string) *lab {
	t.Helper()
	testutil.RequireBPF(t)
	l := &lab{t: t, network: testutil.NewTopology(t), dir: tempDir(t)}
	labels := []string{"client", "balancer"}
	for i := range n {
		labels = append(labels, fmt.Sprintf("web-%d", i+1))
	}
	hosts := l.network.LAN(append(labels, more...)...)
	l.client, l.balancer = hosts[0], hosts[1]
	for _, h := range hosts[2 : 2+n] {
		l.backends = append(l.backends, &backend{lab: l, Host: h})
	}
	l.routeVIPs(l.client, l.balancer)
	return l
}

// newServingLab makes a network with n backends that serve the balancers'
// addresses.
func newServingLab(t testing.TB, n int) *lab {
	t.Helper()
	l := newLab(t, n)
	for _, b := range l.backends {
		b.startNode()
		b.serve()
	}
	return l
}

// tempDir returns a directory that everybody may read.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "weir-e2e-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// routeVIPs has a host send packets for the balancers' addresses to a gateway.
func (l *lab) routeVIPs(host, gateway *testutil.Host) {
	l.t.Helper()
	for n := 1; n <= vipCount; n++ {
		for _, r := range []netdev.Route{
			{Destination: netip.PrefixFrom(vip4(n), 32), Gateway: gateway.IPv4()},
			{Destination: netip.PrefixFrom(vip6(n), 128), Gateway: gateway.IPv6()},
		} {
			l.must(host.SetRoute(r))
		}
	}
}

// route has a host send packets for the network of a port by the router at
// another one.
func (l *lab) route(host *testutil.Host, to, router testutil.Port) {
	l.t.Helper()
	for _, r := range []netdev.Route{
		{Destination: to.IPv4, Gateway: router.IPv4.Addr()},
		{Destination: to.IPv6, Gateway: router.IPv6.Addr()},
	} {
		l.must(host.SetRoute(r))
	}
}

// addSources gives the client more addresses, so that it can be many clients.
func (l *lab) addSources() {
	l.t.Helper()
	const count = 16
	l.sources = make(map[bool][]netip.Addr)
	for i := 101; i <= 100+count; i++ {
		v4 := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		v6 := netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%d", i))
		l.must(l.client.AddAddress("eth0", netip.PrefixFrom(v4, 24)))
		l.must(l.client.AddAddress("eth0", netip.PrefixFrom(v6, 64)))
		l.sources[false] = append(l.sources[false], v4)
		l.sources[true] = append(l.sources[true], v6)
	}
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// hardwareAddr returns a MAC address as listings show it.
func hardwareAddr(mac lb.MAC) string { return net.HardwareAddr(mac[:]).String() }

// write writes a file and returns its path.
func (l *lab) write(name, text string) string {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	l.must(os.WriteFile(path, []byte(text), 0o644))
	return path
}

// balancerYAML returns a balancer for a configuration.
func balancerYAML(label string, addresses []netip.Addr, listeners ...string) string {
	quoted := make([]string, len(addresses))
	for i, a := range addresses {
		quoted[i] = fmt.Sprintf("%q", a)
	}
	return fmt.Sprintf("- label: %s\n  addresses: [%s]\n  listeners:\n%s",
		label, strings.Join(quoted, ", "), strings.Join(listeners, ""))
}

// listenerYAML returns a listener. keys are more of its keys, with their
// values.
func listenerYAML(port int, forward string, keys []string, backends ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  - port: %d\n    forward: %s\n", port, forward)
	for _, key := range keys {
		fmt.Fprintf(&b, "    %s\n", key)
	}
	b.WriteString("    backends:\n")
	for _, backend := range backends {
		fmt.Fprintf(&b, "    - %s\n", backend)
	}
	return b.String()
}

// slowCheck suits backends that stay healthy: no machine is too slow for it.
const slowCheck = "check: {type: http, path: /healthz, interval: 1s, timeout: 1s, fall: 20, rise: 1}"

// fastCheck suits backends whose health changes.
const fastCheck = "check: {type: http, path: /healthz, interval: 400ms, timeout: 400ms, fall: 3, rise: 2}"

// smallTable suits tests that look at slots often.
const smallTable = "table_size: 1021"

// noCheck takes backends for healthy.
const noCheck = "check: {type: none}"

// address returns the own address of a backend, in a family.
func (b *backend) address(family int) netip.Addr {
	if family == 4 {
		return b.IPv4()
	}
	return b.IPv6()
}

// yaml returns the backend for a listener. more are more of its keys.
func (b *backend) yaml(family, port int, more ...string) string {
	keys := append([]string{
		"label: " + b.Label,
		fmt.Sprintf("address: %q", netip.AddrPortFrom(b.address(family), uint16(port))),
	}, more...)
	return "{" + strings.Join(keys, ", ") + "}"
}

// allYAML returns all backends for a listener.
func (l *lab) allYAML(family, port int) []string {
	var all []string
	for _, b := range l.backends {
		all = append(all, b.yaml(family, port))
	}
	return all
}
