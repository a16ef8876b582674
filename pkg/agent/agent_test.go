// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

const twoListeners = `
agent:
  interfaces: [eth0]
balancers:
- label: web
  addresses: [203.0.113.10]
  listeners:
  - port: 80
    protocol: tcp
    forward: ipip
    backends:
    - address: 192.0.2.1:80
    - address: 192.0.2.2:80
  - port: 443
    protocol: tcp
    forward: dsr
    algorithm: source
    check: {type: http, port: 80}
    backends:
    - address: 192.0.2.2:443
    - address: "[2001:db8::2]:443"
`

func parse(t *testing.T, text string) *config.File {
	t.Helper()
	file, err := config.Parse("weir.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func key(port uint16) lb.ListenerKey {
	return lb.ListenerKey{Balancer: "web", Port: port, Protocol: lb.TCP}
}

func TestChangesFindTheListeners(t *testing.T) {
	file := parse(t, twoListeners)
	ix := newIndex(file.Balancers, nil)
	connection := ix.listeners[key(80)]
	http := ix.listeners[key(443)]

	for _, test := range []struct {
		name string
		add  func(*changes)
		want []uint16
	}{
		{"nothing", func(*changes) {}, nil},
		{"a target of one", func(c *changes) { c.addTarget(connection.Check.Target(connection.Backends[0])) }, []uint16{80}},
		{"a target of the other", func(c *changes) { c.addTarget(http.Check.Target(http.Backends[0])) }, []uint16{443}},
		{"an address of both", func(c *changes) { c.addAddresses([]netip.Addr{netip.MustParseAddr("192.0.2.2")}) }, []uint16{80, 443}},
		{"an address of none", func(c *changes) { c.addAddresses([]netip.Addr{netip.MustParseAddr("192.0.2.9")}) }, nil},
	} {
		var c changes
		c.init()
		test.add(&c)
		var ports []uint16
		for k := range c.take(&ix) {
			ports = append(ports, k.Port)
		}
		slices.Sort(ports)
		if !slices.Equal(ports, test.want) {
			t.Errorf("%s: listeners %v, want %v", test.name, ports, test.want)
		}
		if again := c.take(&ix); len(again) != 0 {
			t.Errorf("%s: taken twice: %v", test.name, slices.Collect(maps.Keys(again)))
		}
	}
}

func TestChangesWakeOnce(t *testing.T) {
	var c changes
	c.init()
	for range 3 {
		c.addAddresses([]netip.Addr{netip.MustParseAddr("192.0.2.1")})
	}
	<-c.wake
	select {
	case <-c.wake:
		t.Error("three changes at once wake the agent twice")
	default:
	}
}

// A changed check is another target, which begins with the health that its
// backend had under the check before.
func TestInitialHealthFollowsTheBackend(t *testing.T) {
	file := parse(t, strings.Replace(twoListeners, "port: 80}", "port: 80, path: /other}", 1))
	ix := newIndex(file.Balancers, nil)
	known := map[control.BackendKey]lb.Health{
		{Listener: key(443), Address: "192.0.2.2:443"}: lb.HealthUp,
		{Listener: key(80), Address: "192.0.2.1:80"}:   lb.HealthDown,
	}
	initial := ix.initial(known)
	l := ix.listeners[key(443)]
	if got := initial(l.Check.Target(l.Backends[0])); got != lb.HealthUp {
		t.Errorf("known backend begins as %s, want up", got)
	}
	if got := initial(l.Check.Target(l.Backends[1])); got != lb.HealthUnknown {
		t.Errorf("new backend begins as %s, want unknown", got)
	}
}

func TestKnobs(t *testing.T) {
	got := knobs(parse(t, twoListeners)).Features
	if want := (dataplane.Features{DSR: true, IPIP4: true, SourceHash: true}); got != want {
		t.Errorf("features %+v, want %+v", got, want)
	}
	six := strings.Replace(twoListeners, "192.0.2.1:80", `"[2001:db8::1]:80"`, 1)
	if got := knobs(parse(t, six)).Features; !got.IPIP6 || !got.IPIP4 {
		t.Errorf("features %+v, want ipip over both families", got)
	}
}

// TestKnobsOfReject: the program answers if some listener wants that, of the
// configuration or still in the tables.
func TestKnobsOfReject(t *testing.T) {
	for _, on := range []lb.OnAllDown{lb.AllDownOpen, lb.AllDownDrop, lb.AllDownReject} {
		file := parse(t, twoListeners)
		listeners := file.Balancers[0].Listeners
		listeners[len(listeners)-1].OnAllDown = on
		if got := knobs(file).Reject; got != (on == lb.AllDownReject) {
			t.Errorf("%s: reject is %t in the knobs", on, got)
		}
		tables := dataplane.Snapshot{Listeners: []dataplane.ListenerState{
			{Entry: dataplane.Listener{OnAllDown: on}}, {Entry: dataplane.Listener{}},
		}}
		if got := tableFeatures(&tables).Reject; got != (on == lb.AllDownReject) {
			t.Errorf("%s: reject is %t in the features of the tables", on, got)
		}
	}
}

func TestRestartNeeded(t *testing.T) {
	old := parse(t, twoListeners).Agent
	for name, line := range map[string]string{
		"agent.socket":          "socket: /run/other.sock",
		"agent.pin_path":        "pin_path: /sys/fs/bpf/other",
		"agent.metrics":         "metrics: 127.0.0.1:9999",
		"agent.limits":          "limits: {slots: 65536}",
		"agent.flow_table_size": "flow_table_size: 65536",
	} {
		want := ErrRestart
		if name == "agent.limits" || name == "agent.flow_table_size" {
			want = ErrResize
		}
		changed := strings.Replace(twoListeners, "interfaces: [eth0]", "interfaces: [eth0]\n  "+line, 1)
		err := restartNeeded(&old, &parse(t, changed).Agent)
		if !errors.Is(err, want) || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s: %v, want %v", line, err, want)
		}
	}
	live := strings.Replace(twoListeners, "[eth0]", "[eth0, eth1]\n  hash_seed: 7", 1)
	if err := restartNeeded(&old, &parse(t, live).Agent); err != nil {
		t.Errorf("interfaces and seed: %v, want that a running agent can change them", err)
	}
}
