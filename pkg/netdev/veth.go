// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/lb"
)

// Port is one end of a virtual cable: an interface of a namespace.
type Port struct {
	Namespace *Namespace
	Name      string
	MAC       lb.MAC         // zero: the kernel's choice
	MTU       int            // 0: 1500
	Addresses []netip.Prefix // with the length of their networks
}

// Connect makes a virtual cable (a veth pair) with the ends a and b, gives
// them their addresses, switches them on and waits until they are ready: the
// kernel drops what is sent before. Native XDP works on both ends, see
// prepareForXDP.
func Connect(a, b Port) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU = a.Name, a.hardwareAddr(), a.MTU
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerMTU = b.Name, b.hardwareAddr(), uint32(b.MTU)
	veth.PeerNamespace = netlink.NsFd(b.Namespace.handle)
	if err := a.Namespace.netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("connecting %s of %s to %s of %s: %w",
			a.Name, a.Namespace.name, b.Name, b.Namespace.name, err)
	}
	for _, p := range []Port{a, b} {
		if err := p.configure(); err != nil {
			return err
		}
	}
	return errors.Join(a.awaitCarrier(), b.awaitCarrier())
}

func (p Port) awaitCarrier() error {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var up bool
	err := p.Namespace.Do(func() error {
		return WatchLinks(ctx, []string{p.Name}, func(e LinkEvent) {
			if up = e.Up; up {
				cancel()
			}
		})
	})
	if err == nil && !up {
		err = fmt.Errorf("interface %s of network namespace %s has no carrier after %v", p.Name, p.Namespace.name, patience)
	}
	return err
}

func (p Port) hardwareAddr() net.HardwareAddr {
	if p.MAC == (lb.MAC{}) {
		return nil
	}
	return p.MAC[:]
}

func (p Port) configure() error {
	if err := p.Namespace.prepareForXDP(p.Name); err != nil {
		return err
	}
	for _, addr := range p.Addresses {
		if err := p.Namespace.AddAddress(p.Name, addr); err != nil {
			return err
		}
	}
	return p.Namespace.SetUp(p.Name)
}

// prepareForXDP sets the offloads of one end of a veth pair so that an XDP
// program at the other end gets, and can send, frames as on a real network.
//
// Over a veth pair packets travel with what a network card would have had to
// do left undone: checksums not computed, segments not cut. An XDP program
// that puts a header in front would send them on like that, so the sender must
// not leave it. And a veth interface takes frames from XDP_TX and redirects
// only while it polls (NAPI), which receive offload makes it do even if it has
// no XDP program itself. (Without one it polls what XDP_TX sends it late: see
// package passall.)
func (n *Namespace) prepareForXDP(iface string) error {
	return n.Do(func() error {
		features := []struct {
			name    string
			command uint32
			on      uint32
		}{
			{"transmit checksums", unix.ETHTOOL_STXCSUM, 0},
			{"TCP segmentation", unix.ETHTOOL_STSO, 0},
			{"segmentation", unix.ETHTOOL_SGSO, 0},
			{"receive offload", unix.ETHTOOL_SGRO, 1},
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("setting offloads of %s: %w", iface, err)
		}
		defer unix.Close(fd)
		for _, f := range features {
			err := setFeature(fd, iface, f.command, f.on)
			if f.on == 0 && errors.Is(err, unix.EOPNOTSUPP) {
				continue // the other end has an XDP program already, which rules it out
			}
			if err != nil {
				return fmt.Errorf("setting offload %q of %s to %d: %w", f.name, iface, f.on, err)
			}
		}
		return nil
	})
}

// setFeature makes the ioctl that ethtool -K makes.
func setFeature(fd int, iface string, command, on uint32) error {
	value := struct{ command, data uint32 }{command, on} // struct ethtool_value
	var request struct {                                 // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of the kernel's union
	}
	copy(request.name[:unix.IFNAMSIZ-1], iface)
	request.data = unsafe.Pointer(&value)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}

// AddBridge makes an Ethernet switch in the namespace, with the given
// interfaces as its ports, and switches it on.
func (n *Namespace) AddBridge(name string, ports ...string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	// Without snooping, IPv6 neighbour discovery reaches every port from the
	// first moment.
	snooping := false
	bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := n.netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("making bridge %s in %s: %w", name, n.name, err)
	}
	for _, port := range ports {
		if err := n.AddBridgePort(name, port); err != nil {
			return err
		}
	}
	return n.SetUp(name)
}

// AddBridgePort makes an interface of the namespace a port of a bridge in it.
func (n *Namespace) AddBridgePort(bridge, iface string) error {
	return n.withLink(iface, "made a port of "+bridge, func(port netlink.Link) error {
		master, err := n.netlink.LinkByName(bridge)
		if err != nil {
			return err
		}
		return n.netlink.LinkSetMaster(port, master)
	})
}

// RemoveBridgePort takes an interface of the namespace out of its bridge.
func (n *Namespace) RemoveBridgePort(iface string) error {
	return n.withLink(iface, "taken from its bridge", n.netlink.LinkSetNoMaster)
}
