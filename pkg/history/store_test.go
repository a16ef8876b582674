// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"errors"
	"net/netip"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/reconcile"
)

// errKilled is what operations return from the one on that was made to fail.
var errKilled = errors.New("killed")

// fault is when the agent is killed.
type fault struct {
	at    int  // the operation, counted from 1 on; 0: it lives
	after bool // the operation takes effect
}

// store is the tables as an agent has them that may be killed at any operation,
// and whom something may come in between.
type store struct {
	reconcile.Store
	counters *counters
	ops      int   // since it was armed
	writes   []int // which of those write
	last     calls // what came of the last call, when it was armed
	fault    fault
	dead     bool
	wrong    string // what somebody who looked in between has found wrong

	// between is called after each operation that took effect, unlocked where
	// other changes may come in between too, besides packets.
	between  func(op int)
	unlocked func()

	// removing and swept see what the agent removes, removing with the records as
	// the agent has read them.
	removing func([]dataplane.FlowID, map[dataplane.FlowID]dataplane.Flow)
	swept    func(now uint32, age time.Duration, left uint32)
	scanned  map[dataplane.FlowID]dataplane.Flow
}

// calls is how many operations a call of the agent had, and which of them write.
type calls struct {
	ops    int
	writes []int
}

// arm makes an operation from now on fail, and all that come after it.
func (s *store) arm(f fault) {
	s.last = calls{s.ops, s.writes}
	s.ops, s.writes, s.fault, s.dead = 0, nil, f, false
}

// write is an operation that changes what packets or the next agent see.
func (s *store) write(op func() error) error {
	s.writes = append(s.writes, s.ops+1)
	return s.do(op)
}

// do is one operation.
func (s *store) do(op func() error) error {
	s.ops++
	due := s.ops == s.fault.at
	if s.dead || due && !s.fault.after {
		s.dead = true
		return errKilled
	}
	err := op()
	if due {
		s.dead = true
		return errKilled
	}
	if err == nil && s.between != nil {
		err = s.look(func() { s.between(s.ops) })
	}
	return err
}

// look lets somebody look in between. It may be another goroutine than that of the
// test, so that what is found wrong has to wait for the end of the call.
func (s *store) look(fn func()) error {
	if wrong := caught(func(failer) { fn() }); wrong != "" {
		s.wrong = cmp.Or(s.wrong, wrong)
		s.dead = true
		return errKilled
	}
	return nil
}

func read[T any](s *store, op func() (T, error)) (out T, err error) {
	err = s.do(func() error { out, err = op(); return err })
	return out, err
}

func (s *store) Listeners() (map[dataplane.ListenerKey]dataplane.Listener, error) {
	return read(s, s.Store.Listeners)
}

func (s *store) VIPs() (map[netip.Addr]dataplane.VIP, error) { return read(s, s.Store.VIPs) }

func (s *store) Names() (map[dataplane.NameKey]string, error) { return read(s, s.Store.Names) }

func (s *store) FlowClock() (uint32, error) { return read(s, s.Store.FlowClock) }

func (s *store) Backends(first, n uint32) ([]dataplane.Backend, error) {
	return read(s, func() ([]dataplane.Backend, error) { return s.Store.Backends(first, n) })
}

func (s *store) OldTable(id uint32) (dataplane.OldTable, error) {
	return read(s, func() (dataplane.OldTable, error) { return s.Store.OldTable(id) })
}

func (s *store) ReadSlots(first uint32, slots []dataplane.Slot) error {
	return s.do(func() error { return s.Store.ReadSlots(first, slots) })
}

func (s *store) PutListener(k dataplane.ListenerKey, l dataplane.Listener) error {
	return s.write(func() error { return s.Store.PutListener(k, l) })
}

func (s *store) DeleteListener(k dataplane.ListenerKey) error {
	return s.write(func() error { return s.Store.DeleteListener(k) })
}

func (s *store) PutVIP(a netip.Addr, v dataplane.VIP) error {
	return s.write(func() error { return s.Store.PutVIP(a, v) })
}

func (s *store) DeleteVIP(a netip.Addr) error {
	return s.write(func() error { return s.Store.DeleteVIP(a) })
}

func (s *store) PutName(k dataplane.NameKey, name string) error {
	return s.write(func() error { return s.Store.PutName(k, name) })
}

func (s *store) DeleteName(k dataplane.NameKey) error {
	return s.write(func() error { return s.Store.DeleteName(k) })
}

func (s *store) PutBackend(i uint32, b dataplane.Backend) error {
	return s.write(func() error { return s.Store.PutBackend(i, b) })
}

func (s *store) WriteSlots(first, size uint32, c []dataplane.SlotChange) error {
	return s.write(func() error { return s.Store.WriteSlots(first, size, c) })
}

func (s *store) PutOldTable(id uint32, old dataplane.OldTable) error {
	return s.write(func() error { return s.Store.PutOldTable(id, old) })
}

func (s *store) SetFlowClock(now uint32) error {
	return s.do(func() error { return s.Store.SetFlowClock(now) })
}

// ScanFlows lets things happen between the reading of records and the judging.
func (s *store) ScanFlows(fn func([]dataplane.Flow) error) error {
	return s.do(func() error {
		return s.Store.ScanFlows(func(flows []dataplane.Flow) error {
			s.scanned = make(map[dataplane.FlowID]dataplane.Flow, len(flows))
			for _, f := range flows {
				s.scanned[f.ID] = f
			}
			if s.unlocked != nil {
				if err := s.look(s.unlocked); err != nil {
					return err
				}
			}
			return fn(flows)
		})
	})
}

func (s *store) DeleteFlows(ids []dataplane.FlowID) error {
	return s.write(func() error {
		if err := s.look(func() { s.removing(ids, s.scanned) }); err != nil {
			return err
		}
		return s.Store.DeleteFlows(ids)
	})
}

func (s *store) SweepEmbryonic(now uint32, age time.Duration) (uint32, error) {
	return read(s, func() (uint32, error) {
		left, err := s.Store.SweepEmbryonic(now, age)
		return left, errors.Join(err, s.look(func() {
			s.swept(now, age, left)
			if s.unlocked != nil {
				s.unlocked()
			}
		}))
	})
}

// TrackingCounters and ResetListenerCounter go to the counters that the program of
// a plane has.
func (s *store) TrackingCounters(n uint32) ([]dataplane.TrackingTraffic, error) {
	return read(s, func() ([]dataplane.TrackingTraffic, error) {
		out := make([]dataplane.TrackingTraffic, n)
		for id := range out {
			out[id].New = s.counters.newFlows(uint32(id))
		}
		return out, nil
	})
}

func (s *store) ResetListenerCounter(id uint32) error {
	return s.do(func() error {
		s.counters.resetListener(id)
		return s.Store.ResetListenerCounter(id)
	})
}

func (s *store) ResetBackendCounter(id uint32) error {
	return s.do(func() error { return s.Store.ResetBackendCounter(id) })
}
