// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/weirlb/weir/pkg/lb"
)

// FlowID names a flow: both addresses and ports, and the protocol. It is
// comparable, and kept as the kernel has it: who looks at a million flows wants
// the words of few.
type FlowID struct {
	key  weirFlow6Key // of an IPv4 flow, the first bytes are its weirFlow4Key
	ipv6 bool
}

// NewFlowID returns the name of the flow between a client and an address of a
// balancer, both of one family.
func NewFlowID(client, vip netip.AddrPort, p lb.Protocol) FlowID {
	ports := encodePorts(client.Port(), vip.Port())
	src, dst := toBE(client.Addr()), toBE(vip.Addr())
	if vip.Addr().Is4() {
		var id FlowID
		*id.key4() = weirFlow4Key{Saddr: src[3], Daddr: dst[3], Ports: ports, Protocol: uint8(p)}
		return id
	}
	return FlowID{key: weirFlow6Key{Saddr: src, Daddr: dst, Ports: ports, Protocol: uint8(p)}, ipv6: true}
}

func (id *FlowID) key4() *weirFlow4Key { return (*weirFlow4Key)(unsafe.Pointer(&id.key)) }

// IPv6 reports whether it is an IPv6 flow.
func (id *FlowID) IPv6() bool { return id.ipv6 }

// Client returns where the flow comes from.
func (id *FlowID) Client() netip.AddrPort {
	if !id.ipv6 {
		key := id.key4()
		client, _ := decodePorts(key.Ports)
		return netip.AddrPortFrom(fromBE4(key.Saddr), client)
	}
	client, _ := decodePorts(id.key.Ports)
	return netip.AddrPortFrom(fromBE(id.key.Saddr), client)
}

// VIP returns the address and the port of the balancer that the flow is to.
func (id *FlowID) VIP() netip.AddrPort {
	if !id.ipv6 {
		key := id.key4()
		_, vip := decodePorts(key.Ports)
		return netip.AddrPortFrom(fromBE4(key.Daddr), vip)
	}
	_, vip := decodePorts(id.key.Ports)
	return netip.AddrPortFrom(fromBE(id.key.Daddr), vip)
}

// Protocol returns the protocol of the flow.
func (id *FlowID) Protocol() lb.Protocol {
	if !id.ipv6 {
		return lb.Protocol(id.key4().Protocol)
	}
	return lb.Protocol(id.key.Protocol)
}

// Flow is the record of a flow.
type Flow struct {
	ID       FlowID
	Listener uint32 // identifier of its listener
	Hash     uint32 // upper half of the hash that chose its slot
	Seen     uint32 // FlowClock at its last packet, in milliseconds
	Backend  uint16 // index in the pool of the listener
	Closing  bool   // its client has sent FIN or RST
}

// ScanFlows calls fn with the records of all flows, some thousands at once. The
// slice is fn's until it returns. What is written or removed meanwhile may or
// may not be among them.
func (t *Tables) ScanFlows(fn func([]Flow) error) error {
	flows := make([]Flow, readBatch)
	err := scanFlows(t.maps.Flows4, flows, fn, func(f *Flow, k weirFlow4Key) {
		f.ID = FlowID{}
		*f.ID.key4() = k
	})
	if err != nil {
		return err
	}
	return scanFlows(t.maps.Flows6, flows, fn, func(f *Flow, k weirFlow6Key) {
		f.ID = FlowID{key: k, ipv6: true}
	})
}

func scanFlows[K any](m *ebpf.Map, flows []Flow, fn func([]Flow) error, setID func(*Flow, K)) error {
	keys, values := make([]K, len(flows)), make([]weirFlow, len(flows))
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("reading %s: %w", m, err)
		}
		for i := range n {
			decodeFlow(&flows[i], values[i])
			setID(&flows[i], keys[i])
		}
		if n > 0 {
			if err := fn(flows[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// DeleteFlows removes the records of flows; it is no error if some are not
// there.
func (t *Tables) DeleteFlows(ids []FlowID) error {
	var keys4 []weirFlow4Key
	var keys6 []weirFlow6Key
	for i := range ids {
		if ids[i].ipv6 {
			keys6 = append(keys6, ids[i].key)
		} else {
			keys4 = append(keys4, *ids[i].key4())
		}
	}
	t.writes.Add(uint64(len(ids)))
	return errors.Join(deleteAll(t.maps.Flows4, keys4), deleteAll(t.maps.Flows6, keys6), t.dropFlowCaches())
}

func deleteAll[K any](m *ebpf.Map, keys []K) error {
	for len(keys) > 0 {
		n, err := m.BatchDelete(keys, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("deleting from %s: %w", m, err)
		}
		if err == nil {
			return nil
		}
		keys = keys[min(n+1, len(keys)):] // the one that is missing ended the batch
	}
	return nil
}

// PutFlow writes the record of a flow.
func (t *Tables) PutFlow(f Flow) error {
	value := encodeFlow(f)
	var err error
	if f.ID.ipv6 {
		err = t.put(t.maps.Flows6, &f.ID.key, &value)
	} else {
		err = t.put(t.maps.Flows4, f.ID.key4(), &value)
	}
	return errors.Join(err, t.dropFlowCaches())
}

// FlowClock returns the time that records are stamped with, in milliseconds
// during which an agent was there.
func (t *Tables) FlowClock() (uint32, error) {
	var key, now uint32
	if err := t.maps.FlowClock.Lookup(&key, &now); err != nil {
		return 0, fmt.Errorf("reading %s: %w", t.maps.FlowClock, err)
	}
	return now, nil
}

// SetFlowClock sets the time that records are stamped with. Those of flows that
// live are stamped anew.
func (t *Tables) SetFlowClock(now uint32) error {
	var key uint32
	if err := t.maps.FlowClock.Put(&key, &now); err != nil {
		return fmt.Errorf("writing to %s: %w", t.maps.FlowClock, err)
	}
	return t.dropFlowCaches()
}

// OldTable returns the old table of a listener.
func (t *Tables) OldTable(listener uint32) (OldTable, error) {
	var old weirOldTable
	if err := t.maps.OldTables.Lookup(&listener, &old); err != nil {
		return OldTable{}, fmt.Errorf("reading entry %d of %s: %w", listener, t.maps.OldTables, err)
	}
	return decodeOldTable(old), nil
}

// PutOldTable writes the old table of a listener. It says nothing as long as the
// listener does not refer to it.
func (t *Tables) PutOldTable(listener uint32, old OldTable) error {
	value := encodeOldTable(old)
	return t.put(t.maps.OldTables, &listener, &value)
}
