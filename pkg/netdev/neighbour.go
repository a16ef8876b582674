// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/lb"
)

// neighbour is an entry of the kernel's neighbour table (ARP or ND).
type neighbour struct {
	mac   lb.MAC
	state uint16 // NUD_*
	flags uint8  // NTF_*
}

// usable reports whether frames may be sent to the MAC address, as the
// kernel's NUD_VALID does.
func (n neighbour) usable() bool {
	const valid = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE |
		unix.NUD_PROBE | unix.NUD_STALE | unix.NUD_DELAY
	return n.state&valid != 0 && n.mac != lb.MAC{}
}

// dumpNeighbours returns the neighbour table.
func dumpNeighbours(s *socket) (map[hopKey]neighbour, error) {
	var table map[hopKey]neighbour
	restart := func() { table = make(map[hopKey]neighbour) }
	err := s.dump(unix.RTM_GETNEIGH, &netlink.Ndmsg{}, restart, func(m syscall.NetlinkMessage) {
		if key, n, ok := parseNeighbour(m); ok {
			table[key] = n
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listing the neighbours: %w", err)
	}
	return table, nil
}

// parseNeighbour reads an RTM_NEWNEIGH or RTM_DELNEIGH message. It is not ok
// for what is not about ARP or ND: the forwarding table of a bridge, and
// addresses that this host answers for as a proxy.
func parseNeighbour(m syscall.NetlinkMessage) (key hopKey, n neighbour, ok bool) {
	if len(m.Data) < unix.SizeofNdMsg {
		return hopKey{}, neighbour{}, false
	}
	msg := netlink.Ndmsg{
		Family: m.Data[0],
		Index:  nl.NativeEndian().Uint32(m.Data[4:]),
		State:  nl.NativeEndian().Uint16(m.Data[8:]),
		Flags:  m.Data[10],
	}
	if msg.Family != unix.AF_INET && msg.Family != unix.AF_INET6 || msg.Flags&unix.NTF_PROXY != 0 {
		return hopKey{}, neighbour{}, false
	}
	attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofNdMsg:])
	if err != nil {
		return hopKey{}, neighbour{}, false
	}
	key.ifindex = int(msg.Index)
	n.state, n.flags = msg.State, msg.Flags
	for _, attr := range attrs {
		switch attr.Attr.Type {
		case unix.NDA_DST:
			key.addr = parseAddr(attr.Value)
		case unix.NDA_LLADDR:
			if len(attr.Value) == len(n.mac) {
				n.mac = lb.MAC(attr.Value)
			}
		}
	}
	return key, n, key.addr.IsValid()
}

// neighbourRequest makes the kernel do something about one neighbour: with
// RTM_NEWNEIGH and the flag NTF_USE it behaves as if a packet had just been
// sent there, which is to ask for the MAC address unless that is known and was
// confirmed lately. The flags replace those of the entry.
func neighbourRequest(kind int, key hopKey, flags uint8) *nl.NetlinkRequest {
	msg := &netlink.Ndmsg{Family: unix.AF_INET, Index: uint32(key.ifindex), Flags: flags}
	if key.addr.Is6() {
		msg.Family = unix.AF_INET6
	}
	mode := unix.NLM_F_ACK
	if kind == unix.RTM_NEWNEIGH {
		mode |= unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	request := nl.NewNetlinkRequest(kind, mode)
	request.AddData(msg)
	request.AddData(nl.NewRtAttr(unix.NDA_DST, key.addr.AsSlice()))
	return request
}
