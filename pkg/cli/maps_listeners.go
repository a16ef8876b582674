// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// listenerEntryRow is an entry of listeners4 or listeners6.
type listenerEntryRow struct {
	Key       string       `json:"key"`
	Listener  string       `json:"listener"`
	ID        uint32       `json:"id"`
	Balancer  uint32       `json:"balancer_id"`
	Slots     uint32       `json:"first_slot"`
	TableSize uint32       `json:"table_size"`
	Pool      uint32       `json:"pool"`
	PoolSize  uint32       `json:"pool_size"`
	Algorithm lb.Algorithm `json:"algorithm"`
	OnAllDown lb.OnAllDown `json:"on_all_down"`
	OldTable  bool         `json:"old_table"` // flows without a record go by its entry of old_tables
}

func listenerEntryColumns() []column {
	return []column{
		{name: "KEY"}, {name: "LISTENER"}, {name: "ID", right: true}, {name: "BALANCER_ID", right: true},
		{name: "FIRST_SLOT", right: true}, {name: "TABLE_SIZE", right: true}, {name: "POOL", right: true},
		{name: "POOL_SIZE", right: true}, {name: "ALGORITHM"}, {name: "ON_ALL_DOWN"}, {name: "OLD_TABLE"},
	}
}

func (r listenerEntryRow) cells() []string {
	return []string{
		r.Key, r.Listener, countText(r.ID), countText(r.Balancer), countText(r.Slots), countText(r.TableSize),
		countText(r.Pool), countText(r.PoolSize), r.Algorithm.String(), r.OnAllDown.String(), yesText(r.OldTable),
	}
}

// listenerEntry returns the row of an entry.
func (in *inspection) listenerEntry(k dataplane.ListenerKey, l dataplane.Listener) listenerEntryRow {
	return listenerEntryRow{
		Key: entryKeyText(k), Listener: in.listenerNames[l.ID], ID: l.ID, Balancer: l.Balancer,
		Slots: l.Slots, TableSize: l.TableSize, Pool: l.Pool, PoolSize: l.PoolSize,
		Algorithm: l.Algorithm, OnAllDown: l.OnAllDown, OldTable: l.OldTable,
	}
}

// entryKeyText writes a key as parseEntryKey reads it.
func entryKeyText(k dataplane.ListenerKey) string {
	return netip.AddrPortFrom(k.Address, k.Port).String() + "/" + k.Protocol.String()
}

func parseEntryKey(text string) (k dataplane.ListenerKey, ok bool) {
	address, protocol, _ := strings.Cut(text, "/")
	addrPort, err := netip.ParseAddrPort(address)
	if err != nil || k.Protocol.UnmarshalText([]byte(protocol)) != nil || addrPort.Addr().Zone() != "" {
		return k, false
	}
	k.Address, k.Port = addrPort.Addr().Unmap(), addrPort.Port()
	return k, true
}

func dumpListeners4(in *inspection) (listing, error) { return in.dumpListeners(netip.Addr.Is4) }

func dumpListeners6(in *inspection) (listing, error) { return in.dumpListeners(netip.Addr.Is6) }

// dumpListeners lists the entries whose addresses are of a family.
func (in *inspection) dumpListeners(family func(netip.Addr) bool) (listing, error) {
	entries, err := in.tables.Listeners()
	if err != nil {
		return listing{}, err
	}
	var keys []dataplane.ListenerKey
	for k := range entries {
		if family(k.Address) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, dataplane.ListenerKey.Compare)
	var rows []listenerEntryRow
	for _, k := range keys {
		rows = append(rows, in.listenerEntry(k, entries[k]))
	}
	return listOf(rows, listenerEntryColumns(), listenerEntryRow.cells), nil
}

// lookupListener looks an entry up in listeners4 or listeners6.
func lookupListener(name, example string) func(string) (func(*inspection) (listing, error), error) {
	return func(key string) (func(*inspection) (listing, error), error) {
		k, ok := parseEntryKey(key)
		if !ok || k.Address.Is4() != (name == "listeners4") {
			return nil, badKey(name, key, example)
		}
		return func(in *inspection) (listing, error) {
			entry, ok, err := in.tables.LookupListener(k)
			return one(name, key, ok, err, in.listenerEntry(k, entry), listenerEntryColumns(), listenerEntryRow.cells)
		}, nil
	}
}
