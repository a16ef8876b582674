// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// startFakeAgent is the script command `fakeagent [STATE]`: an agent that
// answers on $WORK/weir.sock until the script ends. Its STATE is serving,
// starting, refused (the last reload), or broken.
func startFakeAgent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: fakeagent [STATE]")
	}
	agent := &fakeAgent{state: "serving", work: ts.Getenv("WORK"), pins: ts.Getenv("PINS")}
	if len(args) == 1 {
		agent.state = args[0]
	}
	listener, err := control.Listen(ts.MkAbs("weir.sock"))
	ts.Check(err)
	server := control.NewServer(agent, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // until Close
	}()
	ts.Defer(func() {
		ts.Check(server.Close())
		<-done
	})
}

// exits is the script command `exits CODE COMMAND...`, which runs a command
// and fails unless it ends with that code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if want, err := strconv.Atoi(args[0]); err != nil || code != want {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// expand is the script command `expand FILE...`, which puts the values of
// variables such as $WORK into files.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: expand FILE...")
	}
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// fakeAgent has two balancers, of which the second has a listener without
// backends.
type fakeAgent struct {
	state, work, pins string
	mu                sync.Mutex
	applied           string
	modes             map[string]lb.Mode // set by command, by label
}

func (a *fakeAgent) Status() control.Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	own := a.work + "/own.yaml"
	s := control.Status{
		Version: "v1.2.3", PID: 4242, Started: time.Now(), Ready: a.state != "starting",
		Config: control.ConfigStatus{
			File: cmp.Or(a.applied, own), Own: own, Hash: "0123456789ab", LastReload: moment(0), ReloadOK: true,
		},
		PinPath:    cmp.Or(a.pins, "/sys/fs/bpf/weir"),
		Interfaces: []control.InterfaceStatus{{Name: "eth0", Index: 2, Mode: dataplane.Native}},
		Tracking: control.TrackingStatus{
			Unsteady: 40, Records4: 17, Records6: 6, TableSize: 1048576, Embryonic: 2, Scanned: time.Now(), Scan: 12345678,
		},
		Modes:    a.modeStatus(),
		Problems: []string{"backend web/443/tcp/web-2 (10.0.0.12:8443): connection refused"},
	}
	switch a.state {
	case "starting":
		s.Tracking = control.TrackingStatus{}
		s.NotReady = "waiting for the first checks of 2 of 3 targets"
		s.Interfaces[0] = control.InterfaceStatus{Name: "eth0", Problem: "the interface does not exist"}
	case "refused":
		s.Config.ReloadOK = false
		s.Config.Error = own + ":3:5: agent.socket: is wrong\n" + own + ":4:5: agent.pin_path: is wrong"
	}
	return s
}

func (a *fakeAgent) Snapshot() (*dataplane.Snapshot, error) {
	if a.state == "broken" {
		return nil, errors.New("reading slots: bad file descriptor")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s := fakeSnapshot()
	for i, b := range s.Backends {
		if mode, ok := a.modes[b.Label]; ok {
			s.Backends[i].Mode = mode
		}
	}
	return s, nil
}

func (a *fakeAgent) Conditions() map[control.BackendKey]control.Condition {
	conditions := make(map[control.BackendKey]control.Condition)
	for i, b := range fakeSnapshot().Backends {
		c := control.Condition{Health: b.Health, Since: moment(i), Check: 2 * time.Millisecond, Successes: 5}
		if b.Health == lb.HealthDown {
			c.Successes, c.Failures, c.Problem = 1, 4, "connection refused"
		}
		conditions[control.BackendKey{Listener: b.Listener, Address: b.Address.String()}] = c
	}
	return conditions
}

func (a *fakeAgent) Apply(_ context.Context, name string, data []byte) (control.ApplyReport, error) {
	if a.state == "broken" {
		return control.ApplyReport{}, errors.New("writing to slots: bad file descriptor")
	}
	file, err := config.Parse(name, data)
	if err != nil {
		return control.ApplyReport{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.applied = name
	return control.ApplyReport{
		Hash: file.Hash, Duration: 1234567, Added: 1, Changed: 2, Slots: 30, MapWrites: 40,
		Warnings: []string{"no backend of web/80/tcp takes new flows: they are dropped"},
	}, nil
}

// moment is some time after the fake agent's last reload.
func moment(minutes int) time.Time {
	return time.Date(2026, 1, 2, 3, 4+minutes, 5, 0, time.UTC)
}

// key names the listener of the fakes that has backends.
func key() lb.ListenerKey { return lb.ListenerKey{Balancer: "web", Port: 443, Protocol: lb.TCP} }

func fakeSnapshot() *dataplane.Snapshot {
	dns := lb.ListenerKey{Balancer: "dns", Port: 53, Protocol: lb.UDP}
	forwarded, dropped := dataplane.Traffic{Packets: 1500, Bytes: 2 << 20}, dataplane.Traffic{Packets: 3, Bytes: 180}
	web, dnsAddress := []netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8::10")},
		[]netip.Addr{netip.MustParseAddr("203.0.113.53")}
	backend := func(label, addr string, health lb.Health, slots uint32, traffic dataplane.Traffic) dataplane.BackendState {
		return dataplane.BackendState{
			Listener: key(), Label: label, Slots: slots, TableSize: 251, Traffic: traffic,
			Backend: dataplane.Backend{
				Address: netip.MustParseAddrPort(addr), Forward: lb.IPIP, Weight: 100, Health: health,
				NextHop: lb.NextHop{Interface: 1, Source: lb.MAC{2, 0, 0, 0, 0, 1}, Dest: lb.MAC{2, 0, 0, 0, 0, 2}, MTU: 1500},
			},
		}
	}
	return &dataplane.Snapshot{
		Balancers: []dataplane.BalancerState{
			{Label: "dns", Addresses: dnsAddress, Listeners: 1},
			{Label: "web", Addresses: web, Listeners: 1, Backends: 3, Up: 2, Forwarded: forwarded, Dropped: dropped},
		},
		Listeners: []dataplane.ListenerState{
			{ListenerKey: dns, Addresses: dnsAddress, Entry: dataplane.Listener{TableSize: 251, Algorithm: lb.Source}},
			{
				ListenerKey: key(), Addresses: web, Entry: dataplane.Listener{ID: 1, TableSize: 251, OnAllDown: lb.AllDownDrop},
				Backends: 3, Up: 2, Forwarded: forwarded, Dropped: dropped, Unsteady: 40,
				Tracking: dataplane.TrackingTraffic{
					New: 5, Record: 4, Previous: 3, Current: 2, Overflow: 1, Broken: [8]uint64{dataplane.Down: 2},
				},
			},
		},
		Backends: []dataplane.BackendState{
			backend("web-1", "10.0.0.11:8443", lb.HealthUp, 126, dataplane.Traffic{Packets: 1000, Bytes: 1 << 20}),
			backend("web-2", "10.0.0.12:8443", lb.HealthDown, 0, dataplane.Traffic{}),
			backend("web-3", "[2001:db8:1::13]:8443", lb.HealthUp, 125, dataplane.Traffic{Packets: 500, Bytes: 1 << 20}),
		},
	}
}

// fillTables writes what makePins is about: balancer web with two addresses and
// one listener of 17 slots, and two backends of which the second is down.
func fillTables(t *dataplane.Tables) error {
	entry := dataplane.Listener{ID: 3, Balancer: 1, Slots: 32, TableSize: 17, Pool: 16, PoolSize: 16}
	var errs []error
	for _, addr := range []string{"203.0.113.10", "2001:db8::10"} {
		k := dataplane.ListenerKey{Address: netip.MustParseAddr(addr), Port: 443, Protocol: lb.TCP}
		errs = append(errs, t.PutListener(k, entry), t.PutVIP(k.Address, dataplane.VIP{Balancer: 1, TCP: true}))
	}
	for k, name := range map[dataplane.NameKey]string{
		{Kind: dataplane.NameBalancer, ID: 1}: "web",
		{Kind: dataplane.NameBackend, ID: 7}:  "web-1",
		{Kind: dataplane.NameBackend, ID: 8}:  "web-2",
	} {
		errs = append(errs, t.PutName(k, name))
	}
	hop := lb.NextHop{Interface: 2, Source: lb.MAC{2, 0, 0, 0, 0, 1}, Dest: lb.MAC{2, 0, 0, 0, 0, 2}, MTU: 1500}
	errs = append(errs,
		t.PutBackend(17, dataplane.Backend{
			Address: netip.MustParseAddrPort("10.0.0.11:8443"), Forward: lb.IPIP, Weight: 100, Health: lb.HealthUp, Counter: 7, NextHop: hop,
		}),
		t.PutBackend(18, dataplane.Backend{
			Address: netip.MustParseAddrPort("[2001:db8:1::12]:8443"), Forward: lb.IPIP, Weight: 50, Health: lb.HealthDown, Counter: 8,
		}),
	)
	var slots []dataplane.SlotChange
	for i := range entry.TableSize {
		slots = append(slots, dataplane.SlotChange{Index: i, Slot: dataplane.Slot{Current: 1, Previous: 1}})
	}
	slots[4].Slot = dataplane.Slot{Current: 1, Previous: 2, Tracked: true}
	slots[16].Slot = dataplane.Slot{}
	return errors.Join(append(errs, t.WriteSlots(entry.Slots, entry.TableSize, slots))...)
}
