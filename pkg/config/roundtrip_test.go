// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/lb"
)

// TestRoundTrip writes random configurations out as YAML and reads them back:
// they must come back as they were.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawFile(t)
		text := write(want)
		got, err := Parse("weir.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		want.Hash = got.Hash
		if diff := cmp.Diff(want, got, append(compareNetip(), cmpopts.EquateEmpty())...); diff != "" {
			t.Fatalf("(-want +got):\n%s\n%s", diff, text)
		}
	})
}

func drawFile(t *rapid.T) *File {
	f := &File{Agent: Defaults()}
	a := &f.Agent
	a.Interfaces = rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z][a-z0-9.@_-]{0,14}`), 1, 3, rapid.ID).Draw(t, "interfaces")
	a.XDPMode = rapid.SampledFrom([]XDPMode{XDPAuto, XDPNative, XDPGeneric}).Draw(t, "xdp_mode")
	a.BPFObject = rapid.SampledFrom([]string{BPFEmbedded, BPFCompile, "./x.o", "/a b/c.o"}).Draw(t, "bpf_object")
	a.Socket = "/" + rapid.StringMatching(`[ -~]{1,20}/x`).Filter(cleanPath).Draw(t, "socket")
	a.PinPath = "/" + rapid.StringMatching(`[a-z]{1,9}(/[a-z]{1,9}){0,3}`).Draw(t, "pin_path")
	a.Metrics = rapid.SampledFrom([]string{"", ":0", "[::1]:9417", "localhost:65535"}).Draw(t, "metrics")
	a.Seed = rapid.Uint64().Draw(t, "hash_seed")
	a.Limits = Limits{
		Listeners: rapid.IntRange(100, 1_000_000).Draw(t, "limit"),
		Backends:  rapid.IntRange(1000, 4_194_304).Draw(t, "limit"),
		Slots:     rapid.IntRange(30*131_072, 134_217_728).Draw(t, "limit"),
	}
	a.FlowTableSize = rapid.IntRange(1024, 67_108_864).Draw(t, "flow_table_size")
	for i := range rapid.IntRange(0, 3).Draw(t, "balancers") {
		b := lb.Balancer{Label: drawLabel(t, i)}
		for j := range rapid.IntRange(1, 3).Draw(t, "addresses") {
			b.Addresses = append(b.Addresses, drawAddress(t, "203.0.113.0", "2001:db8::", i*10+j))
		}
		for range rapid.IntRange(0, 3).Draw(t, "listeners") {
			b.Listeners = append(b.Listeners, drawListener(t, len(b.Listeners)))
		}
		f.Balancers = append(f.Balancers, b)
	}
	return f
}

// drawLabel returns a label that no other number gives.
func drawLabel(t *rapid.T, number int) string {
	return rapid.StringMatching(`[A-Za-z0-9._-]{0,59}`).Draw(t, "label") + fmt.Sprintf("-%d", number)
}

func drawAddress(t *rapid.T, v4, v6 string, number int) netip.Addr {
	addr := netip.MustParseAddr(rapid.SampledFrom([]string{v4, v6}).Draw(t, "family"))
	for range number {
		addr = addr.Next()
	}
	return addr
}

func cleanPath(p string) bool {
	return !strings.Contains(p, "//") && !strings.Contains(p, ".") && p[0] != '/'
}

func compiles(expression string) bool {
	_, err := regexp.Compile(expression)
	return err == nil
}

func drawListener(t *rapid.T, number int) lb.Listener {
	l := lb.Listener{
		Port:      uint16(rapid.IntRange(1, 6).Draw(t, "port")*10_000 + number),
		Protocol:  rapid.SampledFrom([]lb.Protocol{lb.TCP, lb.UDP}).Draw(t, "protocol"),
		Forward:   rapid.SampledFrom([]lb.Forward{lb.IPIP, lb.DSR}).Draw(t, "forward"),
		Algorithm: rapid.SampledFrom([]lb.Algorithm{lb.Maglev, lb.Source}).Draw(t, "algorithm"),
		TableSize: rapid.SampledFrom([]uint32{7, 1009, 16381, 131071}).Draw(t, "table_size"),
		OnDown:    rapid.SampledFrom([]lb.OnDown{lb.DownRebalance, lb.DownPersist}).Draw(t, "on_down"),
		OnAllDown: rapid.SampledFrom([]lb.OnAllDown{lb.AllDownOpen, lb.AllDownDrop, lb.AllDownReject}).Draw(t, "on_all_down"),
		Check:     drawCheck(t),

		DrainTimeout: time.Duration(rapid.Int64Range(0, int64(maxFlowTime)).Draw(t, "drain_timeout")),
		IdleTimeout:  time.Duration(rapid.Int64Range(int64(minIdleTimeout), int64(maxFlowTime)).Draw(t, "idle_timeout")),
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "backends") {
		b := lb.Backend{
			Address: netip.AddrPortFrom(drawAddress(t, "10.0.0.1", "fd00::1", i), l.Port),
			Weight:  rapid.Uint8Min(1).Draw(t, "weight"),
			Mode:    rapid.SampledFrom([]lb.Mode{lb.ModeAccept, lb.ModeDrain, lb.ModeReject, lb.ModeBackup}).Draw(t, "mode"),
		}
		b.Label = b.Address.String()
		if rapid.Bool().Draw(t, "labelled") {
			b.Label = drawLabel(t, i)
		}
		l.Backends = append(l.Backends, b)
	}
	return l
}

func drawCheck(t *rapid.T) lb.Check {
	c := checkOfType(rapid.SampledFrom([]lb.CheckType{
		lb.CheckNone, lb.CheckConnection, lb.CheckHTTP, lb.CheckHTTPBody, lb.CheckHTTPS, lb.CheckHTTPSBody,
	}).Draw(t, "type"))
	if c.Type == lb.CheckNone {
		return c
	}
	c.Port = rapid.Uint16().Draw(t, "check port")
	c.Interval = time.Duration(rapid.Int64Range(int64(minInterval), int64(maxInterval)).Draw(t, "interval"))
	c.Timeout = time.Duration(rapid.Int64Range(int64(minTimeout), int64(c.Interval)).Draw(t, "timeout"))
	c.Fall = rapid.IntRange(1, 100).Draw(t, "fall")
	c.Rise = rapid.IntRange(1, 100).Draw(t, "rise")
	if usesHTTP(c.Type) {
		c.Path = "/" + rapid.StringMatching(`[a-z0-9/?&=._-]{0,30}`).Draw(t, "path")
		c.Host = rapid.StringMatching(`([a-z0-9]{1,9}(\.[a-z0-9]{1,9}){0,3})?`).Draw(t, "host")
		c.Status.Min = uint16(rapid.IntRange(100, 599).Draw(t, "status"))
		c.Status.Max = uint16(rapid.IntRange(int(c.Status.Min), 599).Draw(t, "status"))
	}
	if usesBody(c.Type) {
		c.Body = rapid.StringMatching(`[a-z #:.*"'\n\t-]{1,30}`).Filter(compiles).Draw(t, "body")
	}
	return c
}

// write returns f as YAML, with every key but those at their defaults in a
// check, which differ by type.
func write(f *File) string {
	var s strings.Builder
	a := f.Agent
	fmt.Fprintf(&s, "agent:\n  interfaces:\n")
	for _, name := range a.Interfaces {
		fmt.Fprintf(&s, "  - %q\n", name)
	}
	fmt.Fprintf(&s, "  xdp_mode: %s\n  bpf_object: %q\n  socket: %q\n  pin_path: %q\n  metrics: %q\n  hash_seed: %d\n",
		a.XDPMode, a.BPFObject, a.Socket, a.PinPath, a.Metrics, a.Seed)
	fmt.Fprintf(&s, "  tunnel_sources: [%q, %q]\n", a.TunnelSource6, a.TunnelSource4)
	fmt.Fprintf(&s, "  flow_table_size: %d\n", a.FlowTableSize)
	fmt.Fprintf(&s, "  limits: {listeners: %d, backends: %d, slots: %d}\n", a.Limits.Listeners, a.Limits.Backends, a.Limits.Slots)
	s.WriteString("balancers: [")
	for _, b := range f.Balancers {
		fmt.Fprintf(&s, "{label: %q, addresses: [", b.Label)
		for _, addr := range b.Addresses {
			fmt.Fprintf(&s, "%q,", addr)
		}
		s.WriteString("], listeners: [\n")
		for _, l := range b.Listeners {
			fmt.Fprintf(&s, "  {port: %d, protocol: %s, forward: %s, algorithm: %s, table_size: %d,\n",
				l.Port, l.Protocol, l.Forward, l.Algorithm, l.TableSize)
			fmt.Fprintf(&s, "   on_down: %s, on_all_down: %s, drain_timeout: %s, idle_timeout: %s,\n",
				l.OnDown, l.OnAllDown, l.DrainTimeout, l.IdleTimeout)
			writeCheck(&s, l.Check)
			s.WriteString("   backends: [\n")
			for _, backend := range l.Backends {
				fmt.Fprintf(&s, "    {address: %q, weight: %d, mode: %s", backend.Address, backend.Weight, backend.Mode)
				if backend.Label != backend.Address.String() {
					fmt.Fprintf(&s, ", label: %q", backend.Label)
				}
				s.WriteString("},\n")
			}
			s.WriteString("  ]},\n")
		}
		s.WriteString("]},\n")
	}
	s.WriteString("]\n")
	return s.String()
}

func writeCheck(s *strings.Builder, c lb.Check) {
	fmt.Fprintf(s, "   check: {type: %s", c.Type)
	if c.Type != lb.CheckNone {
		fmt.Fprintf(s, ", port: %d, timeout: %s, interval: %s, fall: %d, rise: %d", c.Port, c.Timeout, c.Interval, c.Fall, c.Rise)
	}
	if usesHTTP(c.Type) {
		fmt.Fprintf(s, ", path: %q, host: %q, status: %s", c.Path, c.Host, c.Status)
	}
	if usesBody(c.Type) {
		fmt.Fprintf(s, ", body: %q", c.Body)
	}
	s.WriteString("},\n")
}
