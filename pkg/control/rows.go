// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"net"
	"net/netip"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// BalancerRow is a balancer in a listing.
type BalancerRow struct {
	Label     string            `json:"label"`
	Addresses []netip.Addr      `json:"addresses"`
	Listeners int               `json:"listeners"`
	Backends  int               `json:"backends"`
	Up        int               `json:"backends_up"`
	Forwarded dataplane.Traffic `json:"forwarded"`
	Dropped   dataplane.Traffic `json:"dropped"`
}

// ListenerRow is a listener in a listing.
type ListenerRow struct {
	Balancer  string            `json:"balancer"`
	Port      uint16            `json:"port"`
	Protocol  lb.Protocol       `json:"protocol"`
	Addresses []netip.Addr      `json:"addresses"`
	Algorithm lb.Algorithm      `json:"algorithm"`
	TableSize uint32            `json:"table_size"` // slots
	OnAllDown lb.OnAllDown      `json:"on_all_down"`
	Unsteady  uint32            `json:"slots_unsteady"` // whose flows are looked up
	Backends  int               `json:"backends"`
	Up        int               `json:"backends_up"`
	Forwarded dataplane.Traffic `json:"forwarded"`
	Dropped   dataplane.Traffic `json:"dropped"`
	Tracking  TrackingRow       `json:"tracking"`
}

// TrackingRow counts the packets of a listener whose slots were not steady, by
// what decided on their backend.
type TrackingRow struct {
	New      uint64 `json:"new"`      // first packets of flows: the newest table
	Record   uint64 `json:"record"`   // the record of their flow
	Previous uint64 `json:"previous"` // no record: where their slot led before
	Current  uint64 `json:"current"`  // where it leads now, as the other is unusable

	// Of Current, the packets of known flows that had to change backends, by
	// why they had to leave. Every reason is there.
	Broken   map[dataplane.Unusable]uint64 `json:"broken"`
	Overflow uint64                        `json:"overflow"` // packets that needed a record and found no room
}

// BrokenTotal returns how many packets of known flows had to change backends.
func (r TrackingRow) BrokenTotal() (n uint64) {
	for _, b := range r.Broken {
		n += b
	}
	return n
}

// Tracking returns the row of a listener's tracking.
func Tracking(t dataplane.TrackingTraffic) TrackingRow {
	row := TrackingRow{
		New: t.New, Record: t.Record, Previous: t.Previous, Current: t.Current,
		Broken: make(map[dataplane.Unusable]uint64), Overflow: t.Overflow,
	}
	for _, why := range dataplane.Unusables() {
		row.Broken[why] = t.Broken[why]
	}
	return row
}

// Key returns the name of the listener.
func (r ListenerRow) Key() lb.ListenerKey {
	return lb.ListenerKey{Balancer: r.Balancer, Port: r.Port, Protocol: r.Protocol}
}

// BackendRow is a backend of a listener in a listing.
type BackendRow struct {
	Balancer   string            `json:"balancer"`
	Port       uint16            `json:"port"`
	Protocol   lb.Protocol       `json:"protocol"`
	Label      string            `json:"label"`
	Address    netip.AddrPort    `json:"address"`
	Forward    lb.Forward        `json:"forward"`
	Weight     uint8             `json:"weight"`
	Mode       lb.Mode           `json:"mode"`       // that is in force
	Configured lb.Mode           `json:"configured"` // Mode was set by command if this differs
	Health     lb.Health         `json:"health"`
	Since      time.Time         `json:"since,omitzero"` // of that health; only an agent knows
	Problem    string            `json:"problem,omitempty"`
	Slots      uint32            `json:"slots"`      // that lead to the backend
	TableSize  uint32            `json:"table_size"` // slots of the listener
	Forwarded  dataplane.Traffic `json:"forwarded"`
	NextHop    *NextHopRow       `json:"next_hop,omitempty"` // absent while unknown

	// What changes with every check is for metrics, and not sent: two listings
	// of the same state are the same. nil without an agent.
	Check *CheckRow `json:"-"`
}

// Key returns the name of the listener that the backend belongs to.
func (r BackendRow) Key() lb.ListenerKey {
	return lb.ListenerKey{Balancer: r.Balancer, Port: r.Port, Protocol: r.Protocol}
}

// NextHopRow is where frames for a backend go first.
type NextHopRow struct {
	Interface string `json:"interface,omitempty"` // absent where there is none of that index
	Index     int    `json:"interface_index"`
	Source    string `json:"source_mac"`
	Dest      string `json:"dest_mac"`
	MTU       int    `json:"mtu"`
}

// CheckRow is what the checks of a backend did so far.
type CheckRow struct {
	Duration  time.Duration // of the last one
	Successes uint64
	Failures  uint64
}

// BalancerRows returns the balancers of a snapshot, sorted by label.
func BalancerRows(s *dataplane.Snapshot) []BalancerRow {
	rows := make([]BalancerRow, 0, len(s.Balancers))
	for _, b := range s.Balancers {
		rows = append(rows, BalancerRow{
			Label: b.Label, Addresses: addresses(b.Addresses),
			Listeners: b.Listeners, Backends: b.Backends, Up: b.Up,
			Forwarded: b.Forwarded, Dropped: b.Dropped,
		})
	}
	return rows
}

// ListenerRows returns the listeners of a snapshot, sorted by balancer, port
// and protocol.
func ListenerRows(s *dataplane.Snapshot) []ListenerRow {
	rows := make([]ListenerRow, 0, len(s.Listeners))
	for _, l := range s.Listeners {
		rows = append(rows, ListenerRow{
			Balancer: l.Balancer, Port: l.Port, Protocol: l.Protocol, Addresses: addresses(l.Addresses),
			Algorithm: l.Entry.Algorithm, TableSize: l.Entry.TableSize, OnAllDown: l.Entry.OnAllDown,
			Unsteady: l.Unsteady, Backends: l.Backends, Up: l.Up,
			Forwarded: l.Forwarded, Dropped: l.Dropped, Tracking: Tracking(l.Tracking),
		})
	}
	return rows
}

// BackendRows returns the backends of a snapshot, sorted by listener, label
// and address. Conditions add what an agent knows; without one they are nil.
func BackendRows(s *dataplane.Snapshot, conditions map[BackendKey]Condition) []BackendRow {
	rows := make([]BackendRow, 0, len(s.Backends))
	names := interfaceNames{}
	for _, b := range s.Backends {
		row := BackendRow{
			Balancer: b.Listener.Balancer, Port: b.Listener.Port, Protocol: b.Listener.Protocol,
			Label: b.Label, Address: b.Address, Forward: b.Forward, Weight: b.Weight,
			Mode: b.Mode, Configured: b.Configured, Health: b.Health,
			Problem: problem(b.Backend), Slots: b.Slots, TableSize: b.TableSize, Forwarded: b.Traffic,
			NextHop: nextHop(b.NextHop, names),
		}
		if c, ok := conditions[BackendKey{Listener: b.Listener, Address: b.Address.String()}]; ok {
			row.Health, row.Since, row.Problem = c.Health, c.Since.UTC(), c.Problem
			row.Check = &CheckRow{Duration: c.Check, Successes: c.Successes, Failures: c.Failures}
		}
		rows = append(rows, row)
	}
	return rows
}

// problem says what the tables alone show of why a backend takes no traffic.
func problem(b dataplane.Backend) string {
	switch {
	case b.Unusable == dataplane.Drained:
		return "its drain_timeout is over"
	case b.Health == lb.HealthDown:
		return "its checks fail"
	case b.NextHop.Interface == 0:
		return "its next hop is unknown"
	}
	return ""
}

// interfaceNames are the names of this network namespace's interfaces by index,
// as far as they were asked for; empty where there is no such interface.
type interfaceNames map[int]string

func (names interfaceNames) name(index int) string {
	name, ok := names[index]
	if !ok {
		if i, err := net.InterfaceByIndex(index); err == nil {
			name = i.Name
		}
		names[index] = name
	}
	return name
}

func nextHop(n lb.NextHop, names interfaceNames) *NextHopRow {
	if n.Interface == 0 {
		return nil
	}
	return &NextHopRow{Interface: names.name(n.Interface), Index: n.Interface, Source: mac(n.Source), Dest: mac(n.Dest), MTU: n.MTU}
}

func mac(m lb.MAC) string { return net.HardwareAddr(m[:]).String() }

// addresses never returns nil, which JSON would show as null.
func addresses(list []netip.Addr) []netip.Addr {
	return append([]netip.Addr{}, list...)
}
