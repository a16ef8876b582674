// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/testutil"
)

// TestSpoofedFlood sends SYNs of ever new flows, ten million of them if it soaks,
// beside connections that are in use. Where nothing changes they leave no record,
// and during a change none in the flow table; no connection is lost, and memory
// stays as it was.
func TestSpoofedFlood(t *testing.T) {
	const connections, flows = 300, 10_000_000
	l := newTalkingLab(t, 4)
	f := l.newFlooder(talkPort, vip4(1), vip6(1))
	web := func(n int) string {
		return balancerYAML("web", []netip.Addr{vip4(1), vip6(1)},
			listenerYAML(talkPort, "ipip", []string{noCheck, "table_size: 4093", "idle_timeout: 10m"}, l.allYAML(4, talkPort)[:n]...))
	}
	a := l.newAgent(agentOptions{interfaces: "[eth0, " + floodInterface + "]"})
	a.configure(web(3))
	a.start()
	w := l.newCrowd()
	for _, vip := range []netip.Addr{vip4(1), vip6(1)} {
		w.join(connections/2, member{balancer: "web", to: netip.AddrPortFrom(vip, talkPort)})
	}
	w.join(4, member{to: netip.AddrPortFrom(l.backends[0].IPv4(), talkPort)})
	w.awaitTalking()
	before, lost, size := a.reasons(), f.sent(), a.memory()

	phase := func(name string, share uint64, ci time.Duration) {
		began := time.Now()
		n := f.flood(func(n uint64) bool {
			if testutil.Soak(t) > 0 {
				return n >= flows*share/100
			}
			return time.Since(began) >= ci
		})
		took := time.Since(began)
		w.check()
		t.Logf("%s: %d flows in %v, %.0f a second", name, n, took.Round(time.Millisecond), float64(n)/took.Seconds())
	}
	phase("steady", 40, 6*time.Second)
	a.mustHaveNoRecords(t)
	steady := a.memory()
	t.Logf("memory: %v before, %v after", size, steady)
	steady.mustBeNear(t, size)

	a.change(t, "apply", web(4))
	phase("while slots move", 60, 9*time.Second)
	l.mustRecordOnly(a, connections)
	moving := a.memory()
	t.Logf("memory: %v with slots on the move", moving)
	moving.mustBeNear(t, size)

	result := w.end()
	w.check()
	t.Logf("%d SYNs sent; %v", f.sent()-lost, &result)
	mustLoseNothing(t, before, a.reasons())
	if got := a.tracking(""); got.Overflow != 0 || sumBroken(got.Broken) != 0 {
		t.Errorf("%d records found no room, %v were broken", got.Overflow, got.Broken)
	}
}

func sumBroken(broken map[dataplane.Unusable]uint64) (sum uint64) {
	for _, n := range broken {
		sum += n
	}
	return sum
}

// mustHaveNoRecords sees that no slot was tracked and no flow recorded.
func (a *agent) mustHaveNoRecords(t testing.TB) {
	t.Helper()
	a.tables(func(tables *dataplane.Tables, snapshot *dataplane.Snapshot) {
		counts, err := tables.CountFlows()
		if err != nil {
			t.Fatal(err)
		}
		if counts != (dataplane.FlowCounts{}) {
			t.Errorf("without any change there are records: %+v", counts)
		}
		for _, l := range snapshot.Listeners {
			if l.Unsteady != 0 || l.Tracking.New+l.Tracking.Record+l.Tracking.Previous+l.Tracking.Current != 0 {
				t.Errorf("without any change flows of %s are tracked: %d slots, %+v", l.ListenerKey, l.Unsteady, l.Tracking)
			}
		}
	})
}

// mustRecordOnly sees that the flow table has records of the crowd's connections
// alone, and that the embryonic ones have the flood.
func (l *lab) mustRecordOnly(a *agent, connections int) {
	l.t.Helper()
	a.tables(func(tables *dataplane.Tables, snapshot *dataplane.Snapshot) {
		n, strange := 0, 0
		l.must(tables.ScanFlows(func(batch []dataplane.Flow) error {
			for _, f := range batch {
				client := f.ID.Client().Addr()
				if n++; !slices.Contains(l.sources[client.Is6()], client) {
					strange++
				}
			}
			return nil
		}))
		embryonic, err := tables.Embryonic()
		l.must(err)
		l.t.Logf("%d records, %d embryonic ones, %d first packets", n, embryonic, snapshot.Listeners[0].Tracking.New)
		if strange > 0 || n == 0 || n > connections {
			l.t.Errorf("the flow table has %d records, %d of them of the flood, and there are %d connections", n, strange, connections)
		}
		if embryonic == 0 || snapshot.Listeners[0].Tracking.New == 0 {
			l.t.Error("no first packet of the flood was seen in a slot on the move")
		}
	})
}

// memory is what the agent and its maps take, in bytes.
type memory struct{ agent, maps, flows uint64 }

func (m memory) String() string {
	const mib = 1 << 20
	return fmt.Sprintf("agent %.1f MiB, maps %.1f MiB (flows %.3f MiB)",
		float64(m.agent)/mib, float64(m.maps)/mib, float64(m.flows)/mib)
}

// memory measures the resident memory of the agent and that of its maps in the
// kernel.
func (a *agent) memory() (m memory) {
	a.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.cmd.Process.Pid))
	if err != nil {
		a.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		a.t.Fatal(err)
	}
	m.agent = kib << 10
	a.tables(func(tables *dataplane.Tables, _ *dataplane.Snapshot) {
		infos, err := tables.Maps()
		if err != nil {
			a.t.Fatal(err)
		}
		for _, i := range infos {
			m.maps += i.Memory
			if i.Name == "flows4" || i.Name == "flows6" {
				m.flows += i.Memory
			}
		}
	})
	return m
}

// mustBeNear sees that memory has not grown by more than a few connections and
// some garbage explain.
func (m memory) mustBeNear(t testing.TB, before memory) {
	t.Helper()
	const (
		agentRoom = 16 << 20
		mapsRoom  = 256 << 10
	)
	if m.agent > before.agent+agentRoom || m.maps > before.maps+mapsRoom {
		t.Errorf("memory has grown from %v to %v", before, m)
	}
}
