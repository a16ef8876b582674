// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package testutil

import (
	"fmt"
	"io"
	"net/netip"
	"testing"

	"github.com/weirlb/weir/pkg/dataplane/passall"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/netdev"
)

// Topology is a network of hosts, each a network namespace, on Ethernet
// switches. It is taken down when the test ends.
type Topology struct {
	t      testing.TB
	prefix string
	hosts  map[string]*Host
	wires  *netdev.Namespace // holds the switches
	lans   int
	passed map[string]io.Closer // the programs on the ports of the switches
}

// Host is a network namespace of a topology.
type Host struct {
	*netdev.Namespace
	Label string
	Ports []Port // eth0, eth1 …, in the order in which they were attached
}

// Port is an attachment of a host to a LAN. The host on which it is the
// seventh has the addresses that end in 7.
type Port struct {
	Name       string // in the host: eth0, eth1 …
	SwitchPort string // the other end of the cable, in the switch
	MAC        lb.MAC
	IPv4, IPv6 netip.Prefix // the addresses, with the length of the network
}

// NewTopology returns a network without hosts. It requires root.
func NewTopology(t testing.TB) *Topology {
	t.Helper()
	RequireRoot(t)
	n := &Topology{t: t, prefix: uniqueName(t), hosts: make(map[string]*Host), passed: make(map[string]io.Closer)}
	n.wires = n.namespace("switch")
	return n
}

// LAN returns hosts of these labels on one switch: see [Topology.LAN].
func LAN(t testing.TB, labels ...string) []*Host {
	t.Helper()
	return NewTopology(t).LAN(labels...)
}

// LAN adds a switch and attaches the hosts of these labels to it. Labels not
// seen before make new hosts; the others get one more interface, but do not
// forward unless told to. The hosts on the first LAN have the addresses
// 192.0.2.1/24, 2001:db8:1::1/64 and so on, in order; the second LAN is
// 198.51.100.0/24 and 2001:db8:2::/64, the third 203.0.113.0/24 and
// 2001:db8:3::/64; there are no more.
func (n *Topology) LAN(labels ...string) []*Host {
	n.t.Helper()
	networks := []netip.Addr{
		netip.MustParseAddr("192.0.2.0"), netip.MustParseAddr("198.51.100.0"), netip.MustParseAddr("203.0.113.0"),
	}
	if n.lans == len(networks) {
		n.t.Fatalf("a topology has at most %d LANs", len(networks))
	}
	v4 := networks[n.lans].As4()
	n.lans++
	bridge := fmt.Sprintf("lan%d", n.lans)
	n.must(n.wires.AddBridge(bridge))

	hosts := make([]*Host, len(labels))
	for i, label := range labels {
		number := byte(i + 1)
		v4[3] = number
		v6 := netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::%d", n.lans, number))
		host := n.Host(label)
		host.Ports = append(host.Ports, Port{
			Name:       fmt.Sprintf("eth%d", len(host.Ports)),
			SwitchPort: fmt.Sprintf("lan%d-%d", n.lans, number),
			MAC:        lb.MAC{0x02, 0, 0, 0, byte(n.lans), number},
			IPv4:       netip.PrefixFrom(netip.AddrFrom4(v4), 24),
			IPv6:       netip.PrefixFrom(v6, 64),
		})
		n.plug(host, host.Ports[len(host.Ports)-1], bridge)
		hosts[i] = host
	}
	return hosts
}

func (n *Topology) plug(host *Host, p Port, bridge string) {
	n.t.Helper()
	n.must(netdev.Connect(
		netdev.Port{Namespace: host.Namespace, Name: p.Name, MAC: p.MAC, Addresses: []netip.Prefix{p.IPv4, p.IPv6}},
		netdev.Port{Namespace: n.wires, Name: p.SwitchPort}))
	n.must(n.wires.AddBridgePort(bridge, p.SwitchPort))
	n.passed[p.SwitchPort] = attach(n.t, n.wires, p.SwitchPort, passall.Attach)
}

// FilterPort puts an XDP program on the port of a switch that leads to a host,
// in the place of the one that passes everything: what it drops the switch does
// not get. program is called in the namespace of the switch with the index of
// the interface. The program stays until the test ends.
func (n *Topology) FilterPort(p Port, program func(ifindex int) (io.Closer, error)) {
	n.t.Helper()
	n.must(n.passed[p.SwitchPort].Close())
	n.passed[p.SwitchPort] = attach(n.t, n.wires, p.SwitchPort, program)
}

// PassAll puts an XDP program that passes everything on an interface until the
// test ends: see package passall for what needs it.
func PassAll(t testing.TB, ns *netdev.Namespace, iface string) {
	t.Helper()
	attach(t, ns, iface, passall.Attach)
}

// attach puts an XDP program on an interface until the test ends, or it is
// closed.
func attach(t testing.TB, ns *netdev.Namespace, iface string, program func(ifindex int) (io.Closer, error)) (attached io.Closer) {
	t.Helper()
	link, err := ns.Interface(iface)
	if err != nil {
		t.Fatal(err)
	}
	err = ns.Do(func() error {
		attached, err = program(link.Index)
		if err == nil {
			t.Cleanup(func() { _ = attached.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return attached
}

// Host returns the host of that label, without a LAN if it is new.
func (n *Topology) Host(label string) *Host {
	n.t.Helper()
	if n.hosts[label] == nil {
		n.hosts[label] = &Host{Namespace: n.namespace(label), Label: label}
	}
	return n.hosts[label]
}

// Switch returns the namespace that holds the switches, lan1, lan2 and lan3.
func (n *Topology) Switch() *netdev.Namespace { return n.wires }

func (n *Topology) namespace(label string) *netdev.Namespace {
	n.t.Helper()
	ns, err := netdev.NewNamespace(n.prefix + "-" + label)
	n.must(err)
	n.t.Cleanup(func() {
		if err := ns.Close(); err != nil {
			n.t.Error(err)
		}
	})
	return ns
}

func (n *Topology) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// IPv4 returns the address of the host on its first LAN.
func (h *Host) IPv4() netip.Addr { return h.Ports[0].IPv4.Addr() }

// IPv6 returns the address of the host on its first LAN.
func (h *Host) IPv6() netip.Addr { return h.Ports[0].IPv6.Addr() }

// MAC returns the MAC address of the host on its first LAN.
func (h *Host) MAC() lb.MAC { return h.Ports[0].MAC }
