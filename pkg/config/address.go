// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net"
	"net/netip"
	"slices"
)

// special is a prefix whose addresses cannot be those of a balancer, of a
// backend, or of the outer source of a tunnel.
type special struct {
	prefix netip.Prefix
	is     string
}

// specials lists them (RFC 6890). IPv4 link-local addresses are not among
// them: hosts do use those, as the address of a service on a link.
var specials = []special{
	{netip.MustParsePrefix("0.0.0.0/32"), "the unspecified address"},
	{netip.MustParsePrefix("0.0.0.0/8"), `an address of "this network"`},
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback address"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address"},
	{netip.MustParsePrefix("255.255.255.255/32"), "the broadcast address"},
	{netip.MustParsePrefix("::/128"), "the unspecified address"},
	{netip.MustParsePrefix("::1/128"), "a loopback address"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "an IPv4 address in IPv6 form"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local address"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast address"},
}

// unicast reports whether packets can be sent to addr from anywhere.
func (v *value) unicast(addr netip.Addr) bool {
	if addr.Zone() != "" {
		v.errorf("%s has a zone, want an address without %%%s", v.show(), printable(addr.Zone()))
		return false
	}
	if addr.Is4In6() {
		v.errorf("%s has an IPv4 address in IPv6 form, want %s", v.show(), addr.Unmap())
		return false
	}
	is, ok := Special(addr)
	if ok {
		v.errorf("%s is %s, want a unicast address", v.show(), is)
	}
	return !ok
}

// Special reports whether addr cannot be that of a balancer, and what it is
// then, such as "a loopback address".
func Special(addr netip.Addr) (is string, ok bool) {
	i := slices.IndexFunc(specials, func(s special) bool { return s.prefix.Contains(addr) })
	if i < 0 {
		return "", false
	}
	return specials[i].is, true
}

// vip returns an address of a balancer.
func (v *value) vip() (netip.Addr, bool) {
	const want = "an address such as 203.0.113.10 or 2001:db8::10"
	text, ok := v.text(want)
	if !ok {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(text)
	if err == nil {
		return addr, v.unicast(addr)
	}
	if _, err := netip.ParsePrefix(text); err == nil {
		v.errorf("%s is a prefix, and balancers with prefixes are not built yet: write each address", v.show())
	} else if _, err := netip.ParseAddrPort(text); err == nil {
		v.errorf("%s has a port, want an address alone: ports are those of the listeners", v.show())
	} else {
		v.errorf("%s is not an IP address, want %s", v.show(), want)
	}
	return netip.Addr{}, false
}

// endpoint returns the address and port of a backend.
func (v *value) endpoint() (netip.AddrPort, bool) {
	const want = `ADDRESS:PORT such as 10.0.0.11:443 or "[2001:db8::11]:443"`
	text, ok := v.text(want)
	if !ok {
		return netip.AddrPort{}, false
	}
	addr, err := netip.ParseAddrPort(text)
	if err == nil && addr.Port() != 0 {
		return addr, v.unicast(addr.Addr())
	}
	host, port, splitErr := net.SplitHostPort(text)
	_, hostErr := netip.ParseAddr(host)
	_, wholeErr := netip.ParseAddr(text)
	switch {
	case wholeErr == nil:
		v.errorf("%s has no port, want %s", v.show(), want)
	case splitErr == nil && hostErr == nil && decimalPattern.MatchString(port):
		v.errorf("%s has a port that is out of range, allowed: 1-65535", v.show())
	case splitErr == nil && hostErr != nil && hostPattern.MatchString(host):
		v.errorf("%s has a host name, and names are not looked up: want %s", v.show(), want)
	default:
		v.errorf("%s is not an address with a port, want %s", v.show(), want)
	}
	return netip.AddrPort{}, false
}

// tunnelSource returns a prefix that outer source addresses come from.
func (v *value) tunnelSource() (netip.Prefix, bool) {
	const want = "a prefix such as 198.18.0.0/15 or 100::/64"
	text, ok := v.text(want)
	if !ok {
		return netip.Prefix{}, false
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		v.errorf("%s is not a prefix, want %s", v.show(), want)
		return netip.Prefix{}, false
	}
	least, most := 8, 32
	if prefix.Addr().Is6() {
		least, most = 16, 128
	}
	switch bits := prefix.Bits(); {
	case prefix != prefix.Masked():
		v.errorf("%s has bits after the first %d, did you mean %s?", v.show(), bits, prefix.Masked())
	case bits < least:
		v.errorf("%s has a length that is out of range, allowed: /%d-/%d", v.show(), least, most)
	default:
		return prefix, v.unicastPrefix(prefix)
	}
	return netip.Prefix{}, false
}

func (v *value) unicastPrefix(prefix netip.Prefix) bool {
	i := slices.IndexFunc(specials, func(s special) bool { return s.prefix.Overlaps(prefix) })
	if i >= 0 {
		s := specials[i]
		v.errorf("%s has addresses in %s, each %s: want unicast addresses", v.show(), s.prefix, s.is)
	}
	return i < 0
}

// backendAddress is the address of a backend and where the file has it.
type backendAddress struct {
	addr netip.Addr
	at   *value
}

// checkLoops finds backends that are a balancer of the same file.
func (p *parser) checkLoops() {
	for _, b := range p.backends {
		if vip, ok := p.vips[b.addr]; ok {
			b.at.errorf("%s is an address of a balancer, at %s: its packets would come back here", b.addr, vip.position())
		}
	}
}
