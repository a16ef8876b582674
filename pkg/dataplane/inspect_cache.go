// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
)

// CachedListener is a listener that a CPU keeps since it looked it up.
type CachedListener struct {
	CPU        int
	Key        ListenerKey
	Generation uint32 // the present one when the CPU looked it up
	Current    bool   // it still is: packets on that CPU go by the entry
	Listener   Listener
}

// ListenerGeneration returns the number that goes up after each change of
// listeners, and with it all that the CPUs keep of them is not used any more.
func (t *Tables) ListenerGeneration() (uint32, error) {
	m, key := t.maps.ListenerGeneration, uint32(0)
	var generation uint32
	if err := m.Lookup(&key, &generation); err != nil {
		return 0, fmt.Errorf("reading %s: %w", m, err)
	}
	return generation, nil
}

// CachedListeners returns what all CPUs keep of the listeners of a family,
// current or not, sorted by key and CPU. A CPU that writes an entry while it is
// read may show a mixture of old and new.
func (t *Tables) CachedListeners(f Family) ([]CachedListener, error) {
	var rows []CachedListener
	err := t.readCached(f, func(c CachedListener) { rows = append(rows, c) })
	if err != nil {
		return nil, err
	}
	// Only now: the other way round, what a CPU looked up in between would
	// seem to be from another time.
	now, err := t.ListenerGeneration()
	if err != nil {
		return nil, err
	}
	for i := range rows {
		rows[i].Current = rows[i].Generation == now
	}
	slices.SortFunc(rows, func(a, b CachedListener) int {
		return cmp.Or(a.Key.Compare(b.Key), cmp.Compare(a.CPU, b.CPU))
	})
	return rows, nil
}

// mostCached returns how many current entries the CPU has that has most of
// them.
func (t *Tables) mostCached(f Family) (uint32, error) {
	now, err := t.ListenerGeneration()
	if err != nil {
		return 0, err
	}
	var most uint32
	current := make(map[int]uint32) // by CPU
	err = t.readCached(f, func(c CachedListener) {
		if c.Generation == now {
			current[c.CPU]++
			most = max(most, current[c.CPU])
		}
	})
	return most, err
}

// readCached calls fn for each entry of a family's cache that some CPU has
// filled. It does not know which are current.
func (t *Tables) readCached(f Family, fn func(CachedListener)) error {
	if f == IPv4 {
		return readCache(t.maps.ListenerCache4, decodeCached4, fn)
	}
	return readCache(t.maps.ListenerCache6, decodeCached6, fn)
}

func readCache[V any](m *ebpf.Map, decode func(V) CachedListener, fn func(CachedListener)) error {
	return readCPUs(m, m.MaxEntries(), func(values []V) {
		for cpu, v := range values {
			if c := decode(v); c.Generation != 0 { // no CPU fills an entry with 0
				c.CPU = cpu
				fn(c)
			}
		}
	})
}
