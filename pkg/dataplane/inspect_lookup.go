// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// LookupListener returns the entry of one address of a listener, if it is
// there.
func (t *Tables) LookupListener(k ListenerKey) (l Listener, ok bool, err error) {
	m, key := t.listenerEntry(k)
	var value weirListener
	if ok, err = lookup(m, key, &value); !ok {
		return Listener{}, false, err
	}
	return decodeListener(value), true, nil
}

// LookupVIP returns the entry of an address of a balancer, if it is there.
func (t *Tables) LookupVIP(addr netip.Addr) (v VIP, ok bool, err error) {
	key := weirVipKey{Address: toBE(addr)}
	var value weirVip
	if ok, err = lookup(t.maps.Vips, &key, &value); !ok {
		return VIP{}, false, err
	}
	return decodeVIP(value), true, nil
}

// LookupName returns a label, if it is there.
func (t *Tables) LookupName(k NameKey) (name string, ok bool, err error) {
	key := weirNameKey{Kind: uint32(k.Kind), Id: k.ID}
	var value weirName
	if ok, err = lookup(t.maps.Names, &key, &value); !ok {
		return "", false, err
	}
	return decodeName(value), true, nil
}

// LookupListenerCounter returns the traffic of the listener of an identifier.
// It is not ok for one that the map does not hold.
func (t *Tables) LookupListenerCounter(id uint32) (c ListenerTraffic, ok bool, err error) {
	var values []weirListenerCounter
	ok, err = lookup(t.maps.ListenerCounters, &id, &values)
	for _, v := range values {
		addListenerTraffic(&c, v)
	}
	return c, ok, err
}

// LookupBackendCounter returns the traffic of the backend of a counter. It is
// not ok for one that the map does not hold.
func (t *Tables) LookupBackendCounter(id uint32) (c Traffic, ok bool, err error) {
	var values []weirTraffic
	ok, err = lookup(t.maps.BackendCounters, &id, &values)
	for _, v := range values {
		addTraffic(&c, v)
	}
	return c, ok, err
}

func addListenerTraffic(sum *ListenerTraffic, cpu weirListenerCounter) {
	sum.Forwarded = sum.Forwarded.Add(traffic(cpu.Forwarded))
	sum.Dropped = sum.Dropped.Add(traffic(cpu.Dropped))
}

// lookup reads one entry of a map.
func lookup(m *ebpf.Map, key, value any) (ok bool, err error) {
	err = m.Lookup(key, value)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", m, err)
	}
	return true, nil
}
