// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/lb"
)

// ErrNoInterface is wrapped by the error of [Interface] for a name that no
// interface has.
var ErrNoInterface = errors.New("does not exist")

// Link is a network interface as the kernel shows it.
type Link struct {
	Name     string
	Index    int
	MAC      lb.MAC // zero unless Ethernet
	MTU      int    // bytes of an IP packet
	Kind     string // of a virtual interface, such as "veth" or "vlan"; empty for hardware
	Ethernet bool   // frames have an Ethernet header
	Up       bool   // switched on ("ip link set up")
	Carrier  bool   // and able to send: the cable is plugged in
}

// unusable says why an XDP program cannot send frames out by the interface; it
// is empty when it can.
func (l Link) unusable() string {
	switch {
	case !l.Ethernet:
		return l.Name + " is not Ethernet"
	case !l.Up:
		return fmt.Sprintf("interface %s is down", l.Name)
	case !l.Carrier:
		return fmt.Sprintf("interface %s has no carrier", l.Name)
	}
	// Of the virtual interfaces only these take frames from XDP; VLANs,
	// bridges and the like would lose every one without a word.
	switch l.Kind {
	case "", "veth", "bond", "tun":
		return ""
	}
	return fmt.Sprintf("%s is of kind %s, which takes no frames from XDP", l.Name, l.Kind)
}

// Interface returns the interface of that name in the current network
// namespace. The error for a name that does not exist lists those that do.
func Interface(name string) (Link, error) {
	links, err := Interfaces()
	if err != nil {
		return Link{}, err
	}
	present := make([]string, 0, len(links))
	for _, l := range links {
		if l.Name == name {
			return l, nil
		}
		present = append(present, l.Name)
	}
	return Link{}, fmt.Errorf("interface %q %w; there are: %s", name, ErrNoInterface, strings.Join(present, ", "))
}

// Interfaces returns all interfaces of the current network namespace in the
// order of their names.
func Interfaces() ([]Link, error) {
	s, err := openSocket()
	if err != nil {
		return nil, err
	}
	defer s.close()
	table, err := dumpLinks(s)
	if err != nil {
		return nil, err
	}
	links := make([]Link, 0, len(table))
	for _, l := range table {
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b Link) int { return strings.Compare(a.Name, b.Name) })
	return links, nil
}

// XDPAttached returns the XDP program that sits on an interface of the current
// network namespace: its identifier and its mode, "native", "generic" or
// "offload", or "multiple" when several modes have one (the identifier is then
// 0). It is not ok when there is none or the interface is gone.
func XDPAttached(ifindex int) (progID uint32, mode string, ok bool) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return 0, "", false
	}
	defer handle.Close()
	link, err := handle.LinkByIndex(ifindex)
	if err != nil {
		return 0, "", false
	}
	xdp := link.Attrs().Xdp
	if xdp == nil || !xdp.Attached {
		return 0, "", false
	}
	switch xdp.AttachMode {
	case nl.XDP_ATTACHED_DRV:
		mode = "native"
	case nl.XDP_ATTACHED_SKB:
		mode = "generic"
	case nl.XDP_ATTACHED_HW:
		mode = "offload"
	default:
		mode = "multiple"
	}
	return xdp.ProgId, mode, true
}

// dumpLinks returns all interfaces by their index.
func dumpLinks(s *socket) (map[int]Link, error) {
	var links map[int]Link
	restart := func() { links = make(map[int]Link) }
	err := s.dump(unix.RTM_GETLINK, nl.NewIfInfomsg(unix.AF_UNSPEC), restart, func(m syscall.NetlinkMessage) {
		if link, ok := parseLink(m); ok {
			links[link.Index] = link
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listing the interfaces: %w", err)
	}
	return links, nil
}

// parseLink reads an RTM_NEWLINK or RTM_DELLINK message. It is not ok for the
// messages of the same types by which a bridge speaks of its ports: there,
// RTM_DELLINK means that an interface left the bridge.
func parseLink(m syscall.NetlinkMessage) (link Link, ok bool) {
	if len(m.Data) < unix.SizeofIfInfomsg {
		return Link{}, false
	}
	info := nl.DeserializeIfInfomsg(m.Data)
	if info.Family != unix.AF_UNSPEC {
		return Link{}, false
	}
	attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofIfInfomsg:])
	if err != nil {
		return Link{}, false
	}
	link = Link{
		Index:    int(info.Index),
		Ethernet: info.Type == unix.ARPHRD_ETHER,
		Up:       info.Flags&unix.IFF_UP != 0,
		Carrier:  info.Flags&unix.IFF_RUNNING != 0,
	}
	for _, attr := range attrs {
		switch attr.Attr.Type {
		case unix.IFLA_IFNAME:
			link.Name = unix.ByteSliceToString(attr.Value)
		case unix.IFLA_MTU:
			link.MTU = int(binary.NativeEndian.Uint32(attr.Value))
		case unix.IFLA_ADDRESS:
			if link.Ethernet && len(attr.Value) == len(link.MAC) {
				link.MAC = lb.MAC(attr.Value)
			}
		case unix.IFLA_LINKINFO:
			link.Kind = parseKind(attr.Value)
		}
	}
	return link, true
}

func parseKind(linkInfo []byte) string {
	attrs, err := nl.ParseRouteAttr(linkInfo)
	if err != nil {
		return ""
	}
	for _, attr := range attrs {
		if attr.Attr.Type == unix.IFLA_INFO_KIND {
			return unix.ByteSliceToString(attr.Value)
		}
	}
	return ""
}
