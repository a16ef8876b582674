// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
)

// Tables reads and writes the maps that say what becomes of packets. It is
// safe for concurrent use; each write is atomic for packets.
type Tables struct {
	maps       weirMaps
	writes     atomic.Uint64
	generation sync.Mutex  // held while listener_generation goes up
	stale      atomic.Bool // it had to go up and did not
}

// Close releases the maps; pinned, they stay in the kernel.
func (t *Tables) Close() error { return t.maps.Close() }

// Writes returns how many entries and slots were written so far.
func (t *Tables) Writes() uint64 { return t.writes.Load() }

// Limits returns the sizes of the maps as they are.
func (t *Tables) Limits() Limits {
	return Limits{
		Listeners: t.maps.Listeners4.MaxEntries(),
		Backends:  t.maps.Backends.MaxEntries(),
		Slots:     t.maps.Slots.MaxEntries() * SlotsPerLine,
		Flows:     t.maps.Flows4.MaxEntries(),
	}
}

// Listeners returns all entries, one for each address of a listener.
func (t *Tables) Listeners() (map[ListenerKey]Listener, error) {
	// Who reads what there is to know what is left to do finds a listener here
	// whose change the caches may have missed.
	if err := t.catchUp(); err != nil {
		return nil, err
	}
	out := make(map[ListenerKey]Listener)
	err := readAll(t.maps.Listeners4, func(k weirListener4Key, v weirListener) {
		out[decodeKey4(k)] = decodeListener(v)
	})
	if err != nil {
		return nil, err
	}
	err = readAll(t.maps.Listeners6, func(k weirListener6Key, v weirListener) {
		out[decodeKey6(k)] = decodeListener(v)
	})
	return out, err
}

// listenerEntry returns the map of a key's family and the key as it holds it.
func (t *Tables) listenerEntry(k ListenerKey) (*ebpf.Map, any) {
	if k.Address.Is4() {
		key := encodeKey4(k)
		return t.maps.Listeners4, &key
	}
	key := encodeKey6(k)
	return t.maps.Listeners6, &key
}

// PutListener writes the entry of one address of a listener.
func (t *Tables) PutListener(k ListenerKey, l Listener) error {
	m, key := t.listenerEntry(k)
	value := encodeListener(l)
	if err := t.put(m, key, &value); err != nil {
		return err
	}
	return t.dropCaches()
}

// DeleteListener removes the entry of one address of a listener.
func (t *Tables) DeleteListener(k ListenerKey) error {
	m, key := t.listenerEntry(k)
	if err := t.delete(m, key); err != nil {
		return err
	}
	return t.dropCaches()
}

// dropCaches makes all CPUs look the listeners up again. It comes after each
// change of them; what a CPU has from before is not used any more. If it cannot,
// the next write does it first. What the CPUs keep of records goes too: under
// another algorithm they fall into other slots, and are to say so.
func (t *Tables) dropCaches() error {
	t.generation.Lock()
	defer t.generation.Unlock()
	err := errors.Join(t.nextGeneration(), t.dropFlowCaches())
	t.stale.Store(err != nil)
	return err
}

// catchUp does what dropCaches could not do before.
func (t *Tables) catchUp() error {
	if !t.stale.Load() {
		return nil
	}
	return t.dropCaches()
}

func (t *Tables) nextGeneration() error {
	generation, err := t.ListenerGeneration()
	if err != nil {
		return err
	}
	if generation++; generation == 0 { // an empty entry of a cache has 0
		generation = 1
	}
	m, key := t.maps.ListenerGeneration, uint32(0)
	if err := m.Put(&key, &generation); err != nil {
		return fmt.Errorf("writing to %s: %w", m, err)
	}
	return nil
}

// VIPs returns the addresses of all balancers.
func (t *Tables) VIPs() (map[netip.Addr]VIP, error) {
	out := make(map[netip.Addr]VIP)
	err := readAll(t.maps.Vips, func(k weirVipKey, v weirVip) {
		out[fromBE(k.Address)] = decodeVIP(v)
	})
	return out, err
}

// PutVIP writes an address of a balancer.
func (t *Tables) PutVIP(addr netip.Addr, v VIP) error {
	key, value := weirVipKey{Address: toBE(addr)}, encodeVIP(v)
	return t.put(t.maps.Vips, &key, &value)
}

// DeleteVIP removes an address of a balancer.
func (t *Tables) DeleteVIP(addr netip.Addr) error {
	key := weirVipKey{Address: toBE(addr)}
	return t.delete(t.maps.Vips, &key)
}

// Names returns the labels of balancers and backends.
func (t *Tables) Names() (map[NameKey]string, error) {
	out := make(map[NameKey]string)
	err := readAll(t.maps.Names, func(k weirNameKey, v weirName) {
		out[NameKey{Kind: NameKind(k.Kind), ID: k.Id}] = decodeName(v)
	})
	return out, err
}

// PutName writes a label of at most NameMax bytes.
func (t *Tables) PutName(k NameKey, name string) error {
	key := weirNameKey{Kind: uint32(k.Kind), Id: k.ID}
	value, err := encodeName(name)
	if err != nil {
		return err
	}
	return t.put(t.maps.Names, &key, &value)
}

// DeleteName removes a label.
func (t *Tables) DeleteName(k NameKey) error {
	key := weirNameKey{Kind: uint32(k.Kind), Id: k.ID}
	return t.delete(t.maps.Names, &key)
}

// Backends reads n entries from index first on.
func (t *Tables) Backends(first, n uint32) ([]Backend, error) {
	out := make([]Backend, n)
	per := len(backendWords{})
	err := window(t.maps.Backends, first, n, false, func(words []uint64) {
		for i := range out {
			var entry backendWords
			for j := range entry {
				entry[j] = atomic.LoadUint64(&words[i*per+j])
			}
			out[i] = decodeBackend(entry.backend())
		}
	})
	return out, err
}

// PutBackend writes one entry; the zero Backend empties it. An entry that
// packets may be reading changes word by word, so that each field is either
// old or new; the word that makes it a backend is the first to go and the last
// to come.
func (t *Tables) PutBackend(index uint32, b Backend) error {
	if err := t.catchUp(); err != nil {
		return err
	}
	var now weirBackend
	if err := t.maps.Backends.Lookup(&index, &now); err != nil {
		return fmt.Errorf("reading entry %d of %s: %w", index, t.maps.Backends, err)
	}
	next := encodeBackend(b)
	if now.Forward == uint8(weirForwardFORWARD_NONE) {
		return t.put(t.maps.Backends, &index, &next)
	}
	words := next.words()
	return window(t.maps.Backends, index, 1, true, func(entry []uint64) {
		t.writes.Add(1)
		if next.Forward == uint8(weirForwardFORWARD_NONE) {
			atomic.StoreUint64(&entry[forwardWord], words[forwardWord])
		}
		for i, w := range words {
			if uintptr(i) != forwardWord {
				atomic.StoreUint64(&entry[i], w)
			}
		}
		atomic.StoreUint64(&entry[forwardWord], words[forwardWord])
	})
}

// ReadSlots reads len(slots) slots from index first on, a multiple of
// SlotsPerLine.
func (t *Tables) ReadSlots(first uint32, slots []Slot) error {
	return window(t.maps.Slots, first/SlotsPerLine, lines(uint32(len(slots))), false, func(words []uint32) {
		for i := range slots {
			slots[i] = decodeSlot(atomic.LoadUint32(&words[i]))
		}
	})
}

// WriteSlots writes slots of a listener whose first slot is first and that has
// size of them. Each slot changes at once, one after the other.
func (t *Tables) WriteSlots(first, size uint32, changes []SlotChange) error {
	if err := t.catchUp(); err != nil {
		return err
	}
	return window(t.maps.Slots, first/SlotsPerLine, lines(size), true, func(words []uint32) {
		for _, c := range changes {
			atomic.StoreUint32(&words[c.Index], encodeSlot(c.Slot))
		}
		t.writes.Add(uint64(len(changes)))
	})
}

// lines returns how many lines n slots take.
func lines(n uint32) uint32 { return (n + SlotsPerLine - 1) / SlotsPerLine }

func (t *Tables) put(m *ebpf.Map, key, value any) error {
	if err := t.catchUp(); err != nil {
		return err
	}
	t.writes.Add(1)
	if err := m.Put(key, value); err != nil {
		return fmt.Errorf("writing to %s: %w", m, err)
	}
	return nil
}

func (t *Tables) delete(m *ebpf.Map, key any) error {
	if err := t.catchUp(); err != nil {
		return err
	}
	t.writes.Add(1)
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("deleting from %s: %w", m, err)
	}
	return nil
}

// readBatch is how many entries one system call reads.
const readBatch = 4096

// readAll calls fn for every entry of a hash map.
func readAll[K, V any](m *ebpf.Map, fn func(K, V)) error {
	keys, values := make([]K, readBatch), make([]V, readBatch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			fn(keys[i], values[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", m, err)
		}
	}
}
