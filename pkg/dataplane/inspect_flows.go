// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"sync/atomic"
	"time"
)

// FlowCounts says how many records of flows there are.
type FlowCounts struct {
	Flows4, Flows6 uint32 // by family
	Embryonic      uint32
}

// CountFlows counts the records of flows. It reads all of them: with a million
// that takes a good part of a second.
func (t *Tables) CountFlows() (c FlowCounts, err error) {
	err = t.ScanFlows(func(batch []Flow) error {
		for i := range batch {
			if batch[i].ID.IPv6() {
				c.Flows6++
			} else {
				c.Flows4++
			}
		}
		return nil
	})
	if err != nil {
		return FlowCounts{}, err
	}
	c.Embryonic, err = t.Embryonic()
	return c, err
}

// LookupFlow returns the record of a flow, if there is one.
func (t *Tables) LookupFlow(id FlowID) (f Flow, ok bool, err error) {
	var value weirFlow
	if id.ipv6 {
		ok, err = lookup(t.maps.Flows6, &id.key, &value)
	} else {
		ok, err = lookup(t.maps.Flows4, id.key4(), &value)
	}
	if !ok {
		return Flow{}, false, err
	}
	f.ID = id
	decodeFlow(&f, value)
	return f, true, nil
}

// EmbryonicRecord is the record of a flow of which only SYNs were seen. It does
// not say which flow that is, nor the listener whose pool the backend is of.
type EmbryonicRecord struct {
	Index   uint32        // in the array: the lower bits of a hash of the flow
	Tag     uint64        // the upper bits of that hash
	Backend uint16        // index in a pool
	Age     time.Duration // since its last SYN, in units of EmbryonicUnit and modulo 256 of them
}

// EmbryonicRecords returns all embryonic records, sorted by index.
func (t *Tables) EmbryonicRecords() (records []EmbryonicRecord, err error) {
	now, err := t.FlowClock()
	if err != nil {
		return nil, err
	}
	err = window(t.maps.Embryonic, 0, t.maps.Embryonic.MaxEntries(), false, func(words []uint64) {
		for i := range words {
			if word := atomic.LoadUint64(&words[i]); word != 0 {
				records = append(records, decodeEmbryonic(uint32(i), word, now))
			}
		}
	})
	return records, err
}

// LookupEmbryonic returns the embryonic record of an index, if there is one.
func (t *Tables) LookupEmbryonic(index uint32) (r EmbryonicRecord, ok bool, err error) {
	var word uint64
	if ok, err = lookup(t.maps.Embryonic, &index, &word); !ok || word == 0 {
		return r, false, err
	}
	now, err := t.FlowClock()
	if err != nil {
		return r, false, err
	}
	return decodeEmbryonic(index, word, now), true, nil
}

// decodeEmbryonic is enum embryonic_bits of bpf/lib/types.h read backwards. now
// is the time by FlowClock.
func decodeEmbryonic(index uint32, word uint64, now uint32) EmbryonicRecord {
	stamp := uint8(word >> weirEmbryonicBitsEMBRYONIC_STAMP_SHIFT)
	unit := uint8(now >> weirEmbryonicBitsEMBRYONIC_STAMP_UNIT_BITS)
	return EmbryonicRecord{
		Index:   index,
		Tag:     word >> weirEmbryonicBitsEMBRYONIC_TAG_SHIFT,
		Backend: uint16(word & uint64(weirSlotBitsSLOT_BACKEND_MASK)),
		Age:     time.Duration(unit-stamp) * EmbryonicUnit,
	}
}
