// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/weirlb/weir/pkg/dataplane"
)

// cachedRow is an entry of listener_cache4 or listener_cache6 on one CPU.
type cachedRow struct {
	listenerEntryRow
	CPU        uint32 `json:"cpu"`
	Generation uint32 `json:"generation"`
	Current    bool   `json:"current"` // packets on the CPU go by it
	Agrees     bool   `json:"agrees"`  // listeners4 or listeners6 has the same
}

func cachedColumns() []column {
	entry := listenerEntryColumns()
	return append([]column{
		entry[0], {name: "CPU", right: true}, {name: "GENERATION", right: true}, {name: "CURRENT"}, {name: "AGREES"},
	}, entry[1:]...)
}

func (r cachedRow) cells() []string {
	entry := r.listenerEntryRow.cells()
	return append([]string{
		entry[0], countText(r.CPU), countText(r.Generation), yesText(r.Current), yesText(r.Agrees),
		orDash(r.Listener), // one that is gone has no name
	}, entry[2:]...)
}

// cached returns the rows of a family's cache.
func (in *inspection) cached(f dataplane.Family) ([]cachedRow, error) {
	entries, err := in.tables.CachedListeners(f)
	if err != nil {
		return nil, err
	}
	listeners, err := in.tables.Listeners()
	if err != nil {
		return nil, err
	}
	var rows []cachedRow
	for _, c := range entries {
		row := cachedRow{
			listenerEntryRow: in.listenerEntry(c.Key, c.Listener),
			CPU:              uint32(c.CPU), Generation: c.Generation, Current: c.Current,
		}
		l, ok := listeners[c.Key]
		row.Agrees = ok && l == c.Listener
		rows = append(rows, row)
	}
	return rows, nil
}

func dumpCache4(in *inspection) (listing, error) { return in.dumpCache(dataplane.IPv4) }

func dumpCache6(in *inspection) (listing, error) { return in.dumpCache(dataplane.IPv6) }

func (in *inspection) dumpCache(f dataplane.Family) (listing, error) {
	rows, err := in.cached(f)
	return listOf(rows, cachedColumns(), cachedRow.cells), err
}

// lookupCache looks up what all CPUs have under a key.
func lookupCache(name string, f dataplane.Family, example string) func(string) (func(*inspection) (listing, error), error) {
	return func(key string) (func(*inspection) (listing, error), error) {
		k, ok := parseEntryKey(key)
		if !ok || k.Address.Is4() != (f == dataplane.IPv4) {
			return nil, badKey(name, key, example)
		}
		return func(in *inspection) (listing, error) {
			rows, err := in.cached(f)
			if err != nil {
				return listing{}, err
			}
			var found []cachedRow
			for _, r := range rows {
				if r.Key == entryKeyText(k) {
					found = append(found, r)
				}
			}
			if found == nil {
				return listing{}, fmt.Errorf("%s has no entry %s on any CPU", name, key)
			}
			return listOf(found, cachedColumns(), cachedRow.cells), nil
		}, nil
	}
}

// generationRow is the entry of listener_generation, and of flow_generation.
type generationRow struct {
	Generation uint32 `json:"generation"`
}

func generationColumns() []column { return []column{{name: "GENERATION", right: true}} }

func (r generationRow) cells() []string { return []string{countText(r.Generation)} }

func dumpGeneration(in *inspection) (listing, error) {
	generation, err := in.tables.ListenerGeneration()
	return listOf([]generationRow{{generation}}, generationColumns(), generationRow.cells), err
}

func findGeneration(in *inspection, index uint32) (listing, error) {
	generation, err := in.tables.ListenerGeneration()
	return one("listener_generation", countText(index), index == 0, err,
		generationRow{generation}, generationColumns(), generationRow.cells)
}
