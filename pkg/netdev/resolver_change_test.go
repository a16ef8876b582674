// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev_test

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/testutil"
)

// inside calls fn with a netlink handle of the host's namespace.
func inside(t *testing.T, host *testutil.Host, fn func(*netlink.Handle) error) {
	t.Helper()
	must(t, host.Do(func() error {
		handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer handle.Close()
		return fn(handle)
	}))
}

func ipNet(t *testing.T, prefix string) *netlink.Addr {
	t.Helper()
	addr, err := netlink.ParseAddr(prefix)
	must(t, err)
	return addr
}

func TestResolverSaysWhyThereIsNoNextHop(t *testing.T) {
	balancer := testutil.LAN(t, "balancer", "other")[0]
	inside(t, balancer, func(h *netlink.Handle) error {
		for prefix, kind := range map[string]int{
			"198.51.100.1/32": unix.RTN_UNREACHABLE, "2001:db8:a::1/128": unix.RTN_UNREACHABLE,
			"198.51.100.2/32": unix.RTN_BLACKHOLE, "2001:db8:a::2/128": unix.RTN_BLACKHOLE,
			"198.51.100.3/32": unix.RTN_PROHIBIT, "2001:db8:a::3/128": unix.RTN_PROHIBIT,
		} {
			if err := h.RouteAdd(&netlink.Route{Dst: ipNet(t, prefix).IPNet, Type: kind}); err != nil {
				return err
			}
		}
		return nil
	})
	reasons := map[string]string{
		"203.0.113.9":   "no route to 203.0.113.9",
		"2001:db8:9::9": "no route to 2001:db8:9::9",
		"192.0.2.1":     "192.0.2.1 is an address of this host",
		"2001:db8:1::1": "2001:db8:1::1 is an address of this host",
		"192.0.2.255":   "192.0.2.255 is not the address of a single host",
		"192.0.2.99":    "192.0.2.99 on eth0 does not answer ARP",
		"198.51.100.1":  "the route to 198.51.100.1 is of type unreachable",
		"2001:db8:a::1": "the route to 2001:db8:a::1 is of type unreachable",
		"198.51.100.2":  "the route to 198.51.100.2 is of type blackhole",
		"2001:db8:a::2": "the route to 2001:db8:a::2 is of type blackhole",
		"198.51.100.3":  "the route to 198.51.100.3 is of type prohibit",
		"2001:db8:a::3": "the route to 2001:db8:a::3 is of type prohibit",
	}
	var addrs []netip.Addr
	for addr := range reasons {
		addrs = append(addrs, netip.MustParseAddr(addr))
	}
	hurry(t, balancer)
	r := startResolver(t, balancer, addrs...)
	for _, addr := range addrs {
		if _, err := r.Lookup(addr); err == nil || err.Error() != reasons[addr.String()] {
			t.Errorf("Lookup(%s) = %v, want %q", addr, err, reasons[addr.String()])
		}
	}
	stranger := netip.MustParseAddr("192.0.2.7")
	if _, err := r.Lookup(stranger); err == nil {
		t.Errorf("Lookup(%s) answers for an address that was not set", stranger)
	}
}

func TestResolverFollowsRoutes(t *testing.T) {
	balancer, router, backend := routedNetwork(t)
	r := startResolver(t, balancer, backend.IPv4(), backend.IPv6())
	routes := []netdev.Route{
		{Destination: backend.Ports[0].IPv4.Masked(), Gateway: router.IPv4()},
		{Destination: backend.Ports[0].IPv6.Masked(), Gateway: router.IPv6()},
	}
	for _, route := range routes {
		must(t, balancer.DeleteRoute(route))
	}
	r.awaitError(backend.IPv4(), "no route to 198.51.100.2")
	r.awaitError(backend.IPv6(), "no route to 2001:db8:2::2")

	for _, route := range routes {
		route.MTU = 1400
		must(t, balancer.SetRoute(route))
	}
	want4, want6 := r.routed("eth0", router.IPv4(), router.MAC()), r.routed("eth0", router.IPv6(), router.MAC())
	want4.MTU, want6.MTU = 1400, 1400
	r.await(backend.IPv4(), want4)
	r.await(backend.IPv6(), want6)

	// The route's MTU is no more than what the interface can do.
	must(t, balancer.SetMTU("eth0", 1300))
	want4.MTU, want6.MTU = 1300, 1300
	r.await(backend.IPv4(), want4)
	r.await(backend.IPv6(), want6)

	// A more specific route for one of the addresses leaves the other alone.
	before := r.changesOf(backend.IPv6())
	must(t, balancer.SetRoute(netdev.Route{Destination: netip.PrefixFrom(backend.IPv4(), 32), Interface: "eth0"}))
	r.awaitError(backend.IPv4(), "198.51.100.2 on eth0")
	if after := r.changesOf(backend.IPv6()); after != before {
		t.Errorf("OnChange was called for %s, whose route did not change", backend.IPv6())
	}
}

func TestResolverFollowsRules(t *testing.T) {
	balancer, router, backend := routedNetwork(t)
	r := startResolver(t, balancer, backend.IPv4())
	r.await(backend.IPv4(), r.routed("eth0", router.IPv4(), router.MAC()))
	rule := netlink.NewRule()
	rule.Dst, rule.Table, rule.Priority = ipNet(t, "198.51.100.0/24").IPNet, 100, 10
	inside(t, balancer, func(h *netlink.Handle) error {
		unreachable := &netlink.Route{Dst: ipNet(t, "0.0.0.0/0").IPNet, Table: 100, Type: unix.RTN_UNREACHABLE}
		if err := h.RouteAdd(unreachable); err != nil {
			return err
		}
		return h.RuleAdd(rule)
	})
	r.awaitError(backend.IPv4(), "of type unreachable")
	inside(t, balancer, func(h *netlink.Handle) error { return h.RuleDel(rule) })
	r.await(backend.IPv4(), r.routed("eth0", router.IPv4(), router.MAC()))
}

func TestResolverTakesRoutersOfTheOtherFamily(t *testing.T) {
	balancer, router, backend := routedNetwork(t)
	inside(t, balancer, func(h *netlink.Handle) error {
		link, err := h.LinkByName("eth0")
		if err != nil {
			return err
		}
		return h.RouteReplace(&netlink.Route{
			Dst: ipNet(t, backend.Ports[0].IPv4.Masked().String()).IPNet, LinkIndex: link.Attrs().Index,
			Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: router.IPv6().AsSlice()},
		})
	})
	r := startResolver(t, balancer, backend.IPv4())
	r.await(backend.IPv4(), r.routed("eth0", router.IPv6(), router.MAC()))
}

func TestResolverSpreadsAddressesOverMultipath(t *testing.T) {
	hosts := testutil.LAN(t, "balancer", "router-1", "router-2")
	inside(t, hosts[0], func(h *netlink.Handle) error {
		link, err := h.LinkByName("eth0")
		if err != nil {
			return err
		}
		route := &netlink.Route{Dst: ipNet(t, "198.51.100.0/24").IPNet}
		for _, router := range hosts[1:] {
			route.MultiPath = append(route.MultiPath,
				&netlink.NexthopInfo{LinkIndex: link.Attrs().Index, Gw: router.IPv4().AsSlice()})
		}
		return h.RouteAdd(route)
	})
	var addrs []netip.Addr
	for i := range 64 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}))
	}
	r := startResolver(t, hosts[0], addrs...)
	count := make(map[lb.MAC]int)
	for _, addr := range addrs {
		next, err := r.Lookup(addr)
		must(t, err)
		count[next.Dest]++
	}
	if len(count) != 2 || count[hosts[1].MAC()] < 8 || count[hosts[2].MAC()] < 8 {
		t.Errorf("64 addresses over two routers: %v", count)
	}
}

func TestResolverFollowsInterfaces(t *testing.T) {
	balancer, router, backend := routedNetwork(t)
	onLink := router.IPv4()
	r := startResolver(t, balancer, onLink, backend.IPv4())
	r.await(onLink, r.nextHop("eth0", router.MAC()))

	must(t, balancer.SetDown("eth0"))
	r.awaitError(onLink, "no route to 192.0.2.2")
	must(t, balancer.SetUp("eth0"))
	r.await(onLink, r.nextHop("eth0", router.MAC()))
	r.awaitError(backend.IPv4(), "no route to 198.51.100.2") // the kernel drops such routes
	must(t, balancer.SetRoute(netdev.Route{Destination: backend.Ports[0].IPv4.Masked(), Gateway: router.IPv4()}))
	r.await(backend.IPv4(), r.routed("eth0", router.IPv4(), router.MAC()))
}

func TestResolverNoticesLossOfCarrier(t *testing.T) {
	n := testutil.NewTopology(t)
	hosts := n.LAN("balancer", "backend")
	r := startResolver(t, hosts[0], hosts[1].IPv4())
	must(t, n.Switch().SetDown(hosts[0].Ports[0].SwitchPort))
	r.awaitError(hosts[1].IPv4(), "interface eth0 has no carrier")
	must(t, n.Switch().SetUp(hosts[0].Ports[0].SwitchPort))
	r.await(hosts[1].IPv4(), r.nextHop("eth0", hosts[1].MAC()))
}

func TestResolverFollowsReplacedInterface(t *testing.T) {
	n := testutil.NewTopology(t)
	hosts := n.LAN("balancer", "backend")
	balancer, backend := hosts[0], hosts[1]
	r := startResolver(t, balancer, backend.IPv4(), backend.IPv6())
	old := r.nextHop("eth0", backend.MAC())
	r.await(backend.IPv4(), old)

	must(t, balancer.DeleteInterface("eth0"))
	r.awaitError(backend.IPv4(), "no route to 192.0.2.2")
	r.awaitError(backend.IPv6(), "no route to 2001:db8:1::2")

	p := balancer.Ports[0]
	must(t, netdev.Connect(
		netdev.Port{Namespace: balancer.Namespace, Name: "eth0", Addresses: []netip.Prefix{p.IPv4, p.IPv6}},
		netdev.Port{Namespace: n.Switch(), Name: p.SwitchPort}))
	must(t, n.Switch().AddBridgePort("lan1", p.SwitchPort))
	replaced := r.nextHop("eth0", backend.MAC())
	if replaced.Interface == old.Interface || replaced.Source == old.Source {
		t.Fatalf("the new interface is like the old one: %+v", replaced)
	}
	r.await(backend.IPv4(), replaced)
	r.await(backend.IPv6(), replaced)
}

func TestResolverRefusesInterfacesThatXDPCannotSendBy(t *testing.T) {
	n := testutil.NewTopology(t)
	balancer := n.Host("balancer")
	must(t, netdev.Connect(
		netdev.Port{Namespace: balancer.Namespace, Name: "port"},
		netdev.Port{Namespace: n.Switch(), Name: "port"}))
	must(t, balancer.AddBridge("br0", "port"))
	must(t, balancer.AddAddress("br0", netip.MustParsePrefix("192.0.2.1/24")))
	must(t, balancer.SetRoute(netdev.Route{Destination: netip.MustParsePrefix("198.51.100.0/24"), Interface: "lo"}))
	bridged, looped := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("198.51.100.2")
	r := startResolver(t, balancer, bridged, looped)
	r.awaitError(bridged, "br0 is of kind bridge, which takes no frames from XDP")
	r.awaitError(looped, "lo is not Ethernet")
}
