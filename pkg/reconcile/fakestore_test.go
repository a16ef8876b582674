// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
)

// newStore makes empty tables of the given sizes.
type newStore func(t testing.TB, limits dataplane.Limits) Store

// fakeStore is the tables in memory, with their sizes.
type fakeStore struct {
	mu        sync.Mutex
	limits    dataplane.Limits
	listeners map[dataplane.ListenerKey]dataplane.Listener
	vips      map[netip.Addr]dataplane.VIP
	names     map[dataplane.NameKey]string
	backends  []dataplane.Backend
	slots     []dataplane.Slot
	oldTables map[uint32]dataplane.OldTable
	flows     map[dataplane.FlowID]dataplane.Flow
	embryonic []uint32 // stamps
	clock     uint32
	newFlows  map[uint32]uint64 // counted, by listener
}

func newFakeStore(_ testing.TB, limits dataplane.Limits) Store {
	return &fakeStore{
		limits:    limits,
		listeners: make(map[dataplane.ListenerKey]dataplane.Listener),
		vips:      make(map[netip.Addr]dataplane.VIP),
		names:     make(map[dataplane.NameKey]string),
		backends:  make([]dataplane.Backend, limits.Backends),
		slots:     make([]dataplane.Slot, limits.Slots),
		oldTables: make(map[uint32]dataplane.OldTable),
		flows:     make(map[dataplane.FlowID]dataplane.Flow),
		newFlows:  make(map[uint32]uint64),
	}
}

// put is an insertion into a hash map that holds limit entries.
func put[K comparable, V any](s *fakeStore, m map[K]V, limit uint32, k K, v V) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := m[k]; !ok && len(m) >= int(limit) {
		return fmt.Errorf("no room for %v", k)
	}
	m[k] = v
	return nil
}

func remove[K comparable, V any](s *fakeStore, m map[K]V, k K) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(m, k)
	return nil
}

func read[K comparable, V any](s *fakeStore, m map[K]V) (map[K]V, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(m), nil
}

func (s *fakeStore) Limits() dataplane.Limits { return s.limits }

func (s *fakeStore) Listeners() (map[dataplane.ListenerKey]dataplane.Listener, error) {
	return read(s, s.listeners)
}

func (s *fakeStore) PutListener(k dataplane.ListenerKey, l dataplane.Listener) error {
	family := make(map[dataplane.ListenerKey]dataplane.Listener)
	all, _ := s.Listeners()
	for key, l := range all {
		if key.Address.Is4() == k.Address.Is4() {
			family[key] = l
		}
	}
	if err := put(s, family, s.limits.Listeners, k, l); err != nil {
		return err
	}
	return put(s, s.listeners, 2*s.limits.Listeners, k, l)
}

func (s *fakeStore) DeleteListener(k dataplane.ListenerKey) error { return remove(s, s.listeners, k) }

func (s *fakeStore) VIPs() (map[netip.Addr]dataplane.VIP, error) { return read(s, s.vips) }

func (s *fakeStore) PutVIP(a netip.Addr, v dataplane.VIP) error {
	return put(s, s.vips, s.limits.Listeners, a, v)
}

func (s *fakeStore) DeleteVIP(a netip.Addr) error { return remove(s, s.vips, a) }

func (s *fakeStore) Names() (map[dataplane.NameKey]string, error) { return read(s, s.names) }

func (s *fakeStore) PutName(k dataplane.NameKey, name string) error {
	return put(s, s.names, s.limits.Backends+s.limits.Listeners, k, name)
}

func (s *fakeStore) DeleteName(k dataplane.NameKey) error { return remove(s, s.names, k) }

func (s *fakeStore) Backends(first, n uint32) ([]dataplane.Backend, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if uint64(first)+uint64(n) > uint64(len(s.backends)) {
		return nil, fmt.Errorf("entries %d to %d are out of range", first, first+n)
	}
	return append([]dataplane.Backend(nil), s.backends[first:first+n]...), nil
}

func (s *fakeStore) PutBackend(index uint32, b dataplane.Backend) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backends[index] = b
	return nil
}

func (s *fakeStore) ReadSlots(first uint32, slots []dataplane.Slot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(first)+len(slots) > len(s.slots) || first%dataplane.SlotsPerLine != 0 {
		return fmt.Errorf("slots %d to %d are out of range", first, int(first)+len(slots))
	}
	copy(slots, s.slots[first:])
	return nil
}

func (s *fakeStore) WriteSlots(first, size uint32, changes []dataplane.SlotChange) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		if c.Index >= size {
			return fmt.Errorf("slot %d of %d is out of range", c.Index, size)
		}
		s.slots[first+c.Index] = c.Slot
	}
	return nil
}

func (s *fakeStore) OldTable(id uint32) (dataplane.OldTable, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.oldTables[id], nil
}

func (s *fakeStore) PutOldTable(id uint32, old dataplane.OldTable) error {
	return put(s, s.oldTables, s.limits.Listeners, id, old)
}

func (s *fakeStore) FlowClock() (uint32, error) { return s.clock, nil }

func (s *fakeStore) SetFlowClock(now uint32) error {
	s.clock = now
	return nil
}

// PutFlow is what packets do.
func (s *fakeStore) PutFlow(f dataplane.Flow) error {
	return put(s, s.flows, 1<<20, f.ID, f)
}

func (s *fakeStore) ScanFlows(fn func([]dataplane.Flow) error) error {
	all, err := read(s, s.flows)
	if err != nil {
		return err
	}
	for _, flow := range all {
		if err := fn([]dataplane.Flow{flow}); err != nil {
			return err
		}
	}
	return nil
}

func (s *fakeStore) DeleteFlows(ids []dataplane.FlowID) error {
	for _, id := range ids {
		if err := remove(s, s.flows, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *fakeStore) SweepEmbryonic(now uint32, age time.Duration) (uint32, error) {
	s.embryonic = slices.DeleteFunc(s.embryonic, func(stamp uint32) bool {
		return time.Duration(now-stamp)*time.Millisecond > age+dataplane.EmbryonicUnit
	})
	return uint32(len(s.embryonic)), nil
}

func (s *fakeStore) TrackingCounters(n uint32) ([]dataplane.TrackingTraffic, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]dataplane.TrackingTraffic, n)
	for id := range out {
		out[id].New = s.newFlows[uint32(id)]
	}
	return out, nil
}

func (s *fakeStore) ResetListenerCounter(id uint32) error {
	if id >= s.limits.Listeners {
		return fmt.Errorf("no counter %d of listeners", id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.newFlows, id)
	return nil
}

func (s *fakeStore) ResetBackendCounter(id uint32) error {
	if id >= s.limits.Backends {
		return fmt.Errorf("no counter %d of backends", id)
	}
	return nil
}
