// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

const (
	flow4Example = "192.0.2.1:40000,203.0.113.10:443/tcp"
	flow6Example = "[2001:db8::1]:40000,[2001:db8::10]:443/tcp"
)

// flowEntryRow is an entry of flows4 or flows6.
type flowEntryRow struct {
	Key        string `json:"key"`
	Listener   string `json:"listener"` // #ID if it is no longer there
	ListenerID uint32 `json:"listener_id"`
	Backend    string `json:"backend"` // its label, #INDEX if it is no longer there
	PoolIndex  uint16 `json:"pool_index"`
	Hash       string `json:"hash"` // upper half of the hash that chose the slot, in hexadecimal
	Seen       uint32 `json:"seen"` // flow_clock at its last packet, in milliseconds
	Closing    bool   `json:"closing"`
}

func flowEntryColumns() []column {
	return []column{
		{name: "KEY"}, {name: "LISTENER"}, {name: "LISTENER_ID", right: true}, {name: "BACKEND"}, {name: "POOL_INDEX", right: true},
		{name: "HASH"}, {name: "SEEN", right: true}, {name: "CLOSING"},
	}
}

func (r flowEntryRow) cells() []string {
	return []string{
		r.Key, r.Listener, countText(r.ListenerID), r.Backend, countText(r.PoolIndex), r.Hash, countText(r.Seen), yesText(r.Closing),
	}
}

func (e flowEntry) row() flowEntryRow {
	return flowEntryRow{
		Key: flowKeyText(e.client, e.vip, e.protocol), Listener: e.place.listener, ListenerID: e.place.listenerID,
		Backend: e.place.backend, PoolIndex: e.place.poolIndex, Hash: fmt.Sprintf("%08x", e.hash), Seen: e.seen, Closing: e.closing,
	}
}

// flowKeyText writes a key as parseFlowKey reads it.
func flowKeyText(client, vip netip.AddrPort, p lb.Protocol) string {
	return client.String() + "," + vip.String() + "/" + p.String()
}

func parseFlowKey(text string) (id dataplane.FlowID, ok bool) {
	from, to, _ := strings.Cut(text, ",")
	client, err := netip.ParseAddrPort(from)
	vip, ok := parseEntryKey(to)
	if err != nil || !ok || client.Addr().Zone() != "" || client.Addr().Unmap().Is4() != vip.Address.Is4() {
		return id, false
	}
	client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
	return dataplane.NewFlowID(client, netip.AddrPortFrom(vip.Address, vip.Port), vip.Protocol), true
}

func dumpFlows4(in *inspection) (listing, error) { return in.dumpFlows(dataplane.IPv4) }

func dumpFlows6(in *inspection) (listing, error) { return in.dumpFlows(dataplane.IPv6) }

func (in *inspection) dumpFlows(f dataplane.Family) (listing, error) {
	places := in.flowPlaces()
	all := firstFlows{compare: flowEntry.compareFlow}
	err := in.tables.ScanFlows(func(batch []dataplane.Flow) error {
		for i := range batch {
			if batch[i].ID.IPv6() == (f == dataplane.IPv6) {
				all.add(places.entry(&batch[i]))
			}
		}
		return nil
	})
	if err != nil {
		return listing{}, err
	}
	all.cut()
	return listing{long: &longListing{
		columns: flowEntryColumns(), rows: len(all.kept),
		cells: func(i int) []string { return all.kept[i].row().cells() },
		value: func(i int) any { return all.kept[i].row() },
	}}, nil
}

// lookupFlow looks an entry up in flows4 or flows6.
func lookupFlow(name string, f dataplane.Family, example string) func(string) (func(*inspection) (listing, error), error) {
	return func(key string) (func(*inspection) (listing, error), error) {
		id, ok := parseFlowKey(key)
		if !ok || id.IPv6() != (f == dataplane.IPv6) {
			return nil, badKey(name, key, example)
		}
		return func(in *inspection) (listing, error) {
			flow, ok, err := in.tables.LookupFlow(id)
			var row flowEntryRow
			if ok {
				row = in.flowPlaces().entry(&flow).row()
			}
			return one(name, key, ok, err, row, flowEntryColumns(), flowEntryRow.cells)
		}, nil
	}
}

// embryonicRow is an entry of embryonic that is taken.
type embryonicRow struct {
	Index     uint32 `json:"index"`
	Tag       string `json:"tag"`        // in hexadecimal
	PoolIndex uint16 `json:"pool_index"` // of a listener that the entry does not name
	Age       int64  `json:"age_ms"`
}

func embryonicColumns() []column {
	return []column{{name: "INDEX", right: true}, {name: "TAG"}, {name: "POOL_INDEX", right: true}, {name: "AGE", right: true}}
}

func (r embryonicRow) cells() []string {
	age := (time.Duration(r.Age) * time.Millisecond).Round(time.Second)
	return []string{countText(r.Index), r.Tag, countText(r.PoolIndex), age.String()}
}

func embryonicRowOf(r dataplane.EmbryonicRecord) embryonicRow {
	return embryonicRow{Index: r.Index, Tag: fmt.Sprintf("%010x", r.Tag), PoolIndex: r.Backend, Age: r.Age.Milliseconds()}
}

func dumpEmbryonic(in *inspection) (listing, error) {
	records, err := in.tables.EmbryonicRecords()
	if err != nil {
		return listing{}, err
	}
	return listing{long: &longListing{
		columns: embryonicColumns(), rows: len(records),
		cells: func(i int) []string { return embryonicRowOf(records[i]).cells() },
		value: func(i int) any { return embryonicRowOf(records[i]) },
	}}, nil
}

func findEmbryonic(in *inspection, index uint32) (listing, error) {
	record, ok, err := in.tables.LookupEmbryonic(index)
	return one("embryonic", countText(index), ok, err, embryonicRowOf(record), embryonicColumns(), embryonicRow.cells)
}

// flowClockRow is the entry of flow_clock.
type flowClockRow struct {
	Milliseconds uint32 `json:"milliseconds"`
}

func flowClockColumns() []column { return []column{{name: "MILLISECONDS", right: true}} }

func (r flowClockRow) cells() []string { return []string{countText(r.Milliseconds)} }

func dumpFlowClock(in *inspection) (listing, error) {
	now, err := in.tables.FlowClock()
	return listOf([]flowClockRow{{now}}, flowClockColumns(), flowClockRow.cells), err
}

func findFlowClock(in *inspection, index uint32) (listing, error) {
	now, err := in.tables.FlowClock()
	return one("flow_clock", countText(index), index == 0, err, flowClockRow{now}, flowClockColumns(), flowClockRow.cells)
}
