// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
)

// embryonicLife is how long an embryonic record is kept: a client that has not
// got through after so many SYNs begins anew.
const embryonicLife = 64 * time.Second

// scanShare is how many times longer than a scan the pause after it is, so that
// scans take a fiftieth of a processor at most.
const scanShare = 50

// scanPause is the longest pause after a scan. The age of embryonic records, which
// scans sweep, is known modulo some minutes.
const scanPause = time.Minute

// closingLife is how long a flow may be silent that its client has ended, if the
// flow table is filling up: else all flows are kept for idle_timeout.
const closingLife = time.Minute

// tablesAtOnce is how many tables a scan reads while changes wait.
const tablesAtOnce = 16

// staleBatch is how long a scan goes by records that it has read. A change may hold
// it up for longer; then it looks at them again next time.
const staleBatch = 250 * time.Millisecond

// errOvertaken ends a scan whose model was restored meanwhile.
var errOvertaken = errors.New("the tables were restored")

// scan is what was found by looking at all records.
type scan struct {
	begun     instant
	took      time.Duration
	records4  int
	records6  int
	embryonic uint32
	orphans   map[uint32]int // by listener that is no more: records, which are removed now
	listeners map[uint32]*listenerScan
}

// Tracking says how much is being tracked.
type Tracking struct {
	Unsteady  uint32 // slots whose flows are looked up
	Records4  int    // records of IPv4 flows, at the last scan
	Records6  int
	Embryonic int           // flows of which only SYNs were seen, at the last scan
	Scanned   time.Time     // when that began; zero before the first
	Scan      time.Duration // how long it took, without its pauses
}

// Tracking returns how much is being tracked.
func (r *Reconciler) Tracking() Tracking {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.model.scan
	out := Tracking{
		Records4: s.records4, Records6: s.records6, Embryonic: int(s.embryonic), Scanned: s.begun.time, Scan: s.took,
	}
	for _, l := range r.model.listeners {
		out.Unsteady += l.moves.len()
	}
	return out
}

// coversAllOf reports whether the scan has seen all that could still refer to
// what went out of use at a time.
func (s *scan) coversAllOf(out instant, grace time.Duration) bool {
	if s.listeners == nil || s.begun.time.Before(out.time.Add(grace)) {
		return false
	}
	return !s.mayHaveEmbryonicFrom(out.tick)
}

// mayHaveEmbryonicFrom reports whether there may be embryonic records that were
// written before a time. Their age is known by units, up to two.
func (s *scan) mayHaveEmbryonicFrom(t tick) bool {
	return s.embryonic > 0 && s.begun.tick-t <= ticks(embryonicLife+2*dataplane.EmbryonicUnit)
}

// refers reports whether something referred to an entry of a pool.
func (s *scan) refers(listener uint32, id uint16) bool {
	l := s.listeners[listener]
	return l != nil && (l.recent || int(id) < len(l.refs) && l.refs[id] > 0)
}

// scanner looks at all records, and removes those that say nothing: of flows
// that are idle, and of those that need none. Changes come in between, as it
// takes the lock for a thousand records at once.
type scanner struct {
	*Reconciler
	scan
	writer  writer
	model   *model
	pressed bool // the flow table was more than half full at the scan before

	doomed []dataplane.FlowID
	read   time.Time        // when the records at hand were read
	late   bool             // the records at hand were read too long ago to remove any
	tables int              // that were read since changes had to wait
	slots  []dataplane.Slot // buffer of found
	pacer  pacer

	changes uint64 // of the model, when the lock was last let go
	asOf    uint64 // changes when the records at hand were read, or before
}

// scanDue reports whether there is something to find, and when to look.
func (r *Reconciler) scanDue() bool {
	if r.clock().Before(r.nextScan) {
		return false
	}
	m := r.model
	if m.scan.listeners == nil || m.scan.records4+m.scan.records6+len(m.scan.orphans) > 0 || m.scan.embryonic > 0 {
		return true
	}
	for _, h := range m.held {
		if h.kind == heldListener || h.kind == heldEntry {
			return true
		}
	}
	for _, l := range m.listeners {
		if l.moves.len() > 0 {
			return true
		}
	}
	return false
}

// look scans all records, if that is due, and makes slots steady that turn out
// to need none any more.
func (r *Reconciler) look(ctx context.Context) (Report, error) {
	s := scanner{Reconciler: r, writer: writer{store: r.store}}
	due := false
	err := r.locked(func() error {
		due, s.model, s.changes = r.scanDue(), r.model, r.model.changes
		before, most := &r.model.scan, int(r.store.Limits().Flows)
		s.pressed = 2*max(before.records4, before.records6) > most
		s.scan = scan{
			begun:   instant{r.clock(), r.model.tick},
			orphans: make(map[uint32]int), listeners: make(map[uint32]*listenerScan),
		}
		return nil
	})
	if err != nil || !due {
		return s.writer.report, err
	}
	if err := s.run(ctx); err != nil && !errors.Is(err, errOvertaken) {
		return s.writer.report, fmt.Errorf("look at the records of flows: %w", err)
	}
	return s.writer.report, nil
}

func (s *scanner) run(ctx context.Context) error {
	began := s.clock()
	// The embryonic records first: one that becomes a record meanwhile is seen as
	// the one or as the other.
	left, err := s.store.SweepEmbryonic(uint32(s.begun.tick), embryonicLife)
	if err != nil {
		return err
	}
	s.embryonic = left
	err = s.store.ScanFlows(func(flows []dataplane.Flow) error {
		s.read, s.asOf = s.clock(), s.changes
		for part := range slices.Chunk(flows, partFlows) {
			if err := s.lookAt(ctx, part); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range s.listenerIDs() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.step(func() error { return s.finishListener(id) }); err != nil {
			return err
		}
	}
	return s.step(func() error {
		s.took = s.clock().Sub(began) - s.pacer.rested
		s.Reconciler.nextScan = s.clock().Add(min(scanShare*s.took, scanPause))
		s.model.scan = s.scan
		return nil
	})
}

// step does a part of a scan while nothing else changes.
func (s *scanner) step(fn func() error) error {
	return s.locked(func() error {
		if s.Reconciler.model != s.model {
			return errOvertaken
		}
		defer func() { s.changes = s.model.changes }()
		return fn()
	})
}

// listenerIDs returns the listeners of which something is to be found out.
func (s *scanner) listenerIDs() (ids []uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, l := range s.model.listeners {
		if s.listeners[id] != nil || l.moves.len() > 0 || len(l.retired) > 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// judge looks at some records and removes those that say nothing. It lets go of
// the lock now and then.
func (s *scanner) judge(flows []dataplane.Flow) error {
	for len(flows) > 0 {
		err := s.step(func() error {
			s.doomed, s.tables, s.late = s.doomed[:0], 0, s.clock().Sub(s.read) > staleBatch
			done := 0
			for done < len(flows) && s.tables < tablesAtOnce {
				if err := s.judgeOne(&flows[done]); err != nil {
					return err
				}
				done++
			}
			flows = flows[done:]
			s.pacer.removed += len(s.doomed)
			return s.writer.deleteFlows(s.doomed)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) judgeOne(f *dataplane.Flow) error {
	keep, err := s.keep(f)
	switch {
	case err != nil:
		return err
	case !keep && !s.late:
		s.doomed = append(s.doomed, f.ID)
	case f.ID.IPv6():
		s.records6++
	default:
		s.records4++
	}
	return nil
}

// keep reports whether a record says something, and takes note of it if so.
func (s *scanner) keep(f *dataplane.Flow) (bool, error) {
	l := s.model.listeners[f.Listener]
	if l == nil {
		s.orphans[f.Listener]++
		return false, nil
	}
	if l.applied && s.model.tick.age(f.Seen) > ticks(s.life(l, f)+clockStep) {
		return false, nil
	}
	slot := slotOf(f.Hash, l.entry.TableSize)
	b := l.moves.of(slot)
	if b == nil {
		return false, nil // steady: packets do not ask
	}
	found, err := s.found(f.Listener, l)
	if err != nil {
		return false, err
	}
	at := found.moving.at(slot)
	// Where a change came since the record was read, its flow may have moved.
	sure := s.asOf == s.model.changes
	if sure && !l.hasOldTable() && at.Previous == at.Current && at.Current == f.Backend && s.overFor(b) {
		return false, nil // without it the flow is on previous, which is the same
	}
	found.refer(f.Backend)
	if !sure || f.Backend != at.Current {
		found.foreign.add(slot)
	}
	return true, nil
}

// life returns how long a flow may be silent.
func (s *scanner) life(l *listener, f *dataplane.Flow) time.Duration {
	if f.Closing && s.pressed {
		return min(l.idle, closingLife)
	}
	return l.idle
}

// overFor reports whether no packet is under way any more that has read the slots
// of a batch before they were settled, and would take a flow without a record for
// one of the former previous.
func (s *scanner) overFor(b *batch) bool {
	return !b.settled || b.at+ticks(s.grace) <= s.begun.tick
}

// slotOf returns the slot that the upper half of a hash falls into, as
// hash_slot() in bpf/lib/hash.h does.
func slotOf(hash, tableSize uint32) uint32 {
	return uint32(uint64(hash) * uint64(tableSize) >> 32)
}

// finishListener counts what slots refer to, and makes slots steady in which no
// record names another backend than current.
func (s *scanner) finishListener(id uint32) error {
	l := s.model.listeners[id]
	if l == nil {
		return nil
	}
	found, err := s.found(id, l)
	if err != nil {
		return err
	}
	for id, n := range l.slots { // of steady slots it is previous as well
		if n > 0 {
			found.refer(uint16(id))
		}
	}
	for _, slot := range found.moving.slots {
		found.refer(slot.Previous)
	}
	for _, b := range l.moves.batches {
		found.recent = found.recent || b.settled && b.at+ticks(s.grace) > s.begun.tick
	}
	if l.hasOldTable() {
		if err := s.referOld(found, l.old.OldTable); err != nil {
			return err
		}
	} else if err := s.steady(l, found); err != nil {
		s.Reconciler.stale = true
		return err
	}
	found.moving, found.foreign = movingSlots{}, nil
	return nil
}

// steady makes slots steady that were settled before the scan began, and in
// which the scan has found no record of another backend. As they were settled,
// no such record came after, and none can come of an embryonic record: those from
// before the last change are gone.
func (s *scanner) steady(l *listener, found *listenerScan) error {
	var changes []dataplane.SlotChange
	for _, b := range l.moves.batches {
		if !b.settled || b.at+ticks(s.grace) > s.begun.tick || b.due(l.idle) > s.begun.tick ||
			s.mayHaveEmbryonicFrom(b.changed) {
			continue
		}
		for slot := range b.slots.all() {
			if at := found.moving.at(slot); !found.foreign.has(slot) && at.Previous == at.Current {
				at.Tracked = false
				changes = append(changes, dataplane.SlotChange{Index: slot, Slot: at})
				b.slots.remove(slot)
			}
		}
	}
	l.moves.prune()
	l.version++
	return s.writer.writeSlots(l.entry.Slots, l.entry.TableSize, changes)
}
