// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"slices"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// trackingRow is an entry of tracking_counters.
type trackingRow struct {
	ID       uint32 `json:"id"`
	Listener string `json:"listener"`
	control.TrackingRow
}

func trackingColumns() []column {
	return []column{
		{name: "ID", right: true}, {name: "LISTENER"}, {name: "NEW", right: true}, {name: "RECORD", right: true},
		{name: "PREVIOUS", right: true}, {name: "CURRENT", right: true}, {name: "BROKEN", right: true}, {name: "OVERFLOW", right: true},
	}
}

func (r trackingRow) cells() []string {
	return []string{
		countText(r.ID), r.Listener, packetsText(r.New), packetsText(r.Record), packetsText(r.Previous), packetsText(r.Current),
		packetsText(r.BrokenTotal()), packetsText(r.Overflow),
	}
}

func trackingOf(l dataplane.ListenerState) trackingRow {
	return trackingRow{ID: l.Entry.ID, Listener: l.ListenerKey.String(), TrackingRow: control.Tracking(l.Tracking)}
}

func dumpTrackingCounters(in *inspection) (listing, error) {
	var rows []trackingRow
	for _, l := range in.Listeners {
		rows = append(rows, trackingOf(l))
	}
	slices.SortFunc(rows, func(a, b trackingRow) int { return cmp.Compare(a.ID, b.ID) })
	return listOf(rows, trackingColumns(), trackingRow.cells), nil
}

func lookupTrackingCounter(key string) (func(*inspection) (listing, error), error) {
	listener, err := parseListener(key)
	if err != nil {
		return nil, badKey("tracking_counters", key, "web/443/tcp")
	}
	return func(in *inspection) (listing, error) {
		i, err := in.find(listener)
		if err != nil {
			return listing{}, err
		}
		return one("tracking_counters", key, true, nil, trackingOf(in.Listeners[i]), trackingColumns(), trackingRow.cells)
	}, nil
}

// oldTableRow is an entry of old_tables that a listener refers to.
type oldTableRow struct {
	ID        uint32       `json:"id"`
	Listener  string       `json:"listener"`
	Slots     uint32       `json:"first_slot"`
	TableSize uint32       `json:"table_size"`
	Algorithm lb.Algorithm `json:"algorithm"`
}

func oldTableColumns() []column {
	return []column{
		{name: "ID", right: true}, {name: "LISTENER"}, {name: "FIRST_SLOT", right: true}, {name: "TABLE_SIZE", right: true},
		{name: "ALGORITHM"},
	}
}

func (r oldTableRow) cells() []string {
	return []string{countText(r.ID), r.Listener, countText(r.Slots), countText(r.TableSize), r.Algorithm.String()}
}

func (in *inspection) oldTable(l dataplane.ListenerState) (oldTableRow, error) {
	old, err := in.tables.OldTable(l.Entry.ID)
	return oldTableRow{
		ID: l.Entry.ID, Listener: l.ListenerKey.String(), Slots: old.Slots, TableSize: old.TableSize, Algorithm: old.Algorithm,
	}, err
}

func dumpOldTables(in *inspection) (listing, error) {
	var rows []oldTableRow
	for _, l := range in.Listeners {
		if !l.Entry.OldTable {
			continue
		}
		row, err := in.oldTable(l)
		if err != nil {
			return listing{}, err
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b oldTableRow) int { return cmp.Compare(a.ID, b.ID) })
	return listOf(rows, oldTableColumns(), oldTableRow.cells), nil
}

func lookupOldTable(key string) (func(*inspection) (listing, error), error) {
	listener, err := parseListener(key)
	if err != nil {
		return nil, badKey("old_tables", key, "web/443/tcp")
	}
	return func(in *inspection) (listing, error) {
		i, err := in.find(listener)
		if err != nil {
			return listing{}, err
		}
		row, err := in.oldTable(in.Listeners[i])
		return one("old_tables", key, in.Listeners[i].Entry.OldTable, err, row, oldTableColumns(), oldTableRow.cells)
	}, nil
}
