// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
)

// ListenerTraffic counts what became of the packets of a listener.
type ListenerTraffic struct {
	Forwarded Traffic
	Dropped   Traffic
}

// TrackingTraffic counts the packets of a listener whose slots were not steady,
// by what decided on their backend.
type TrackingTraffic struct {
	New      uint64            `json:"new"`      // first packets of flows
	Record   uint64            `json:"record"`   // the record of their flow
	Previous uint64            `json:"previous"` // where their slot led before
	Current  uint64            `json:"current"`  // where it leads now, as the other is unusable
	Broken   [brokenMax]uint64 `json:"-"`        // of Current, those of known flows, by Unusable
	Overflow uint64            `json:"overflow"` // records that found no room
}

const brokenMax = len(weirTrackingCounter{}.Broken)

// BrokenTotal returns how many packets of known flows had to change backends.
func (t *TrackingTraffic) BrokenTotal() (n uint64) {
	for _, b := range t.Broken {
		n += b
	}
	return n
}

// Add returns the sum of two counts.
func (t TrackingTraffic) Add(o TrackingTraffic) TrackingTraffic {
	t.New += o.New
	t.Record += o.Record
	t.Previous += o.Previous
	t.Current += o.Current
	t.Overflow += o.Overflow
	for i, b := range o.Broken {
		t.Broken[i] += b
	}
	return t
}

// ReasonCounters returns the traffic of each reason, by the reason's number.
func (t *Tables) ReasonCounters() ([]Traffic, error) {
	return sumCPUs(t.maps.ReasonCounters, uint32(weirReasonREASON_MAX), addTraffic)
}

// ListenerCounters returns the traffic of listeners 0 to n-1 by identifier.
func (t *Tables) ListenerCounters(n uint32) ([]ListenerTraffic, error) {
	add := func(sum *ListenerTraffic, cpu weirListenerCounter) {
		sum.Forwarded = sum.Forwarded.Add(traffic(cpu.Forwarded))
		sum.Dropped = sum.Dropped.Add(traffic(cpu.Dropped))
	}
	return sumCPUs(t.maps.ListenerCounters, n, add)
}

// TrackingCounters returns the tracking of listeners 0 to n-1 by identifier.
func (t *Tables) TrackingCounters(n uint32) ([]TrackingTraffic, error) {
	add := func(sum *TrackingTraffic, cpu weirTrackingCounter) { *sum = sum.Add(decodeTracking(cpu)) }
	return sumCPUs(t.maps.TrackingCounters, n, add)
}

// BackendCounters returns the traffic of backends by counter, from 0 to n-1.
func (t *Tables) BackendCounters(n uint32) ([]Traffic, error) {
	return sumCPUs(t.maps.BackendCounters, n, addTraffic)
}

// ResetListenerCounter sets the counters of a listener to zero.
func (t *Tables) ResetListenerCounter(id uint32) error {
	if err := resetCounter[weirTrackingCounter](t, t.maps.TrackingCounters, id); err != nil {
		return err
	}
	return resetCounter[weirListenerCounter](t, t.maps.ListenerCounters, id)
}

// ResetBackendCounter sets the counters of a backend to zero.
func (t *Tables) ResetBackendCounter(id uint32) error {
	return resetCounter[weirTraffic](t, t.maps.BackendCounters, id)
}

func addTraffic(sum *Traffic, cpu weirTraffic) { *sum = sum.Add(traffic(cpu)) }

// resetCounter writes zeros if there is anything else.
func resetCounter[V comparable](t *Tables, m *ebpf.Map, id uint32) error {
	var values []V
	if err := m.Lookup(&id, &values); err != nil {
		return fmt.Errorf("reading entry %d of %s: %w", id, m, err)
	}
	var zero V
	for _, v := range values {
		if v != zero {
			return t.put(m, &id, make([]V, len(values)))
		}
	}
	return nil
}

// sumCPUs reads entries 0 to n-1 of a per-CPU array and sums each over the
// CPUs.
func sumCPUs[V, S any](m *ebpf.Map, n uint32, add func(*S, V)) ([]S, error) {
	sums := make([]S, 0, n)
	err := readCPUs(m, n, func(values []V) {
		var sum S
		for _, v := range values {
			add(&sum, v)
		}
		sums = append(sums, sum)
	})
	return sums, err
}

// readBytes is how many bytes of values one system call reads of a per-CPU array
// at most: of many CPUs, a batch of entries would take tens of megabytes.
const readBytes = 1 << 20

// readCPUs calls fn for each of the entries 0 to n-1 of a per-CPU array, in
// that order, with its values by the number of the CPU. They are fn's until it
// returns.
func readCPUs[V any](m *ebpf.Map, n uint32, fn func(values []V)) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("counting CPUs: %w", err)
	}
	var one V
	size := min(n, readBatch, max(1, readBytes/uint32(cpus)/uint32(unsafe.Sizeof(one))))
	keys, values := make([]uint32, size), make([]V, int(size)*cpus)
	var cursor ebpf.MapBatchCursor
	for done := uint32(0); done < n; {
		read, err := m.BatchLookup(&cursor, keys, values, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("reading %s: %w", m, err)
		}
		for i := 0; i < read && done < n; i++ {
			fn(values[i*cpus : (i+1)*cpus])
			done++
		}
		if err != nil {
			break
		}
	}
	return nil
}
