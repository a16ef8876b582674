// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"net"
	"net/netip"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// backendEntryRow is an entry of backends that is in use.
type backendEntryRow struct {
	Index     uint32         `json:"index"`
	Listener  string         `json:"listener"` // empty if no listener refers to the entry
	PoolIndex uint32         `json:"pool_index"`
	Label     string         `json:"label"`
	Address   netip.AddrPort `json:"address"`
	Forward   lb.Forward     `json:"forward"`
	Weight    uint8          `json:"weight"`
	Health    lb.Health      `json:"health"`

	Unusable   dataplane.Unusable `json:"unusable"`   // why flows have to leave it
	Mode       lb.Mode            `json:"mode"`       // that is in force
	Configured lb.Mode            `json:"configured"` // by the configuration
	ModeSince  uint32             `json:"mode_since"` // in seconds since this host was started

	Interface int    `json:"interface"` // 0 while the next hop is unknown
	Source    string `json:"source_mac"`
	Dest      string `json:"dest_mac"`
	MTU       int    `json:"mtu"`
	Counter   uint32 `json:"counter"`
}

func backendEntryColumns() []column {
	return []column{
		{name: "INDEX", right: true}, {name: "LISTENER"}, {name: "POOL_INDEX", right: true}, {name: "BACKEND"}, {name: "ADDRESS"},
		{name: "FORWARD"}, {name: "WEIGHT", right: true}, {name: "HEALTH", colour: healthColour},
		{name: "UNUSABLE"}, {name: "MODE"}, {name: "CONFIGURED"}, {name: "MODE_SINCE", right: true}, {name: "INTERFACE", right: true},
		{name: "SOURCE_MAC"}, {name: "DEST_MAC"}, {name: "MTU", right: true}, {name: "COUNTER", right: true},
	}
}

func (r backendEntryRow) cells() []string {
	return []string{
		countText(r.Index), orDash(r.Listener), countText(r.PoolIndex), orDash(r.Label), r.Address.String(),
		r.Forward.String(), countText(r.Weight), r.Health.String(),
		r.Unusable.String(), r.Mode.String(), r.Configured.String(), countText(r.ModeSince), countText(uint32(r.Interface)),
		r.Source, r.Dest, countText(uint32(r.MTU)), countText(r.Counter),
	}
}

func (in *inspection) backendEntry(index uint32, b dataplane.Backend) backendEntryRow {
	row := backendEntryRow{
		Index: index, Label: in.backendLabels[b.Counter], Address: b.Address, Forward: b.Forward,
		Weight: b.Weight, Health: b.Health, Counter: b.Counter,
		Unusable: b.Unusable, Mode: b.Mode, Configured: b.Configured, ModeSince: b.ModeSince,
		Interface: b.NextHop.Interface, MTU: b.NextHop.MTU,
		Source: net.HardwareAddr(b.NextHop.Source[:]).String(), Dest: net.HardwareAddr(b.NextHop.Dest[:]).String(),
	}
	for _, l := range in.Listeners {
		if first := l.Entry.Pool; first <= index && index-first < l.Entry.PoolSize {
			row.Listener, row.PoolIndex = l.ListenerKey.String(), index-first
		}
	}
	return row
}

func dumpBackends(in *inspection) (listing, error) {
	const window = 16384 // entries that are in this process' memory at once
	var rows []backendEntryRow
	for first, most := uint32(0), in.tables.Limits().Backends; first < most; first += window {
		entries, err := in.tables.Backends(first, min(window, most-first))
		if err != nil {
			return listing{}, err
		}
		for i, b := range entries {
			if b != (dataplane.Backend{}) {
				rows = append(rows, in.backendEntry(first+uint32(i), b))
			}
		}
	}
	return listOf(rows, backendEntryColumns(), backendEntryRow.cells), nil
}

func findBackend(in *inspection, index uint32) (listing, error) {
	var entry dataplane.Backend
	if index < in.tables.Limits().Backends {
		entries, err := in.tables.Backends(index, 1)
		if err != nil {
			return listing{}, err
		}
		entry = entries[0]
	}
	return one("backends", countText(index), entry != dataplane.Backend{}, nil,
		in.backendEntry(index, entry), backendEntryColumns(), backendEntryRow.cells)
}
