// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"testing"

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
}

func newFakeStore(_ testing.TB, limits dataplane.Limits) Store {
	return &fakeStore{
		limits:    limits,
		listeners: make(map[dataplane.ListenerKey]dataplane.Listener),
		vips:      make(map[netip.Addr]dataplane.VIP),
		names:     make(map[dataplane.NameKey]string),
		backends:  make([]dataplane.Backend, limits.Backends),
		slots:     make([]dataplane.Slot, limits.Slots),
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

func (s *fakeStore) ResetListenerCounter(id uint32) error {
	if id >= s.limits.Listeners {
		return fmt.Errorf("no counter %d of listeners", id)
	}
	return nil
}

func (s *fakeStore) ResetBackendCounter(id uint32) error {
	if id >= s.limits.Backends {
		return fmt.Errorf("no counter %d of backends", id)
	}
	return nil
}
