// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/testutil"
)

// resolver is a Resolver under test, running in the namespace of a host.
type resolver struct {
	*netdev.Resolver
	t    *testing.T
	host *testutil.Host

	mu      sync.Mutex
	changes map[netip.Addr]int // calls of OnChange for each address
}

func startResolver(t *testing.T, host *testutil.Host, addrs ...netip.Addr) *resolver {
	t.Helper()
	r := newResolver(t, host, netdev.ResolverOptions{})
	r.start()
	r.follow(addrs...)
	return r
}

// newResolver opens a resolver that counts changes and then calls the
// OnChange of opts, if any.
func newResolver(t *testing.T, host *testutil.Host, opts netdev.ResolverOptions) *resolver {
	t.Helper()
	r := &resolver{t: t, host: host, changes: make(map[netip.Addr]int)}
	also := opts.OnChange
	opts.OnChange = func(changed []netip.Addr) {
		r.mu.Lock()
		for _, addr := range changed {
			r.changes[addr]++
		}
		r.mu.Unlock()
		if also != nil {
			also(changed)
		}
	}
	must(t, host.Do(func() (err error) {
		r.Resolver, err = netdev.NewResolver(opts)
		return err
	}))
	return r
}

// start calls Run until the test ends or the function returned is called.
func (r *resolver) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	r.t.Cleanup(stop)
	return stop
}

// follow sets the addresses and waits for the neighbours to answer.
func (r *resolver) follow(addrs ...netip.Addr) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r.Set(addrs)
	must(r.t, r.Wait(ctx))
}

// await waits until the next hop of addr is want.
func (r *resolver) await(addr netip.Addr, want lb.NextHop) {
	r.t.Helper()
	testutil.WaitFor(r.t, patience, func() error {
		got, err := r.Lookup(addr)
		if err != nil {
			return err
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			return fmt.Errorf("next hop of %s (-want +got):\n%s", addr, diff)
		}
		return nil
	})
}

// awaitError waits until the next hop of addr is unknown for the given reason.
func (r *resolver) awaitError(addr netip.Addr, want string) {
	r.t.Helper()
	testutil.WaitFor(r.t, patience, func() error {
		next, err := r.Lookup(addr)
		if err == nil {
			return fmt.Errorf("next hop of %s is %+v", addr, next)
		}
		if !strings.Contains(err.Error(), want) {
			return fmt.Errorf("got reason %q for %s, want %q", err, addr, want)
		}
		return nil
	})
}

func (r *resolver) changesOf(addr netip.Addr) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changes[addr]
}

// nextHop is the next hop over an interface of the host to a given MAC
// address.
func (r *resolver) nextHop(iface string, dest lb.MAC) lb.NextHop {
	r.t.Helper()
	link, err := r.host.Interface(iface)
	must(r.t, err)
	return lb.NextHop{Interface: link.Index, Source: link.MAC, Dest: dest, MTU: link.MTU}
}

func (r *resolver) routed(iface string, gateway netip.Addr, dest lb.MAC) lb.NextHop {
	r.t.Helper()
	next := r.nextHop(iface, dest)
	next.Gateway = gateway
	return next
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestResolverFindsOnLinkBackends(t *testing.T) {
	hosts := testutil.LAN(t, "balancer", "backend-1", "backend-2")
	r := startResolver(t, hosts[0],
		hosts[1].IPv4(), hosts[1].IPv6(), hosts[2].IPv4(), hosts[2].IPv6())
	for _, backend := range hosts[1:] {
		for _, addr := range []netip.Addr{backend.IPv4(), backend.IPv6()} {
			r.await(addr, r.nextHop("eth0", backend.MAC()))
			if next, _ := r.Lookup(addr); !next.OnLink() {
				t.Errorf("%s is not taken for on-link: %+v", addr, next)
			}
		}
	}
	// OnChange is called from Run, a moment after the answers are there.
	testutil.WaitFor(t, patience, func() error {
		if n := r.changesOf(hosts[1].IPv4()); n == 0 {
			return fmt.Errorf("OnChange was not called")
		}
		return nil
	})
}

// routedNetwork is a balancer and a router on one LAN, and a backend behind
// the router on another.
func routedNetwork(t *testing.T) (balancer, router, backend *testutil.Host) {
	t.Helper()
	n := testutil.NewTopology(t)
	near := n.LAN("balancer", "router")
	far := n.LAN("router", "backend")
	balancer, router, backend = near[0], near[1], far[1]
	must(t, router.Forward())
	p := backend.Ports[0]
	must(t, balancer.SetRoute(netdev.Route{Destination: p.IPv4.Masked(), Gateway: router.IPv4()}))
	must(t, balancer.SetRoute(netdev.Route{Destination: p.IPv6.Masked(), Gateway: router.IPv6()}))
	return balancer, router, backend
}

func TestResolverFindsRoutedBackends(t *testing.T) {
	balancer, router, backend := routedNetwork(t)
	neighbour := netip.MustParseAddr("198.51.100.200") // shares the router with the backend
	r := startResolver(t, balancer, backend.IPv4(), backend.IPv6(), neighbour)
	r.await(backend.IPv4(), r.routed("eth0", router.IPv4(), router.MAC()))
	r.await(neighbour, r.routed("eth0", router.IPv4(), router.MAC()))
	r.await(backend.IPv6(), r.routed("eth0", router.IPv6(), router.MAC()))
}

func TestResolverTakesLinkLocalRouters(t *testing.T) {
	balancer, router, backend := routedNetwork(t)
	linkLocal := netip.MustParseAddr("fe80::ff:fe00:102") // from the router's MAC address
	route := netdev.Route{Destination: backend.Ports[0].IPv6.Masked(), Gateway: linkLocal, Interface: "eth0"}
	must(t, balancer.SetRoute(route))
	r := startResolver(t, balancer, backend.IPv6())
	r.await(backend.IPv6(), r.routed("eth0", linkLocal, router.MAC()))
}

func TestResolverFollowsMACAddressOfRouter(t *testing.T) {
	balancer, router, backend := routedNetwork(t)
	r := startResolver(t, balancer, backend.IPv4(), backend.IPv6())
	r.await(backend.IPv4(), r.routed("eth0", router.IPv4(), router.MAC()))
	r.await(backend.IPv6(), r.routed("eth0", router.IPv6(), router.MAC()))

	// With this the router announces its new address, as routers do that take
	// over from another.
	must(t, router.SetSysctl("net/ipv4/conf/eth0/arp_notify", "1"))
	must(t, router.SetSysctl("net/ipv6/conf/eth0/ndisc_notify", "1"))
	moved := lb.MAC{0x02, 0, 0, 0, 0x99, 0x01}
	must(t, router.SetMAC("eth0", moved))
	r.await(backend.IPv4(), r.routed("eth0", router.IPv4(), moved))
	r.await(backend.IPv6(), r.routed("eth0", router.IPv6(), moved))
}

// hurry makes the host notice silent neighbours in well under a second.
func hurry(t *testing.T, host *testutil.Host) {
	t.Helper()
	for _, family := range []string{"ipv4", "ipv6"} {
		for key, value := range map[string]string{
			"base_reachable_time_ms": "200", "delay_first_probe_time": "0", "retrans_time_ms": "50",
		} {
			must(t, host.SetSysctl("net/"+family+"/neigh/eth0/"+key, value))
		}
	}
}

func TestResolverNoticesSilentMove(t *testing.T) {
	// The router gets another MAC address and tells nobody: only asking it
	// again and again, as the resolver makes the kernel do, finds out.
	balancer, router, backend := routedNetwork(t)
	hurry(t, balancer)
	r := startResolver(t, balancer, backend.IPv4(), backend.IPv6())
	r.await(backend.IPv4(), r.routed("eth0", router.IPv4(), router.MAC()))
	r.await(backend.IPv6(), r.routed("eth0", router.IPv6(), router.MAC()))
	moved := lb.MAC{0x02, 0, 0, 0, 0x99, 0x02}
	must(t, router.SetMAC("eth0", moved))
	r.await(backend.IPv4(), r.routed("eth0", router.IPv4(), moved))
	r.await(backend.IPv6(), r.routed("eth0", router.IPv6(), moved))
}

func TestResolverNoticesNeighbourThatFallsSilent(t *testing.T) {
	n := testutil.NewTopology(t)
	hosts := n.LAN("balancer", "backend")
	balancer, backend := hosts[0], hosts[1]
	hurry(t, balancer)
	r := startResolver(t, balancer, backend.IPv4(), backend.IPv6())
	r.await(backend.IPv4(), r.nextHop("eth0", backend.MAC()))
	r.await(backend.IPv6(), r.nextHop("eth0", backend.MAC()))

	// A switched off port of the switch would be seen as loss of carrier; out
	// of the bridge, the cable leads nowhere but looks fine.
	cable := backend.Ports[0].SwitchPort
	must(t, n.Switch().RemoveBridgePort(cable))
	r.awaitError(backend.IPv4(), "192.0.2.2 on eth0 does not answer ARP")
	r.awaitError(backend.IPv6(), "2001:db8:1::2 on eth0 does not answer neighbour discovery")

	must(t, n.Switch().AddBridgePort("lan1", cable))
	r.await(backend.IPv4(), r.nextHop("eth0", backend.MAC()))
	r.await(backend.IPv6(), r.nextHop("eth0", backend.MAC()))
}
