// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/weirlb/weir/pkg/dataplane"
)

// reasonRow is an entry of reason_counters.
type reasonRow struct {
	Number  int    `json:"number"`
	Reason  string `json:"reason"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

func reasonColumns() []column {
	return []column{{name: "REASON"}, {name: "PACKETS", right: true}, {name: "BYTES", right: true}}
}

func (r reasonRow) cells() []string {
	return []string{r.Reason, packetsText(r.Packets), bytesText(r.Bytes)}
}

// reasons returns the rows of all reasons, in the order of their numbers.
func (in *inspection) reasons() ([]reasonRow, error) {
	names, err := dataplane.Reasons()
	if err != nil {
		return nil, err
	}
	traffic, err := in.tables.ReasonCounters()
	if err != nil {
		return nil, err
	}
	var rows []reasonRow
	for i := 1; i < min(len(names), len(traffic)); i++ { // 0 is no reason
		rows = append(rows, reasonRow{Number: i, Reason: names[i], Packets: traffic[i].Packets, Bytes: traffic[i].Bytes})
	}
	return rows, nil
}

func dumpReasonCounters(in *inspection) (listing, error) {
	rows, err := in.reasons()
	return listOf(rows, reasonColumns(), reasonRow.cells), err
}

func lookupReason(key string) (func(*inspection) (listing, error), error) {
	names, err := dataplane.Reasons()
	if err != nil {
		return nil, err
	}
	if i := slices.Index(names, key); i < 1 {
		if near, ok := nearest(key, names[1:]); ok {
			return nil, usagef("%q is no key of reason_counters, did you mean %s?", key, near)
		}
		return nil, badKey("reason_counters", key, "drop_no_backend")
	}
	return func(in *inspection) (listing, error) {
		rows, err := in.reasons()
		i := slices.IndexFunc(rows, func(r reasonRow) bool { return r.Reason == key })
		if err != nil || i < 0 {
			return one("reason_counters", key, false, err, reasonRow{}, reasonColumns(), reasonRow.cells)
		}
		return one("reason_counters", key, true, nil, rows[i], reasonColumns(), reasonRow.cells)
	}, nil
}

// listenerCounterRow is an entry of listener_counters.
type listenerCounterRow struct {
	ID        uint32            `json:"id"`
	Listener  string            `json:"listener"`
	Forwarded dataplane.Traffic `json:"forwarded"`
	Dropped   dataplane.Traffic `json:"dropped"`
}

func listenerCounterColumns() []column {
	return []column{
		{name: "ID", right: true}, {name: "LISTENER"}, {name: "PACKETS", right: true}, {name: "BYTES", right: true},
		{name: "DROPPED", right: true}, {name: "DROPPED_BYTES", right: true},
	}
}

func (r listenerCounterRow) cells() []string {
	return []string{
		countText(r.ID), r.Listener, packetsText(r.Forwarded.Packets), bytesText(r.Forwarded.Bytes),
		packetsText(r.Dropped.Packets), bytesText(r.Dropped.Bytes),
	}
}

func listenerCounter(l dataplane.ListenerState) listenerCounterRow {
	return listenerCounterRow{ID: l.Entry.ID, Listener: l.ListenerKey.String(), Forwarded: l.Forwarded, Dropped: l.Dropped}
}

func dumpListenerCounters(in *inspection) (listing, error) {
	var rows []listenerCounterRow
	for _, l := range in.Listeners {
		rows = append(rows, listenerCounter(l))
	}
	slices.SortFunc(rows, func(a, b listenerCounterRow) int { return cmp.Compare(a.ID, b.ID) })
	return listOf(rows, listenerCounterColumns(), listenerCounterRow.cells), nil
}

func lookupListenerCounter(key string) (func(*inspection) (listing, error), error) {
	listener, err := parseListener(key)
	if err != nil {
		return nil, badKey("listener_counters", key, "web/443/tcp")
	}
	return func(in *inspection) (listing, error) {
		i, err := in.find(listener)
		if err != nil {
			return listing{}, err
		}
		return one("listener_counters", key, true, nil, listenerCounter(in.Listeners[i]),
			listenerCounterColumns(), listenerCounterRow.cells)
	}, nil
}

// backendCounterRow is an entry of backend_counters.
type backendCounterRow struct {
	Counter  uint32            `json:"counter"`
	Listener string            `json:"listener"` // empty while no backend has the counter
	Label    string            `json:"label"`
	Address  string            `json:"address"`
	Traffic  dataplane.Traffic `json:"forwarded"`
}

func backendCounterColumns() []column {
	return []column{
		{name: "COUNTER", right: true}, {name: "LISTENER"}, {name: "BACKEND"}, {name: "ADDRESS"},
		{name: "PACKETS", right: true}, {name: "BYTES", right: true},
	}
}

func (r backendCounterRow) cells() []string {
	return []string{
		countText(r.Counter), orDash(r.Listener), orDash(r.Label), orDash(r.Address),
		packetsText(r.Traffic.Packets), bytesText(r.Traffic.Bytes),
	}
}

func backendCounter(b dataplane.BackendState) backendCounterRow {
	return backendCounterRow{
		Counter: b.Counter, Listener: b.Listener.String(), Label: b.Label, Address: b.Address.String(), Traffic: b.Traffic,
	}
}

func dumpBackendCounters(in *inspection) (listing, error) {
	var rows []backendCounterRow
	for _, b := range in.Backends {
		rows = append(rows, backendCounter(b))
	}
	slices.SortStableFunc(rows, func(a, b backendCounterRow) int { return cmp.Compare(a.Counter, b.Counter) })
	return listOf(rows, backendCounterColumns(), backendCounterRow.cells), nil
}

func findBackendCounter(in *inspection, counter uint32) (listing, error) {
	row := backendCounterRow{Counter: counter}
	for _, b := range in.Backends {
		if b.Counter == counter {
			row = backendCounter(b)
		}
	}
	traffic, ok, err := in.tables.LookupBackendCounter(counter)
	row.Traffic = traffic
	return one("backend_counters", countText(counter), ok, err, row, backendCounterColumns(), backendCounterRow.cells)
}

// lookupNumber looks an entry of an array up.
func lookupNumber(name, example string, find func(*inspection, uint32) (listing, error)) func(string) (func(*inspection) (listing, error), error) {
	return func(key string) (func(*inspection) (listing, error), error) {
		n, err := strconv.ParseUint(key, 10, 32)
		if err != nil {
			return nil, badKey(name, key, fmt.Sprintf("%s, a number", example))
		}
		return func(in *inspection) (listing, error) { return find(in, uint32(n)) }, nil
	}
}
