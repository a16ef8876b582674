// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"net/netip"

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

	// ResetListenerCounter and ResetBackendCounter set a counter to zero
	// before it is used by another listener or backend.
	ResetListenerCounter(id uint32) error
	ResetBackendCounter(id uint32) error
}
