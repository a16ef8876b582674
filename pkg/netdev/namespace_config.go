// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/lb"
)

// withLink calls fn with an interface of the namespace. what says what is to
// be done to it, for the error.
func (n *Namespace) withLink(name, what string, fn func(netlink.Link) error) error {
	link, err := n.netlink.LinkByName(name)
	if err == nil {
		err = fn(link)
	}
	if err != nil {
		return fmt.Errorf("interface %s of network namespace %s cannot be %s: %w", name, n.name, what, err)
	}
	return nil
}

// Interface returns an interface of the namespace.
func (n *Namespace) Interface(name string) (link Link, err error) {
	err = n.Do(func() error {
		link, err = Interface(name)
		return err
	})
	return link, err
}

// SetUp switches an interface on.
func (n *Namespace) SetUp(iface string) error {
	return n.withLink(iface, "switched on", n.netlink.LinkSetUp)
}

// SetDown switches an interface off.
func (n *Namespace) SetDown(iface string) error {
	return n.withLink(iface, "switched off", n.netlink.LinkSetDown)
}

// SetMTU changes the MTU of an interface.
func (n *Namespace) SetMTU(iface string, mtu int) error {
	return n.withLink(iface, fmt.Sprintf("given the MTU %d", mtu), func(l netlink.Link) error {
		return n.netlink.LinkSetMTU(l, mtu)
	})
}

// SetMAC changes the MAC address of an interface.
func (n *Namespace) SetMAC(iface string, mac lb.MAC) error {
	addr := net.HardwareAddr(mac[:])
	return n.withLink(iface, "given the MAC address "+addr.String(), func(l netlink.Link) error {
		return n.netlink.LinkSetHardwareAddr(l, addr)
	})
}

// Rename changes the name of an interface.
func (n *Namespace) Rename(iface, name string) error {
	return n.withLink(iface, "renamed to "+name, func(l netlink.Link) error {
		return n.netlink.LinkSetName(l, name)
	})
}

// DeleteInterface removes a virtual interface, and with one end of a cable
// the other.
func (n *Namespace) DeleteInterface(iface string) error {
	return n.withLink(iface, "deleted", n.netlink.LinkDel)
}

// AddAddress gives an interface an address, with the length of its network.
func (n *Namespace) AddAddress(iface string, addr netip.Prefix) error {
	return n.withLink(iface, "given the address "+addr.String(), func(l netlink.Link) error {
		a := &netlink.Addr{IPNet: ipNet(addr)}
		if addr.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		return n.netlink.AddrAdd(l, a)
	})
}

// DeleteAddress takes an address from an interface.
func (n *Namespace) DeleteAddress(iface string, addr netip.Prefix) error {
	return n.withLink(iface, "rid of the address "+addr.String(), func(l netlink.Link) error {
		return n.netlink.AddrDel(l, &netlink.Addr{IPNet: ipNet(addr)})
	})
}

// Route is a route of a namespace.
type Route struct {
	Destination netip.Prefix
	Gateway     netip.Addr // zero: the destination is on the link
	Interface   string     // empty: the one that leads to the gateway
	MTU         int        // 0: the interface's
}

// SetRoute adds a route, in the place of any other to the same destination.
func (n *Namespace) SetRoute(r Route) error {
	return n.route(r, "set", n.netlink.RouteReplace)
}

// DeleteRoute removes a route.
func (n *Namespace) DeleteRoute(r Route) error {
	return n.route(r, "deleted", n.netlink.RouteDel)
}

func (n *Namespace) route(r Route, what string, fn func(*netlink.Route) error) error {
	route := &netlink.Route{Dst: ipNet(r.Destination.Masked()), MTU: r.MTU}
	if r.Gateway.IsValid() {
		route.Gw = r.Gateway.AsSlice()
	} else {
		route.Scope = netlink.SCOPE_LINK
	}
	var err error
	if r.Interface != "" {
		var link netlink.Link
		if link, err = n.netlink.LinkByName(r.Interface); err == nil {
			route.LinkIndex = link.Attrs().Index
		}
	}
	if err == nil {
		err = fn(route)
	}
	if err != nil {
		return fmt.Errorf("route of network namespace %s to %s cannot be %s: %w", n.name, r.Destination, what, err)
	}
	return nil
}

// Forward makes the namespace a router, for both families.
func (n *Namespace) Forward() error {
	for _, key := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if err := n.SetSysctl(key, "1"); err != nil {
			return err
		}
	}
	return nil
}

// ipNet returns p, with the bits of its host part, as the netlink library
// wants it.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
