// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"unicode"
)

const (
	maxInterfaceName = 15  // bytes, IFNAMSIZ without the zero
	maxSocketPath    = 107 // bytes, sun_path without the zero
)

func agentFields(a *Agent) []field {
	return []field{
		{name: "interfaces", read: func(v *value) { a.Interfaces = readInterfaces(v) }},
		{name: "xdp_mode", read: func(v *value) { pick(v, &a.XDPMode, nil, XDPAuto, XDPNative, XDPGeneric) }},
		{name: "bpf_object", read: func(v *value) { a.BPFObject = readBPFObject(v) }},
		{name: "socket", read: func(v *value) { a.Socket = readSocket(v) }},
		{name: "pin_path", read: func(v *value) { a.PinPath = readPinPath(v) }},
		{name: "metrics", read: func(v *value) { a.Metrics = readMetrics(v) }},
		{name: "hash_seed", read: func(v *value) { a.Seed, _ = v.integer(0, math.MaxUint64) }},
		{name: "tunnel_sources", read: func(v *value) { readTunnelSources(v, a) }},
		{name: "flow_table_size", read: readSize(&a.FlowTableSize, 1024, 67_108_864)},
		{name: "limits", read: func(v *value) { v.p.limits, _ = v.block(limitsFields(&a.Limits)) }},
	}
}

func limitsFields(l *Limits) []field {
	return []field{
		{name: "listeners", read: readSize(&l.Listeners, 1, 1_000_000)},
		{name: "backends", read: readSize(&l.Backends, 16, 4_194_304)},
		{name: "slots", read: readSize(&l.Slots, 1024, 134_217_728)},
	}
}

// readSize returns the reader of how many entries a map can hold.
func readSize(out *int, least, most uint64) func(*value) {
	return func(v *value) {
		if n, ok := v.integer(least, most); ok {
			*out = int(n)
		}
	}
}

func readAgent(v *value, a *Agent) {
	b, ok := v.block(agentFields(a))
	if ok && b.get("interfaces") == nil {
		b.missing("interfaces", "write the names of the interfaces that packets arrive on, such as [eth0]")
	}
}

func readInterfaces(v *value) []string {
	items, ok := v.list("a list of interfaces, such as [eth0]")
	if !ok {
		return nil
	}
	if len(items) == 0 {
		v.errorf("is empty, want at least one interface")
	}
	var names []string
	seen := unique[string]{}
	for _, item := range items {
		const want = "the name of an interface, such as eth0"
		name, ok := item.text(want)
		switch {
		case !ok:
		case !interfaceName(name):
			item.errorf("%s is not a name for an interface: it has 1-%d bytes, no space, '/' or ':'",
				item.show(), maxInterfaceName)
		case seen.add(name, item, "in this list"):
			names = append(names, name)
		}
	}
	return names
}

// interfaceName reports whether Linux would let an interface have the name.
func interfaceName(name string) bool {
	return len(name) >= 1 && len(name) <= maxInterfaceName && name != "." && name != ".." &&
		!strings.ContainsAny(name, "/:") && !strings.ContainsFunc(name, unicode.IsSpace)
}

func readBPFObject(v *value) string {
	words := []string{BPFEmbedded, BPFCompile}
	text, ok := v.text("embedded, compile or a path")
	if !ok || text == BPFEmbedded || text == BPFCompile || strings.Contains(text, "/") {
		return text
	}
	remedy := "allowed: embedded, compile, or a path, which has a '/'"
	if w, ok := closest(text, words); ok {
		remedy += ", did you mean " + w + "?"
	}
	v.errorf("%s is unknown, %s", v.show(), remedy)
	return ""
}

// absolute returns a path from the root, in its shortest form.
func (v *value) absolute(example string) (string, bool) {
	text, ok := v.text("an absolute path such as " + example)
	if ok && !path.IsAbs(text) {
		v.errorf("%s is not an absolute path such as %s", v.show(), example)
		return "", false
	}
	return path.Clean(text), ok
}

func readSocket(v *value) string {
	p, ok := v.absolute(DefaultSocket)
	switch {
	case ok && p == "/":
		v.errorf("%s is a directory, want the path of a socket such as %s", v.show(), DefaultSocket)
	case ok && len(p) > maxSocketPath:
		v.errorf("%s is too long for a unix socket, allowed: %d bytes", v.show(), maxSocketPath)
	}
	return p
}

func readPinPath(v *value) string {
	p, ok := v.absolute(DefaultPinPath)
	if ok && p == "/" {
		v.errorf("%s is no place for pins, want a directory in a BPF file system such as %s", v.show(), DefaultPinPath)
	}
	return p
}

func readMetrics(v *value) string {
	const want = "HOST:PORT such as " + DefaultMetrics + ", or off"
	text, ok := v.text(want)
	if !ok || text == "" || text == "off" {
		return ""
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil || !metricsHost(host) || !decimalPattern.MatchString(port) {
		v.errorf("%s is not an address to listen at, want %s", v.show(), want)
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		v.errorf("%s has a port that is out of range, allowed: 0-65535", v.show())
	}
	return text
}

// metricsHost reports whether one can listen at host; without one, that is at
// every address of the machine.
func metricsHost(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || host == "" || hostPattern.MatchString(host)
}

func readTunnelSources(v *value, a *Agent) {
	items, ok := v.list(`a list of prefixes, such as [198.18.0.0/15, "100::/64"]`)
	if !ok {
		return
	}
	if len(items) == 0 {
		v.errorf("is empty: write a prefix, or remove the key for the defaults")
	}
	seen := unique[string]{}
	for _, item := range items {
		prefix, ok := item.tunnelSource()
		switch {
		case !ok:
		case prefix.Addr().Is4() && seen.add("an IPv4 prefix", item, "in this list"):
			a.TunnelSource4 = prefix
		case prefix.Addr().Is6() && seen.add("an IPv6 prefix", item, "in this list"):
			a.TunnelSource6 = prefix
		}
	}
}
