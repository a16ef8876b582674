// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/lb"
)

// TestGood asserts every value of the files in testdata/good.
func TestGood(t *testing.T) {
	want := map[string]*File{
		"minimal.yaml":  goodMinimal(),
		"defaults.yaml": goodDefaults(),
		"full.yaml":     goodFull(),
		"checks.yaml":   goodChecks(),
		"aliases.yaml":  goodAliases(),
		"modes.yaml":    goodModes(),
	}
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(want) {
		t.Errorf("%d files, and %d expectations", len(files), len(want))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			got, err := Load(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Hash) != 12 {
				t.Errorf("hash %q does not have 12 digits", got.Hash)
			}
			got.Hash = ""
			if diff := cmp.Diff(want[filepath.Base(file)], got, compareNetip()...); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func compareNetip() []cmp.Option {
	return []cmp.Option{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
}

func eth0() Agent {
	a := Defaults()
	a.Interfaces = []string{"eth0"}
	return a
}

func connection() lb.Check {
	return lb.Check{
		Type: lb.CheckConnection, Interval: 5 * time.Second, Timeout: 3 * time.Second, Fall: 2, Rise: 2,
	}
}

func goodMinimal() *File { return &File{Agent: eth0()} }

func goodDefaults() *File {
	return &File{
		Agent: eth0(),
		Balancers: []lb.Balancer{{
			Label:     "web",
			Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.10")},
			Listeners: []lb.Listener{{
				Port: 80, Protocol: lb.TCP, Forward: lb.IPIP, Algorithm: lb.Maglev, TableSize: 16381,
				OnAllDown: lb.AllDownOpen, DrainTimeout: 300 * time.Second, IdleTimeout: 350 * time.Second,
				Check: connection(),
				Backends: []lb.Backend{
					{Label: "10.0.0.11:80", Address: netip.MustParseAddrPort("10.0.0.11:80"), Weight: 100},
					{Label: "[2001:db8:1::12]:80", Address: netip.MustParseAddrPort("[2001:db8:1::12]:80"), Weight: 100},
				},
			}, {
				Port: 53, Protocol: lb.UDP, Forward: lb.DSR, TableSize: 16381,
				DrainTimeout: 300 * time.Second, IdleTimeout: 16 * time.Second,
			}},
		}, {
			Label:     "idle",
			Addresses: []netip.Addr{netip.MustParseAddr("2001:db8::20")},
		}},
	}
}

func goodFull() *File {
	check := connection()
	check.Port = 443
	return &File{
		Agent: Agent{
			Interfaces: []string{"eth0", "bond0.100"}, XDPMode: XDPNative, BPFObject: "./bpf/weir_xdp.o",
			Socket: "/run/weir/second.sock", PinPath: "/sys/fs/bpf/second", Metrics: "[::1]:9500",
			Seed:          1<<64 - 1,
			TunnelSource4: netip.MustParsePrefix("172.16.0.0/24"),
			TunnelSource6: netip.MustParsePrefix("fd00:0:0:1::/64"),
			Limits:        Limits{Listeners: 100, Backends: 1024, Slots: 1048576},
			FlowTableSize: 67_108_864,
		},
		Balancers: []lb.Balancer{{
			Label:     "web",
			Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8::10")},
			Listeners: []lb.Listener{{
				Port: 443, Protocol: lb.TCP, Forward: lb.IPIP, Algorithm: lb.Source, TableSize: 65537,
				OnDown: lb.DownPersist, OnAllDown: lb.AllDownDrop,
				DrainTimeout: 24 * time.Hour, IdleTimeout: 90 * time.Minute,
				Check: lb.Check{
					Type: lb.CheckHTTPSBody, Port: 8443, Path: "/healthz?full=1", Host: "www.example.com",
					Body: "^(ok|fine)$", Status: lb.StatusRange{Min: 200, Max: 299},
					Interval: 2 * time.Second, Timeout: 500 * time.Millisecond, Fall: 3, Rise: 5,
				},
				Backends: []lb.Backend{
					{Label: "web-1", Address: netip.MustParseAddrPort("10.0.0.11:443"), Weight: 255, Mode: lb.ModeDrain},
					{Label: "web-2", Address: netip.MustParseAddrPort("[2001:db8:1::12]:443"), Weight: 1, Mode: lb.ModeBackup},
				},
			}, {
				Port: 443, Protocol: lb.UDP, Forward: lb.DSR, TableSize: 16381,
				OnAllDown: lb.AllDownReject, DrainTimeout: 0, IdleTimeout: time.Second,
				Check: check,
				Backends: []lb.Backend{
					{Label: "10.0.0.11:443", Address: netip.MustParseAddrPort("10.0.0.11:443"), Weight: 100},
				},
			}},
		}},
	}
}

func goodChecks() *File {
	http := func(t lb.CheckType, path, body string, least, most uint16) lb.Check {
		c := connection()
		c.Type, c.Path, c.Body = t, path, body
		c.Status = lb.StatusRange{Min: least, Max: most}
		return c
	}
	fast, faster := connection(), connection()
	fast.Interval, fast.Timeout = time.Second, time.Second
	faster.Interval, faster.Timeout = 100*time.Millisecond, 100*time.Millisecond
	checks := []lb.Check{
		{},
		connection(),
		http(lb.CheckHTTP, "/", "", 200, 399),
		http(lb.CheckHTTPBody, "/", "ok", 200, 200),
		http(lb.CheckHTTPS, "/", "", 404, 404),
		http(lb.CheckHTTPSBody, "/%20", "a\nb", 200, 399),
		fast,
		faster,
		connection(),
		{},
	}
	f := &File{Agent: eth0(), Balancers: []lb.Balancer{{
		Label:     "web",
		Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.10")},
	}}}
	f.Agent.Metrics = ""
	for i, check := range checks {
		l := lb.Listener{
			Port: uint16(i + 1), Protocol: lb.TCP, Forward: lb.DSR, TableSize: 16381,
			DrainTimeout: 300 * time.Second, IdleTimeout: 350 * time.Second, Check: check,
		}
		if l.Port == 10 {
			l.Protocol, l.IdleTimeout = lb.UDP, 16*time.Second
		}
		f.Balancers[0].Listeners = append(f.Balancers[0].Listeners, l)
	}
	return f
}

func goodAliases() *File {
	check := connection()
	check.Type, check.Path, check.Status = lb.CheckHTTP, "/healthz", lb.StatusRange{Min: 200, Max: 399}
	balancer := func(label, address string) lb.Balancer {
		return lb.Balancer{
			Label:     label,
			Addresses: []netip.Addr{netip.MustParseAddr(address)},
			Listeners: []lb.Listener{{
				Port: 80, Protocol: lb.TCP, Forward: lb.IPIP, TableSize: 16381,
				DrainTimeout: 300 * time.Second, IdleTimeout: 350 * time.Second, Check: check,
				Backends: []lb.Backend{
					{Label: "10.0.0.11:80", Address: netip.MustParseAddrPort("10.0.0.11:80"), Weight: 100},
				},
			}},
		}
	}
	return &File{
		Agent:     eth0(),
		Balancers: []lb.Balancer{balancer("web", "203.0.113.10"), balancer("mail", "203.0.113.11")},
	}
}

func goodModes() *File {
	backend := func(label, address string, mode lb.Mode) lb.Backend {
		return lb.Backend{Label: label, Address: netip.MustParseAddrPort(address), Weight: 100, Mode: mode}
	}
	listener := func(port uint16, backends ...lb.Backend) lb.Listener {
		return lb.Listener{
			Port: port, Protocol: lb.TCP, Forward: lb.IPIP, TableSize: 16381,
			DrainTimeout: 300 * time.Second, IdleTimeout: 350 * time.Second, Check: connection(), Backends: backends,
		}
	}
	return &File{Agent: eth0(), Balancers: []lb.Balancer{{
		Label:     "web",
		Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.10")},
		Listeners: []lb.Listener{
			listener(80,
				backend("web-1", "10.0.0.11:80", lb.ModeAccept),
				backend("web-2", "10.0.0.12:80", lb.ModeDrain),
				backend("web-3", "10.0.0.13:80", lb.ModeReject),
				backend("web-4", "10.0.0.14:80", lb.ModeBackup)),
			listener(81,
				backend("last", "10.0.0.11:81", lb.ModeDrain)),
		},
	}}}
}
