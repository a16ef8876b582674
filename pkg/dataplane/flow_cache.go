// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"
	"unsafe"
)

// CachedFlow is the record of a flow that a CPU keeps since it looked it up.
type CachedFlow struct {
	CPU        int
	Flow       Flow   // but for when it was last seen
	Generation uint32 // the present one when the CPU looked it up
	Current    bool   // it still is: packets on that CPU go by it
}

// dropFlowCaches makes all CPUs look records up again. It comes after a change of
// records or of their clock. Packets count up as well, so that it is an addition
// in the kernel's memory.
func (t *Tables) dropFlowCaches() error {
	return window(t.maps.FlowGeneration, 0, 1, true, func(words []uint32) { atomic.AddUint32(&words[0], 1) })
}

// FlowGeneration returns the number that goes up after each change of a record,
// and with it all that the CPUs keep of records is not used any more.
func (t *Tables) FlowGeneration() (uint32, error) {
	m, key := t.maps.FlowGeneration, uint32(0)
	var generation uint32
	if err := m.Lookup(&key, &generation); err != nil {
		return 0, fmt.Errorf("reading %s: %w", m, err)
	}
	return generation, nil
}

// CachedFlows returns what all CPUs keep of records, current or not, sorted by
// flow and CPU. A CPU that writes an entry while it is read may show a mixture of
// old and new.
func (t *Tables) CachedFlows() ([]CachedFlow, error) {
	var rows []CachedFlow
	if err := t.readFlowCache(func(c CachedFlow) { rows = append(rows, c) }); err != nil {
		return nil, err
	}
	now, err := t.FlowGeneration() // after the rows, as in CachedListeners
	if err != nil {
		return nil, err
	}
	for i := range rows {
		rows[i].Current = rows[i].Generation == now
	}
	slices.SortFunc(rows, func(a, b CachedFlow) int {
		return cmp.Or(a.Flow.ID.compare(&b.Flow.ID), cmp.Compare(a.CPU, b.CPU))
	})
	return rows, nil
}

// mostCachedFlows returns how many current records the CPU keeps that has most of
// them.
func (t *Tables) mostCachedFlows() (most uint32, err error) {
	now, err := t.FlowGeneration()
	if err != nil {
		return 0, err
	}
	current := make(map[int]uint32) // by CPU
	err = t.readFlowCache(func(c CachedFlow) {
		if c.Generation == now {
			current[c.CPU]++
			most = max(most, current[c.CPU])
		}
	})
	return most, err
}

func (t *Tables) readFlowCache(fn func(CachedFlow)) error {
	m := t.maps.FlowCache
	return readCPUs(m, m.MaxEntries(), func(values []weirFlowCache) {
		for cpu := range values {
			if c, ok := decodeCachedFlow(&values[cpu]); ok {
				c.CPU = cpu
				fn(c)
			}
		}
	})
}

// decodeCachedFlow returns what an entry holds, false if that is nothing.
func decodeCachedFlow(v *weirFlowCache) (c CachedFlow, ok bool) {
	f := &c.Flow
	f.Listener, f.Hash, f.Backend, c.Generation = v.Listener, v.Hash, v.Backend, v.Generation
	switch uintptr(v.KeySize) {
	case unsafe.Sizeof(weirFlow4Key{}):
		*f.ID.key4() = *(*weirFlow4Key)(unsafe.Pointer(&v.Key))
	case unsafe.Sizeof(weirFlow6Key{}):
		f.ID = FlowID{key: v.Key, ipv6: true}
	default:
		return c, false
	}
	return c, true
}

// compare orders IPv4 before IPv6, and then as the kernel has the keys.
func (id *FlowID) compare(o *FlowID) int {
	if id.ipv6 != o.ipv6 {
		if id.ipv6 {
			return 1
		}
		return -1
	}
	return bytes.Compare(id.bytes(), o.bytes())
}

func (id *FlowID) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&id.key)), unsafe.Sizeof(id.key))
}
