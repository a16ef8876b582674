// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// hopKey names a neighbour: an address on the link of one interface.
type hopKey struct {
	ifindex int
	addr    netip.Addr
}

// route is what the kernel's routing says of one destination.
type route struct {
	hop     hopKey
	gateway bool   // hop is a router, not the destination itself
	mtu     int    // the metric of the route, 0 for none
	why     string // there is no next hop, and why; the rest is then zero
}

// lookupRoutes asks the kernel for the route of a packet from this host to
// each of the addresses and calls found with the answers: rules, tables,
// metrics and, of a route with several next hops, the choice by the kernel's
// hash are thereby those of the kernel itself.
func lookupRoutes(s *socket, addrs []netip.Addr, found func(addr netip.Addr, rt route)) error {
	// A packet too big for some router on the way makes the kernel remember a
	// smaller MTU for a while, and show it as if it were the route's metric.
	// It passes without an event and may be forged, so the look-up is done
	// again for the route as it was configured.
	var learned []netip.Addr
	first := make(map[netip.Addr]route)
	err := s.exchange(len(addrs),
		func(i int) *nl.NetlinkRequest { return routeRequest(addrs[i], 0) },
		func(i int, m syscall.NetlinkMessage, err error) {
			rt, expires := parseRoute(addrs[i], m, err)
			if expires && rt.mtu != 0 {
				learned = append(learned, addrs[i])
				first[addrs[i]] = rt
				return
			}
			found(addrs[i], rt)
		})
	if err != nil || len(learned) == 0 {
		return err
	}
	return s.exchange(len(learned),
		func(i int) *nl.NetlinkRequest { return routeRequest(learned[i], unix.RTM_F_FIB_MATCH) },
		func(i int, m syscall.NetlinkMessage, err error) {
			// This answer has all next hops of the route; the one that the
			// kernel chooses is in the first.
			configured, _ := parseRoute(learned[i], m, err)
			rt := first[learned[i]]
			rt.mtu = configured.mtu
			found(learned[i], rt)
		})
}

func routeRequest(addr netip.Addr, flags uint32) *nl.NetlinkRequest {
	msg := &nl.RtMsg{}
	msg.Family = unix.AF_INET
	if addr.Is6() {
		msg.Family = unix.AF_INET6
	}
	msg.Dst_len = uint8(addr.BitLen())
	msg.Flags = flags
	request := nl.NewNetlinkRequest(unix.RTM_GETROUTE, 0)
	request.AddData(msg)
	request.AddData(nl.NewRtAttr(unix.RTA_DST, addr.AsSlice()))
	return request
}

// parseRoute reads the answer to a routeRequest. expires says that the kernel
// will forget what it answered.
func parseRoute(addr netip.Addr, m syscall.NetlinkMessage, err error) (rt route, expires bool) {
	if err != nil {
		return route{why: refusedRoute(addr, err)}, false
	}
	if len(m.Data) < unix.SizeofRtMsg {
		return route{why: fmt.Sprintf("the kernel's answer about the route to %s is too short", addr)}, false
	}
	attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofRtMsg:])
	if err != nil {
		return route{why: fmt.Sprintf("the kernel's answer about the route to %s: %v", addr, err)}, false
	}
	if why := unsuitableRoute(addr, nl.DeserializeRtMsg(m.Data).Type); why != "" {
		return route{why: why}, false
	}
	rt.hop.addr = addr
	for _, attr := range attrs {
		switch attr.Attr.Type {
		case unix.RTA_OIF:
			rt.hop.ifindex = int(binary.NativeEndian.Uint32(attr.Value))
		case unix.RTA_GATEWAY:
			rt.hop.addr, rt.gateway = parseAddr(attr.Value), true
		case unix.RTA_VIA: // a gateway of the other family (RFC 5549)
			const familySize = 2
			rt.hop.addr, rt.gateway = parseAddr(attr.Value[familySize:]), true
		case unix.RTA_ENCAP_TYPE:
			return route{why: fmt.Sprintf("the route to %s leads into a tunnel (encap)", addr)}, false
		case unix.RTA_METRICS:
			rt.mtu = parseMTU(attr.Value)
		case unix.RTA_CACHEINFO:
			const expiresAt = 8 // struct rta_cacheinfo: clntref, lastuse, expires
			expires = binary.NativeEndian.Uint32(attr.Value[expiresAt:]) != 0
		}
	}
	return rt, expires
}

// refusedRoute puts the error number of a look-up into words.
func refusedRoute(addr netip.Addr, err error) string {
	switch {
	case errors.Is(err, unix.ENETUNREACH):
		return fmt.Sprintf("no route to %s", addr)
	case errors.Is(err, unix.EHOSTUNREACH):
		return unsuitableRoute(addr, unix.RTN_UNREACHABLE)
	case errors.Is(err, unix.EINVAL):
		return unsuitableRoute(addr, unix.RTN_BLACKHOLE)
	case errors.Is(err, unix.EACCES):
		return unsuitableRoute(addr, unix.RTN_PROHIBIT)
	}
	return fmt.Sprintf("asking the kernel for the route to %s: %v", addr, err)
}

// unsuitableRoute says what keeps a route of the given type from having a
// next hop; it is empty for an ordinary route.
func unsuitableRoute(addr netip.Addr, kind uint8) string {
	switch kind {
	case unix.RTN_UNICAST:
		return ""
	case unix.RTN_LOCAL:
		return fmt.Sprintf("%s is an address of this host", addr)
	case unix.RTN_BROADCAST, unix.RTN_ANYCAST, unix.RTN_MULTICAST:
		return fmt.Sprintf("%s is not the address of a single host", addr)
	case unix.RTN_UNREACHABLE:
		return fmt.Sprintf("the route to %s is of type unreachable", addr)
	case unix.RTN_BLACKHOLE:
		return fmt.Sprintf("the route to %s is of type blackhole", addr)
	case unix.RTN_PROHIBIT:
		return fmt.Sprintf("the route to %s is of type prohibit", addr)
	}
	return fmt.Sprintf("the route to %s is of type %d", addr, kind)
}

// parseRoutePrefix reads the destinations whose routing a message about a
// route may have changed. It is not ok for routes that are none of the
// configuration's, such as clones made for one destination.
func parseRoutePrefix(m syscall.NetlinkMessage) (prefix netip.Prefix, ok bool) {
	if len(m.Data) < unix.SizeofRtMsg {
		return netip.Prefix{}, false
	}
	msg := nl.DeserializeRtMsg(m.Data)
	if msg.Flags&unix.RTM_F_CLONED != 0 {
		return netip.Prefix{}, false
	}
	addr := netip.IPv4Unspecified()
	switch msg.Family {
	case unix.AF_INET:
	case unix.AF_INET6:
		addr = netip.IPv6Unspecified()
	default:
		return netip.Prefix{}, false // multicast routing speaks here too
	}
	attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofRtMsg:])
	if err != nil {
		return netip.Prefix{}, false
	}
	for _, attr := range attrs {
		if attr.Attr.Type == unix.RTA_DST {
			addr = parseAddr(attr.Value)
		}
	}
	prefix = netip.PrefixFrom(addr, int(msg.Dst_len))
	return prefix, prefix.IsValid()
}

func parseMTU(metrics []byte) int {
	attrs, err := nl.ParseRouteAttr(metrics)
	if err != nil {
		return 0
	}
	for _, attr := range attrs {
		if attr.Attr.Type == unix.RTAX_MTU {
			return int(binary.NativeEndian.Uint32(attr.Value))
		}
	}
	return 0
}

// parseAddr returns the address of 4 or 16 bytes, or the zero Addr.
func parseAddr(b []byte) netip.Addr {
	addr, _ := netip.AddrFromSlice(b)
	return addr
}
