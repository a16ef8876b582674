// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/weirlb/weir/pkg/lb"
)

// FuzzParse feeds Parse with anything. It must not panic; what it refuses must
// have positions, and what it accepts must keep every promise of File.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("weir.yaml", data)
		if err != nil {
			checkErrors(t, data, err)
			return
		}
		checkFile(t, file)
		again, err := Parse("weir.yaml", data)
		if err != nil || again.Hash != file.Hash {
			t.Errorf("not the same the second time: %v", err)
		}
	})
}

// checkFile asserts what holds for every file that is accepted.
func checkFile(t *testing.T, f *File) {
	t.Helper()
	a := f.Agent
	if len(a.Interfaces) == 0 || a.BPFObject == "" || a.Socket == "" || a.PinPath == "" ||
		!a.TunnelSource4.Addr().Is4() || !a.TunnelSource6.Addr().Is6() ||
		a.Limits.Listeners < 1 || a.Limits.Backends < 16 || a.Limits.Slots < 1024 ||
		a.FlowTableSize < 1024 || a.FlowTableSize > 67_108_864 {
		t.Errorf("agent: %+v", a)
	}
	labels, addresses := map[string]bool{}, map[any]bool{}
	for _, b := range f.Balancers {
		if b.Label == "" || labels[b.Label] || len(b.Addresses) == 0 {
			t.Errorf("balancer: %+v", b)
		}
		labels[b.Label] = true
		for _, addr := range b.Addresses {
			if addresses[addr] || !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() || addr.Is4In6() || addr.Zone() != "" {
				t.Errorf("address: %v", addr)
			}
			addresses[addr] = true
		}
		keys := map[lb.ListenerKey]bool{}
		for _, l := range b.Listeners {
			if keys[b.Key(&l)] {
				t.Errorf("twice: %v", b.Key(&l))
			}
			keys[b.Key(&l)] = true
			checkListener(t, l)
		}
	}
	for _, b := range f.Balancers {
		for _, l := range b.Listeners {
			for _, backend := range l.Backends {
				if addresses[backend.Address.Addr()] {
					t.Errorf("loop: %v", backend)
				}
			}
		}
	}
}

func checkListener(t *testing.T, l lb.Listener) {
	t.Helper()
	if l.Port == 0 || l.Protocol != lb.TCP && l.Protocol != lb.UDP || l.Forward != lb.IPIP && l.Forward != lb.DSR ||
		!prime(uint64(l.TableSize)) || l.TableSize > MaxTableSize || len(l.Backends) > int(l.TableSize) {
		t.Errorf("listener: %+v", l)
	}
	if l.OnDown > lb.DownPersist || l.OnAllDown > lb.AllDownReject {
		t.Errorf("words of the listener: %+v", l)
	}
	if l.DrainTimeout < 0 || l.DrainTimeout > maxFlowTime || l.IdleTimeout < minIdleTimeout || l.IdleTimeout > maxFlowTime {
		t.Errorf("times of the listener: %+v", l)
	}
	c := l.Check
	if c.Type == lb.CheckNone && c != (lb.Check{}) {
		t.Errorf("check: %+v", c)
	}
	if c.Type != lb.CheckNone && (c.Fall < 1 || c.Rise < 1 || c.Timeout < minTimeout || c.Interval < minInterval || c.Timeout > c.Interval) {
		t.Errorf("check: %+v", c)
	}
	if usesHTTP(c.Type) && (c.Path == "" || c.Status.Min < 100 || c.Status.Max < c.Status.Min) || usesBody(c.Type) != (c.Body != "") {
		t.Errorf("check: %+v", c)
	}
	labels, addresses := map[string]bool{}, map[any]bool{}
	for _, b := range l.Backends {
		if b.Label == "" || len(b.Label) > 63 || b.Weight == 0 || b.Mode > lb.ModeBackup ||
			b.Address.Port() != l.Port || labels[b.Label] || addresses[b.Address] {
			t.Errorf("backend: %+v", b)
		}
		labels[b.Label], addresses[b.Address] = true, true
	}
}
