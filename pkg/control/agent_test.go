// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// fakeAgent answers with what it holds.
type fakeAgent struct {
	mu          sync.Mutex
	status      Status
	snapshot    *dataplane.Snapshot
	snapshotErr error
	conditions  map[BackendKey]Condition
	report      ApplyReport
	applyErr    error
	applied     map[string]string // data by name
	planReport  PlanReport
	planned     map[string]string // data by name
	modeReport  ModeReport
	modeErr     error
	modes       []ModeChange
}

func (a *fakeAgent) Status() Status { return a.status }

func (a *fakeAgent) Snapshot() (*dataplane.Snapshot, error) { return a.snapshot, a.snapshotErr }

func (a *fakeAgent) Conditions() map[BackendKey]Condition { return a.conditions }

func (a *fakeAgent) Apply(_ context.Context, name string, data []byte) (ApplyReport, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.applied == nil {
		a.applied = make(map[string]string)
	}
	a.applied[name] = string(data)
	return a.report, a.applyErr
}

func (a *fakeAgent) Plan(_ context.Context, name string, data []byte) (PlanReport, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.planned == nil {
		a.planned = make(map[string]string)
	}
	a.planned[name] = string(data)
	return a.planReport, a.applyErr
}

func (a *fakeAgent) SetMode(_ context.Context, change ModeChange) (ModeReport, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.modes = append(a.modes, change)
	return a.modeReport, a.modeErr
}

// webAgent has one balancer with one listener and two backends, of which the
// second is down and has no next hop.
func webAgent() *fakeAgent {
	key := lb.ListenerKey{Balancer: "web", Port: 443, Protocol: lb.TCP}
	up, down := netip.MustParseAddrPort("10.0.0.11:8443"), netip.MustParseAddrPort("[2001:db8:1::12]:8443")
	forwarded, dropped := dataplane.Traffic{Packets: 12, Bytes: 3456}, dataplane.Traffic{Packets: 1, Bytes: 60}
	addresses := []netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8::10")}
	return &fakeAgent{
		status: Status{Version: "v1", PID: 42, Started: time.Unix(1_700_000_000, 0).UTC(), Ready: true,
			Tracking: TrackingStatus{Unsteady: 40, TableSize: 1024}},
		snapshot: &dataplane.Snapshot{
			Balancers: []dataplane.BalancerState{{
				Label: "web", Addresses: addresses, Listeners: 1, Backends: 2, Up: 1,
				Forwarded: forwarded, Dropped: dropped,
			}},
			Listeners: []dataplane.ListenerState{{
				ListenerKey: key, Addresses: addresses,
				Entry:    dataplane.Listener{TableSize: 251, Algorithm: lb.Source, OnAllDown: lb.AllDownDrop},
				Backends: 2, Up: 1, Forwarded: forwarded, Dropped: dropped, Unsteady: 40,
				Tracking: dataplane.TrackingTraffic{
					New: 5, Record: 4, Previous: 2, Current: 1, Overflow: 3,
					Broken: [8]uint64{dataplane.Removed: 1},
				},
			}},
			Backends: []dataplane.BackendState{{
				Listener: key, Label: "web-1", Index: 1, Slots: 251, TableSize: 251, Traffic: forwarded,
				Backend: dataplane.Backend{
					Address: up, Forward: lb.IPIP, Weight: 100, Health: lb.HealthUp,
					NextHop: lb.NextHop{Interface: 1, Source: lb.MAC{2, 0, 0, 0, 0, 1}, Dest: lb.MAC{2, 0, 0, 0, 0, 2}, MTU: 1500},
				},
			}, {
				Listener: key, Label: "web-2", Index: 2, TableSize: 251,
				Backend: dataplane.Backend{
					Address: down, Forward: lb.IPIP, Weight: 50, Health: lb.HealthDown, Mode: lb.ModeDrain,
				},
			}},
		},
		conditions: map[BackendKey]Condition{
			{Listener: key, Address: up.String()}: {
				Health: lb.HealthUp, Since: time.Unix(1_700_000_100, 0), Check: 3 * time.Millisecond, Successes: 7,
			},
			{Listener: key, Address: down.String()}: {
				Health: lb.HealthDown, Since: time.Unix(1_700_000_200, 0), Check: 3 * time.Second, Successes: 1, Failures: 6,
				Problem: "connection refused",
			},
		},
	}
}

// serve has agent answer on a socket of its own until the test ends, and
// returns the socket.
func serve(t *testing.T, agent Agent) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "weir.sock")
	listener, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(agent, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // ends by Close below
	}()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return socket
}

func dial(ctx context.Context, socket string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", socket)
}
