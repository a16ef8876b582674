// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/testutil"
)

// crowd is a balancer and a host that answers ARP for all of 198.18.0.0/16,
// which the balancer takes to be on its link. It returns the first n
// addresses of it.
func crowd(t *testing.T, n int) (balancer, backends *testutil.Host, addrs []netip.Addr) {
	t.Helper()
	hosts := testutil.LAN(t, "balancer", "backends")
	network := netip.MustParsePrefix("198.18.0.0/16")
	must(t, hosts[0].SetRoute(netdev.Route{Destination: network, Interface: "eth0"}))
	inside(t, hosts[1], func(h *netlink.Handle) error {
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		return h.RouteAdd(&netlink.Route{
			Dst: ipNet(t, network.String()).IPNet, LinkIndex: lo.Attrs().Index,
			Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: unix.RT_SCOPE_HOST,
		})
	})
	addr := network.Addr()
	for range n {
		addr = addr.Next()
		addrs = append(addrs, addr)
	}
	return hosts[0], hosts[1], addrs
}

// entry returns the host's neighbour entry for addr.
func entry(t *testing.T, host *testutil.Host, addr netip.Addr) (found netlink.Neigh, ok bool) {
	t.Helper()
	inside(t, host, func(h *netlink.Handle) error {
		table, err := h.NeighList(0, netlink.FAMILY_ALL)
		for _, n := range table {
			if got, _ := netip.AddrFromSlice(n.IP); got.Unmap() == addr {
				found, ok = n, true
			}
		}
		return err
	})
	return found, ok
}

func TestResolverHoldsMoreNeighboursThanTheKernelWouldKeep(t *testing.T) {
	// Of ordinary entries the kernel's defaults allow 1,024 (gc_thresh3).
	const n = 2000
	balancer, backends, addrs := crowd(t, n)
	r := startResolver(t, balancer, addrs...)
	want := r.nextHop("eth0", backends.MAC())
	for _, addr := range addrs {
		r.await(addr, want)
	}
	if e, ok := entry(t, balancer, addrs[0]); !ok || e.Flags&unix.NTF_EXT_LEARNED == 0 {
		t.Errorf("the entry of %s is %+v, want one with NTF_EXT_LEARNED", addrs[0], e)
	}
}

func TestResolverHandsNeighboursBack(t *testing.T) {
	balancer, _, addrs := crowd(t, 2)
	r := newResolver(t, balancer, netdev.ResolverOptions{})
	stop := r.start()
	silent := netip.MustParseAddr("192.0.2.99")
	r.follow(addrs[0], addrs[1], silent)
	ordinary := func(addr netip.Addr) {
		t.Helper()
		if e, ok := entry(t, balancer, addr); !ok || e.Flags&unix.NTF_EXT_LEARNED != 0 {
			t.Errorf("the entry of %s is %+v, want an ordinary one", addr, e)
		}
	}
	r.Set(addrs[:1])
	ordinary(addrs[1])
	if e, ok := entry(t, balancer, silent); ok {
		t.Errorf("%s, which never answered, still has the entry %+v", silent, e)
	}
	stop()
	ordinary(addrs[0])
}

func TestResolverLeavesPermanentNeighboursAlone(t *testing.T) {
	hosts := testutil.LAN(t, "balancer")
	addr, mac := netip.MustParseAddr("192.0.2.50"), lb.MAC{0x02, 0, 0, 0, 0x50, 0}
	set := func(state int) {
		inside(t, hosts[0], func(h *netlink.Handle) error {
			link, err := h.LinkByName("eth0")
			if err != nil {
				return err
			}
			return h.NeighSet(&netlink.Neigh{
				LinkIndex: link.Attrs().Index, IP: addr.AsSlice(), State: state, HardwareAddr: net.HardwareAddr(mac[:]),
			})
		})
	}
	set(unix.NUD_PERMANENT)
	r := newResolver(t, hosts[0], netdev.ResolverOptions{})
	stop := r.start()
	r.follow(addr)
	r.await(addr, r.nextHop("eth0", mac))
	mac[5] = 1
	set(unix.NUD_PERMANENT)
	r.await(addr, r.nextHop("eth0", mac))
	stop()
	if e, ok := entry(t, hosts[0], addr); !ok || e.State != unix.NUD_PERMANENT {
		t.Errorf("the permanent entry is now %+v", e)
	}
}

func TestResolverKnowsAtOnceWhatTheKernelKnows(t *testing.T) {
	// A restarted agent must not hear that its backends' next hops are
	// unknown, not even for the time of one ARP round trip.
	hosts := testutil.LAN(t, "balancer", "backend")
	first := newResolver(t, hosts[0], netdev.ResolverOptions{})
	stop := first.start()
	first.follow(hosts[1].IPv4(), hosts[1].IPv6())
	stop()

	second := newResolver(t, hosts[0], netdev.ResolverOptions{})
	defer second.Close()
	second.Set([]netip.Addr{hosts[1].IPv4(), hosts[1].IPv6()})
	for _, addr := range []netip.Addr{hosts[1].IPv4(), hosts[1].IPv6()} {
		if _, err := second.Lookup(addr); err != nil {
			t.Error(err)
		}
	}
}

func TestResolverRecoversFromLostEvents(t *testing.T) {
	// OnChange holds the resolver up while more happens than can be queued.
	hosts := testutil.LAN(t, "balancer", "backend")
	addr := hosts[1].IPv4()
	held, release := make(chan struct{}), make(chan struct{})
	calls := 0
	var log bytes.Buffer
	r := newResolver(t, hosts[0], netdev.ResolverOptions{
		Logger:        slog.New(slog.NewTextHandler(&log, nil)),
		ReceiveBuffer: 4 << 10,
		OnChange: func([]netip.Addr) {
			if calls++; calls == 1 {
				close(held)
				<-release
			}
		},
	})
	r.Set([]netip.Addr{addr})
	stop := r.start()
	<-held
	// Some of these are still queued, and the last is not, when the loss is
	// noticed.
	var mac lb.MAC
	inside(t, hosts[0], func(h *netlink.Handle) error {
		link, err := h.LinkByName("eth0")
		for i := 0; i < 3000 && err == nil; i++ {
			mac = lb.MAC{0x02, 0, 0, 0x77, byte(i >> 8), byte(i)}
			err = h.NeighSet(&netlink.Neigh{
				LinkIndex: link.Attrs().Index, IP: addr.AsSlice(),
				State: unix.NUD_PERMANENT, HardwareAddr: net.HardwareAddr(mac[:]),
			})
		}
		return err
	})
	close(release)
	r.await(addr, r.nextHop("eth0", mac))
	must(t, hosts[0].SetMTU("eth0", 1400)) // what comes after has been seen, too
	r.await(addr, r.nextHop("eth0", mac))
	stop()
	if !strings.Contains(log.String(), "everything is read anew") {
		t.Errorf("no event was lost; the log is %q", log.String())
	}
}

func TestResolverIgnoresLearnedMTU(t *testing.T) {
	balancer, router, backend := routedNetwork(t)
	must(t, router.SetMTU("eth1", 1300))
	route := netdev.Route{Destination: backend.Ports[0].IPv4.Masked(), Gateway: router.IPv4(), MTU: 1450}
	must(t, balancer.SetRoute(route))

	// A packet too long for the router makes the kernel note a smaller MTU.
	conn, err := balancer.DialContext(context.Background(), "udp4", netip.AddrPortFrom(backend.IPv4(), 9).String())
	must(t, err)
	defer conn.Close()
	raw, err := conn.(*net.UDPConn).SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	}))
	must(t, err)
	testutil.WaitFor(t, patience, func() error {
		_, _ = conn.Write(make([]byte, 1400)) // refused once the MTU is known
		var mtu int
		must(t, raw.Control(func(fd uintptr) { mtu, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU) }))
		if mtu != 1300 {
			return fmt.Errorf("the path has MTU %d, want 1300", mtu)
		}
		return err
	})

	r := startResolver(t, balancer, backend.IPv4())
	want := r.routed("eth0", router.IPv4(), router.MAC())
	want.MTU = 1450
	r.await(backend.IPv4(), want)
}

func TestResolverForgetsWhatIsNotSetAnyMore(t *testing.T) {
	hosts := testutil.LAN(t, "balancer", "backend")
	r := startResolver(t, hosts[0], hosts[1].IPv4())
	r.Set(nil)
	if _, err := r.Lookup(hosts[1].IPv4()); err == nil {
		t.Error("the address is still followed")
	}
	r.follow(hosts[1].IPv4())
	r.await(hosts[1].IPv4(), r.nextHop("eth0", hosts[1].MAC()))
}

func TestResolverOutlivesClose(t *testing.T) {
	hosts := testutil.LAN(t, "balancer", "backend")
	r := newResolver(t, hosts[0], netdev.ResolverOptions{})
	stop := r.start()
	r.follow(hosts[1].IPv4())
	want := r.nextHop("eth0", hosts[1].MAC())
	stop()
	must(t, r.Close())
	r.await(hosts[1].IPv4(), want)
	r.Set([]netip.Addr{hosts[1].IPv6()}) // has no effect
	r.await(hosts[1].IPv4(), want)
}

// BenchmarkResolverSet measures the look-up of 100,000 backends behind one
// router.
func BenchmarkResolverSet(b *testing.B) {
	const n = 100_000
	hosts := testutil.LAN(b, "balancer", "router")
	network := netip.MustParsePrefix("198.18.0.0/15")
	if err := hosts[0].SetRoute(netdev.Route{Destination: network, Gateway: hosts[1].IPv4()}); err != nil {
		b.Fatal(err)
	}
	addrs := make([]netip.Addr, n)
	for i, addr := 0, network.Addr(); i < n; i++ {
		addr = addr.Next()
		addrs[i] = addr
	}
	for b.Loop() {
		var r *netdev.Resolver
		err := hosts[0].Do(func() (err error) {
			r, err = netdev.NewResolver(netdev.ResolverOptions{})
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		r.Set(addrs)
		b.ReportMetric(float64(time.Since(start).Nanoseconds())/n, "ns/address")
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
