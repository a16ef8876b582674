// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"net/netip"

	"github.com/weirlb/weir/pkg/dataplane"
)

// writer writes to the tables. It counts what it wrote, and its errors say
// what could not be written.
type writer struct {
	store  Store
	report Report
}

func (w *writer) resetListenerCounter(id uint32) error {
	w.report.Counters++
	if err := w.store.ResetListenerCounter(id); err != nil {
		return fmt.Errorf("reset counter %d of listeners: %w", id, err)
	}
	return nil
}

func (w *writer) resetBackendCounter(id uint32) error {
	w.report.Counters++
	if err := w.store.ResetBackendCounter(id); err != nil {
		return fmt.Errorf("reset counter %d of backends: %w", id, err)
	}
	return nil
}

// putName writes a label. The empty label has no entry.
func (w *writer) putName(kind dataplane.NameKind, id uint32, label string) error {
	if label == "" {
		return w.deleteName(kind, id)
	}
	w.report.Names++
	if err := w.store.PutName(dataplane.NameKey{Kind: kind, ID: id}, label); err != nil {
		return fmt.Errorf("write name %s: %w", label, err)
	}
	return nil
}

func (w *writer) deleteName(kind dataplane.NameKind, id uint32) error {
	w.report.Names++
	if err := w.store.DeleteName(dataplane.NameKey{Kind: kind, ID: id}); err != nil {
		return fmt.Errorf("remove name %d of kind %d: %w", id, kind, err)
	}
	return nil
}

func (w *writer) putBackend(index uint32, b dataplane.Backend) error {
	w.report.Backends++
	if err := w.store.PutBackend(index, b); err != nil {
		return fmt.Errorf("write backend %s to entry %d: %w", b.Address, index, err)
	}
	return nil
}

func (w *writer) emptyBackend(index uint32) error {
	w.report.Backends++
	if err := w.store.PutBackend(index, dataplane.Backend{}); err != nil {
		return fmt.Errorf("empty entry %d of backends: %w", index, err)
	}
	return nil
}

func (w *writer) writeSlots(first, size uint32, changes []dataplane.SlotChange) error {
	if len(changes) == 0 {
		return nil
	}
	w.report.Slots += len(changes)
	if err := w.store.WriteSlots(first, size, changes); err != nil {
		return fmt.Errorf("write slots: %w", err)
	}
	return nil
}

func (w *writer) putOldTable(listener uint32, old dataplane.OldTable) error {
	w.report.OldTables++
	if err := w.store.PutOldTable(listener, old); err != nil {
		return fmt.Errorf("write the old table: %w", err)
	}
	return nil
}

func (w *writer) deleteFlows(ids []dataplane.FlowID) error {
	if len(ids) == 0 {
		return nil
	}
	w.report.Flows += len(ids)
	if err := w.store.DeleteFlows(ids); err != nil {
		return fmt.Errorf("remove records of flows: %w", err)
	}
	return nil
}

func (w *writer) putListener(key dataplane.ListenerKey, e dataplane.Listener) error {
	w.report.Listeners++
	if err := w.store.PutListener(key, e); err != nil {
		return fmt.Errorf("write entry of %s: %w", key.Address, err)
	}
	return nil
}

func (w *writer) deleteListener(key dataplane.ListenerKey) error {
	w.report.Listeners++
	if err := w.store.DeleteListener(key); err != nil {
		return fmt.Errorf("remove the listener of %s, port %d/%s: %w", key.Address, key.Port, key.Protocol, err)
	}
	return nil
}

func (w *writer) putVIP(addr netip.Addr, v dataplane.VIP) error {
	w.report.VIPs++
	if err := w.store.PutVIP(addr, v); err != nil {
		return fmt.Errorf("write address %s: %w", addr, err)
	}
	return nil
}

func (w *writer) deleteVIP(addr netip.Addr) error {
	w.report.VIPs++
	if err := w.store.DeleteVIP(addr); err != nil {
		return fmt.Errorf("remove address %s: %w", addr, err)
	}
	return nil
}
