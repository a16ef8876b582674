// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/maglev"
)

// Flow is the 5-tuple of what a client sends to a listener.
type Flow struct {
	Src, Dst netip.AddrPort
	Protocol lb.Protocol
}

// String returns the flow as "tcp 192.0.2.1:40000 > 203.0.113.10:443".
func (f Flow) String() string { return fmt.Sprintf("%s %s > %s", f.Protocol, f.Src, f.Dst) }

// Record says on which backend a flow is.
type Record struct {
	Listener uint32 // its ID
	Backend  uint16 // of the listener's pool
	Seen     uint32 // when the last packet came, in milliseconds of Config.Clock
	Hash     uint32 // upper half of the hash that chose the slot
	Closing  bool   // a FIN or RST has been seen
}

// Slot returns the index of the record's slot in a table of size slots.
func (r Record) Slot(size int) int { return int(maglev.Slot(uint64(r.Hash)<<32, uint32(size))) }

// FlowRecord is a flow with its record.
type FlowRecord struct {
	Flow   Flow
	Record Record
}

// Records returns all records, sorted by client, destination and protocol; IPv4
// comes before IPv6.
func (c *Config) Records() []FlowRecord {
	records := make([]FlowRecord, 0, len(c.Flows))
	for f, r := range c.Flows {
		records = append(records, FlowRecord{f, r})
	}
	slices.SortFunc(records, func(a, b FlowRecord) int {
		return cmp.Or(
			a.Flow.Src.Compare(b.Flow.Src), a.Flow.Dst.Compare(b.Flow.Dst), cmp.Compare(a.Flow.Protocol, b.Flow.Protocol),
		)
	})
	return records
}

// Expire removes the records of a listener whose last packet came more than age
// milliseconds ago. It returns how many they were.
func (c *Config) Expire(listener, age uint32) int {
	before := len(c.Flows)
	maps.DeleteFunc(c.Flows, func(_ Flow, r Record) bool {
		return r.Listener == listener && c.Clock-r.Seen > age // also when the clock has wrapped
	})
	return before - len(c.Flows)
}

// record returns the record of the packet's flow. One that another listener
// left, which had the address and port before, is none.
func (m *moving) record() (Record, bool) {
	r, found := m.config.Flows[m.flow]
	return r, found && r.Listener == m.listener.ID
}

// refresh writes a record that was found.
func (m *moving) refresh(r Record) {
	r.Seen, r.Hash = m.config.Clock, m.hash
	m.config.Flows[m.flow] = r
}

// putRecord writes a record that was not found, and reports whether there was
// room for it.
func (m *moving) putRecord(backend uint16) bool {
	if _, replaced := m.config.Flows[m.flow]; !replaced && m.config.flowTableFull(m.flow) {
		return false
	}
	if m.config.Flows == nil {
		m.config.Flows = make(map[Flow]Record)
	}
	m.config.Flows[m.flow] = Record{
		Listener: m.listener.ID, Backend: backend, Seen: m.config.Clock, Hash: m.hash, Closing: m.packet.ends(),
	}
	return true
}

// flowTableFull reports whether as many flows of the family of f have records
// as can.
func (c *Config) flowTableFull(f Flow) bool {
	if len(c.Flows) < c.FlowLimit {
		return false // whatever their families
	}
	n := 0
	for other := range c.Flows {
		if other.Src.Addr().Is4() == f.Src.Addr().Is4() {
			n++
		}
	}
	return n >= c.FlowLimit
}
