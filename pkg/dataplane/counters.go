// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// ListenerTraffic counts what became of the packets of a listener.
type ListenerTraffic struct {
	Forwarded Traffic
	Dropped   Traffic
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

// BackendCounters returns the traffic of backends by counter, from 0 to n-1.
func (t *Tables) BackendCounters(n uint32) ([]Traffic, error) {
	return sumCPUs(t.maps.BackendCounters, n, addTraffic)
}

// ResetListenerCounter sets the counters of a listener to zero.
func (t *Tables) ResetListenerCounter(id uint32) error {
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

// readCPUs calls fn for each of the entries 0 to n-1 of a per-CPU array, in
// that order, with its values by the number of the CPU. They are fn's until it
// returns.
func readCPUs[V any](m *ebpf.Map, n uint32, fn func(values []V)) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("counting CPUs: %w", err)
	}
	size := min(n, readBatch)
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
