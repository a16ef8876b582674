// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/reconcile"
	"github.com/weirlb/weir/pkg/testutil"
)

// The balancer's addresses, and two that are not.
var (
	vip4     = netip.MustParseAddr("203.0.113.10")
	vip6     = netip.MustParseAddr("2001:db8::10")
	foreign4 = netip.MustParseAddr("203.0.113.99")
	foreign6 = netip.MustParseAddr("2001:db8::99")
)

// The interfaces of a test run: packets come by the loopback interface and
// leave by it, or by another one.
const (
	ingress = 1
	another = 2
)

// shape is a configuration to measure: listeners that are alike but for their
// ports, each with backends of its own.
type shape struct {
	listeners int
	backends  int // of each listener
	draining  int // of these, the first ones
	tableSize uint32
	idle      time.Duration // timeout of flows
	forward   lb.Forward
	outer6    bool // backends have IPv6 addresses
	egress    int  // interface that backends are behind
	features  dataplane.Features
}

// desired returns the configuration.
func (s shape) desired() reconcile.Desired {
	web := reconcile.Balancer{Label: "web", Addresses: []netip.Addr{vip4, vip6}}
	for i := range s.listeners {
		l := reconcile.Listener{
			Port: uint16(firstPort + i), Protocol: lb.TCP, Forward: s.forward, TableSize: s.tableSize,
			DrainTimeout: time.Hour, IdleTimeout: s.idle,
		}
		for j := range s.backends {
			l.Backends = append(l.Backends, s.backend(i, j))
		}
		web.Listeners = append(web.Listeners, l)
	}
	return reconcile.Desired{Balancers: []reconcile.Balancer{web}}
}

// backend returns backend j of listener i.
func (s shape) backend(i, j int) reconcile.Backend {
	addr := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(j)})
	if s.outer6 {
		addr = netip.AddrFrom16([16]byte{0: 0x20, 0x01, 0x0d, 0xb8, 12: 1, byte(i >> 8), byte(i), byte(j)})
	}
	mode := lb.ModeAccept
	if j < s.draining {
		mode = lb.ModeDrain
	}
	return reconcile.Backend{
		Label:      fmt.Sprintf("web-%d-%d", i, j),
		Address:    netip.AddrPortFrom(addr, 443),
		Weight:     100,
		Mode:       mode,
		Configured: mode,
		Health:     lb.HealthUp,
		Reachable:  true,
		NextHop: lb.NextHop{
			Interface: s.egress, MTU: 1500,
			Source: lb.MAC{2, 0, 0, 0, 0, 1}, Dest: lb.MAC{2, 0, 9, byte(i >> 8), byte(i), byte(j)},
		},
	}
}

// limits returns tables that are large enough.
func (s shape) limits() dataplane.Limits {
	pools := uint32(s.listeners * (s.backends + 1))
	lines := (s.tableSize + dataplane.SlotsPerLine - 1) / dataplane.SlotsPerLine
	return dataplane.Limits{
		Listeners: uint32(max(s.listeners, 64)),
		Backends:  2 * pools,
		Slots:     2 * uint32(s.listeners) * lines * dataplane.SlotsPerLine,
	}
}

// plane is a loaded data plane that counts on its own how many packets its
// program must have counted.
type plane struct {
	*dataplane.Dataplane
	reasons  []string
	expected map[string]uint64         // packets by reason
	tracking dataplane.TrackingTraffic // packets of slots that are not steady
	records  int                       // in the flow table
	clock    uint32                    // of the flow table, in milliseconds

	store      reconcile.Store // of the reconciler: the tables, unless it is set
	reconciler *reconcile.Reconciler
	now        time.Time // by the clock of the reconciler
}

// open loads a data plane with empty tables.
func open(b *testing.B, object string, limits dataplane.Limits, features dataplane.Features) *plane {
	b.Helper()
	d, err := dataplane.Open(b.Context(), dataplane.Options{
		PinPath: testutil.PinPath(b),
		Object:  object,
		Limits:  limits,
		Knobs: dataplane.Knobs{
			Features:      features,
			TunnelSource4: netip.MustParsePrefix("172.16.0.0/16"),
			TunnelSource6: netip.MustParsePrefix("100::/64"),
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := d.Close(); err != nil {
			b.Error(err)
		}
	})
	reasons, err := dataplane.Reasons()
	if err != nil {
		b.Fatal(err)
	}
	return &plane{Dataplane: d, reasons: reasons, expected: make(map[string]uint64), now: time.Now()}
}

// openShape loads a data plane and applies a configuration to it.
func openShape(b *testing.B, object string, s shape) *plane {
	b.Helper()
	p := open(b, object, s.limits(), s.features)
	p.apply(b, s)
	return p
}

// reload loads the program anew, which takes other knobs: another seed for the
// hash, or where there are records, which it is written in, another source of
// tunnels that there are none of.
func (p *plane) reload(round uint64) error {
	k := p.Knobs()
	if p.records == 0 {
		k.Seed = round
	} else {
		k.TunnelSource6 = netip.PrefixFrom(netip.AddrFrom16([16]byte{1, 7: byte(round)}), 64)
	}
	return p.SetKnobs(k)
}

// tick lets the clock of records go on, so that the next packet of each flow
// writes its record.
func (p *plane) tick() error {
	p.clock += 1000
	return p.Tables().SetFlowClock(p.clock)
}

// expect notes that n packets were sent that leave for a reason.
func (p *plane) expect(reason string, n uint64) { p.expected[reason] += n }

// check fails the benchmark if the program did not count each packet under the
// reason and the decision that were expected, or if there are other records
// than were expected.
func (p *plane) check(b *testing.B) {
	b.Helper()
	counters, err := p.Tables().ReasonCounters()
	if err != nil {
		b.Fatal(err)
	}
	for i, c := range counters {
		if want := p.expected[p.reasons[i]]; c.Packets != want {
			b.Errorf("%d packets were counted as %s, want %d", c.Packets, p.reasons[i], want)
		}
	}
	tracking, err := p.Tables().TrackingCounters(p.Tables().Limits().Listeners)
	if err != nil {
		b.Fatal(err)
	}
	var got dataplane.TrackingTraffic
	for _, t := range tracking {
		got = got.Add(t)
	}
	if diff := cmp.Diff(p.tracking, got); diff != "" {
		b.Errorf("packets by what decided on them (-want +got):\n%s", diff)
	}
	if n := p.flowRecords(b); n != p.records {
		b.Errorf("the flow table holds %d records, want %d", n, p.records)
	}
	n, err := p.Tables().Embryonic()
	if err != nil {
		b.Fatal(err)
	}
	if (n > 0) != (p.tracking.New > 0) {
		b.Errorf("there are %d embryonic records after %d first packets", n, p.tracking.New)
	}
}
