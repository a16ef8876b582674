// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"net/netip"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
)

// Store is what a Reconciler needs of the kernel's tables. dataplane.Tables is
// the one that packets see. Reads report what is there now; each write is
// atomic for packets, WriteSlots for each slot on its own.
type Store interface {
	Limits() dataplane.Limits

	Listeners() (map[dataplane.ListenerKey]dataplane.Listener, error)
	PutListener(dataplane.ListenerKey, dataplane.Listener) error
	DeleteListener(dataplane.ListenerKey) error

	VIPs() (map[netip.Addr]dataplane.VIP, error)
	PutVIP(netip.Addr, dataplane.VIP) error
	DeleteVIP(netip.Addr) error

	Names() (map[dataplane.NameKey]string, error)
	PutName(dataplane.NameKey, string) error
	DeleteName(dataplane.NameKey) error

	// Backends reads n entries of the backends from index first on.
	Backends(first, n uint32) ([]dataplane.Backend, error)
	// PutBackend writes one entry; the zero Backend empties it.
	PutBackend(index uint32, b dataplane.Backend) error

	// ReadSlots reads len(slots) slots from index first on.
	ReadSlots(first uint32, slots []dataplane.Slot) error
	// WriteSlots writes slots of the listener whose first slot is first and
	// that has size of them.
	WriteSlots(first, size uint32, changes []dataplane.SlotChange) error

	// OldTable reads the table that a listener had before, PutOldTable writes it.
	OldTable(listener uint32) (dataplane.OldTable, error)
	PutOldTable(listener uint32, old dataplane.OldTable) error

	// FlowClock is the time that packets stamp records with, in milliseconds.
	FlowClock() (uint32, error)
	SetFlowClock(now uint32) error
	// ScanFlows calls fn with all records, many at once; the slice is fn's until
	// it returns.
	ScanFlows(fn func([]dataplane.Flow) error) error
	// DeleteFlows removes records, those that are there.
	DeleteFlows(ids []dataplane.FlowID) error
	// SweepEmbryonic removes embryonic records older than age and returns how
	// many are left.
	SweepEmbryonic(now uint32, age time.Duration) (left uint32, err error)

	// TrackingCounters reads what became of tracked packets of listeners 0 to n-1.
	TrackingCounters(n uint32) ([]dataplane.TrackingTraffic, error)
	// ResetListenerCounter and ResetBackendCounter set a counter to zero
	// before it is used by another listener or backend.
	ResetListenerCounter(id uint32) error
	ResetBackendCounter(id uint32) error
}
