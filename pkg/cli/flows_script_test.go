// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"errors"
	"net/netip"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// withTables runs fn on the maps at $PINS.
func withTables(ts *testscript.TestScript, neg bool, args []string, fn func(*dataplane.Tables) error) {
	if neg || len(args) > 0 {
		ts.Fatalf("recordflows, moveslots and embryonic take no arguments")
	}
	tables, err := dataplane.OpenTables(ts.Getenv("PINS"))
	ts.Check(err)
	defer tables.Close()
	ts.Check(fn(tables))
}

// recordFlows is the script command `recordflows`, which does what fillFlows
// does.
func recordFlows(ts *testscript.TestScript, neg bool, args []string) {
	withTables(ts, neg, args, fillFlows)
}

// moveSlots is the script command `moveslots`: all slots of web/443/tcp move from
// its second backend to the first.
func moveSlots(ts *testscript.TestScript, neg bool, args []string) {
	withTables(ts, neg, args, func(t *dataplane.Tables) error {
		var slots []dataplane.SlotChange
		for i := range uint32(17) {
			slots = append(slots, dataplane.SlotChange{Index: i, Slot: dataplane.Slot{Current: 1, Previous: 2, Tracked: true}})
		}
		return t.WriteSlots(32, 17, slots)
	})
}

// firstEmbryonic is the script command `embryonic`, which leaves the index of
// the first embryonic record in $EMBRYONIC.
func firstEmbryonic(ts *testscript.TestScript, neg bool, args []string) {
	withTables(ts, neg, args, func(t *dataplane.Tables) error {
		records, err := t.EmbryonicRecords()
		if err != nil {
			return err
		}
		if len(records) == 0 {
			return errors.New("there is no embryonic record")
		}
		ts.Setenv("EMBRYONIC", strconv.Itoa(int(records[0].Index)))
		return nil
	})
}

// fillFlows adds to fillTables records of flows, of which two are of a listener
// and of a backend that are no longer there, and a second listener, whose table
// is not the one that it had before.
func fillFlows(t *dataplane.Tables) error {
	dns := dataplane.Listener{ID: 4, Balancer: 1, Slots: 64, TableSize: 13, Pool: 32, PoolSize: 16, Algorithm: lb.Source, OldTable: true}
	errs := []error{
		t.PutListener(dataplane.ListenerKey{Address: netip.MustParseAddr("203.0.113.10"), Port: 53, Protocol: lb.UDP}, dns),
		t.PutOldTable(dns.ID, dataplane.OldTable{Slots: 96, TableSize: 31}),
		t.PutName(dataplane.NameKey{Kind: dataplane.NameBackend, ID: 9}, "dns-1"),
		t.PutBackend(33, dataplane.Backend{
			Address: netip.MustParseAddrPort("10.0.0.21:53"), Forward: lb.DSR, Weight: 1, Counter: 9,
			Unusable: dataplane.Removed, Mode: lb.ModeDrain, Configured: lb.ModeAccept, ModeSince: 86400,
		}),
		t.SetFlowClock(100_000),
	}
	for _, f := range []struct {
		client, vip string
		protocol    lb.Protocol
		flow        dataplane.Flow
	}{
		{"192.0.2.9:1000", "203.0.113.10:443", lb.TCP, dataplane.Flow{Listener: 3, Backend: 1, Seen: 99_000, Hash: 0xabcdef01}},
		{"192.0.2.10:2000", "203.0.113.10:443", lb.TCP, dataplane.Flow{Listener: 3, Backend: 2, Seen: 38_765}},
		{"192.0.2.10:1000", "203.0.113.10:443", lb.TCP, dataplane.Flow{Listener: 3, Backend: 1, Seen: 99_960, Closing: true}},
		{"[2001:db8::9]:1000", "[2001:db8::10]:443", lb.TCP, dataplane.Flow{Listener: 3, Backend: 2, Seen: 100_010}},
		{"192.0.2.9:1000", "203.0.113.10:53", lb.UDP, dataplane.Flow{Listener: 4, Backend: 1, Seen: 99_000}},
		{"192.0.2.9:1001", "203.0.113.10:53", lb.UDP, dataplane.Flow{Listener: 4, Backend: 7, Seen: 99_000}},
		{"192.0.2.9:1000", "203.0.113.99:80", lb.TCP, dataplane.Flow{Listener: 8, Backend: 1, Seen: 99_000}},
	} {
		f.flow.ID = dataplane.NewFlowID(netip.MustParseAddrPort(f.client), netip.MustParseAddrPort(f.vip), f.protocol)
		errs = append(errs, t.PutFlow(f.flow))
	}
	return errors.Join(errs...)
}
