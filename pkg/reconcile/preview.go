// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/maglev"
)

// Preview is what a state would change in a listener.
type Preview struct {
	Key             lb.ListenerKey
	Added, Removed  bool
	Changed         bool     // in anything at all
	BackendsAdded   []string // labels, in order of the addresses
	BackendsRemoved []string
	BackendsChanged []string // in weight, mode, label or way of forwarding
	TableSize       uint32
	Slots           int // that would lead new flows to another backend
	Flows           int // recorded now
	Moved           int // of these, those whose backend they would have to leave

	// Lost are the labels of backends that have slots now and whose flows would
	// have to leave, those that stay in the pool first. Most of their flows have
	// no record, and are in no count.
	Lost []string

	// Reasons say what differs, such as "table_size 8191 -> 16381" or
	// "web-2: mode accept -> drain", but for backends that come and go.
	Reasons []string
}

// Preview says what Apply would change, by listener, and writes nothing. The
// error is that of Apply where d cannot be applied.
func (r *Reconciler) Preview(ctx context.Context, d Desired) ([]Preview, error) {
	p := previewer{usable: make(map[uint32][]bool), rows: make(map[uint32]*Preview)}
	err := r.locked(func() error {
		var err error
		p.plan, err = planWhole(r.store, r.model, &d)
		if err != nil {
			return err
		}
		p.model, p.seedBefore = r.model, r.seed
		p.worker = worker{writer: writer{store: r.store}, up: r.uptime()}
		return p.listeners()
	})
	if err != nil {
		return nil, err
	}
	// Tables are built and records counted while changes go on.
	for _, c := range p.comparisons {
		c.run(&p)
	}
	err = r.store.ScanFlows(func(flows []dataplane.Flow) error {
		p.count(flows)
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("count the records of flows: %w", err)
	}
	return p.sorted(), nil
}

// previewer works out a preview.
type previewer struct {
	*plan
	model      *model
	worker     worker
	seedBefore uint64 // if listeners have been applied

	all    []*Preview
	rows   map[uint32]*Preview // by identifier, of listeners that are there
	usable map[uint32][]bool   // by identifier and index in the pool: flows may stay

	comparisons []comparison
}

// comparison is of a table as it would be with the one that is there.
type comparison struct {
	row     *Preview
	members []maglev.Member
	have    []dataplane.Slot
}

func (p *previewer) listeners() error {
	for _, l := range p.plan.listeners {
		row := &Preview{Key: l.key, Added: l.was == nil, TableSize: l.want.TableSize}
		if err := p.listener(row, l); err != nil {
			return fmt.Errorf("listener %s: %w", l.key, err)
		}
		p.all = append(p.all, row)
		if l.was != nil {
			p.rows[l.entry.ID] = row
		}
	}
	for _, l := range p.removed {
		row := &Preview{Key: l.key, Removed: true, Changed: true, TableSize: l.entry.TableSize}
		pool, err := p.worker.store.Backends(l.entry.Pool, l.entry.PoolSize)
		if err != nil {
			return fmt.Errorf("read the pool: %w", err)
		}
		for i, b := range pool {
			if hasSlots(l, i) {
				row.Lost = append(row.Lost, p.model.counters[b.Counter].label)
			}
			if !empty(b) && b.Unusable != dataplane.Removed {
				row.BackendsRemoved = append(row.BackendsRemoved, p.model.counters[b.Counter].label)
			}
		}
		p.all = append(p.all, row)
		p.rows[l.entry.ID], p.usable[l.entry.ID] = row, nil
	}
	return nil
}

// listener compares one listener with what it would be.
func (p *previewer) listener(row *Preview, l *listenerPlan) error {
	pool := make([]dataplane.Backend, 1)
	if l.was != nil {
		var err error
		if pool, err = p.worker.store.Backends(l.was.entry.Pool, l.was.entry.PoolSize); err != nil {
			return fmt.Errorf("read the pool: %w", err)
		}
	}
	usable := make([]bool, max(len(pool), int(l.entry.PoolSize)))
	if l.was != nil {
		row.Reasons = p.listenerReasons(l)
	}
	for i, b := range l.backends {
		id := l.ids[i]
		var before dataplane.Backend
		if int(id) < len(pool) {
			before = pool[id]
		}
		last := p.worker.lastEntry(l, i, before)
		usable[id] = last.Unusable == dataplane.Usable
		if !usable[id] && hasSlots(l.was, int(id)) {
			row.Lost = append(row.Lost, b.Label)
		}
		switch {
		case empty(before) || before.Unusable == dataplane.Removed:
			row.BackendsAdded = append(row.BackendsAdded, b.Label)
		case p.differs(before, last, b.Label):
			row.BackendsChanged = append(row.BackendsChanged, b.Label)
			row.Reasons = append(row.Reasons, p.backendReasons(before, last, b.Label)...)
		}
	}
	for _, id := range l.leaving {
		if b := pool[id]; b.Unusable != dataplane.Removed {
			row.BackendsRemoved = append(row.BackendsRemoved, p.model.counters[b.Counter].label)
			if hasSlots(l.was, int(id)) {
				row.Lost = append(row.Lost, p.model.counters[b.Counter].label)
			}
		}
	}
	p.usable[l.entry.ID] = usable
	if err := p.slots(row, l); err != nil {
		return err
	}
	row.Changed = row.Slots > 0 || len(row.BackendsAdded)+len(row.BackendsRemoved)+len(row.BackendsChanged) > 0 || p.changes(l)
	return nil
}

// hasSlots reports whether slots of a listener lead to a place in its pool now.
func hasSlots(l *listener, place int) bool {
	return l != nil && place > 0 && place < len(l.slots) && l.slots[place] > 0
}

func (p *previewer) differs(before, after dataplane.Backend, label string) bool {
	return before.Weight != after.Weight || before.Mode != after.Mode || before.Configured != after.Configured ||
		before.Forward != after.Forward || p.model.counters[before.Counter].label != label
}

// changes reports whether something else of a listener would change: an entry,
// its addresses, or its policy.
func (p *previewer) changes(l *listenerPlan) bool {
	if l.was == nil || len(l.was.entries) != len(l.addresses) {
		return true
	}
	for _, addr := range l.addresses {
		if l.was.entries[addr] != l.entry {
			return true
		}
	}
	return l.key != l.was.key || l.was.applied &&
		(l.was.idle != l.want.IdleTimeout || l.was.policy != policy{l.want.OnDown, l.want.DrainTimeout})
}

// slots counts the slots whose backend would be another, or has them counted when
// nothing waits for it. With another algorithm or seed flows fall into other
// slots, and all count.
func (p *previewer) slots(row *Preview, l *listenerPlan) error {
	w := &p.worker
	w.collectMembers(l)
	switch {
	case l.was == nil || l.was.entry.Algorithm != l.want.Algorithm || l.was.applied && p.seedBefore != p.seed:
		row.Slots = int(l.want.TableSize)
		return nil
	case !l.slotsAside() && l.was.built == w.fingerprint(p.seed, l.entry):
		return nil
	}
	have := make([]dataplane.Slot, l.was.entry.TableSize)
	if err := w.store.ReadSlots(l.was.entry.Slots, have); err != nil {
		return fmt.Errorf("read slots: %w", err)
	}
	p.comparisons = append(p.comparisons, comparison{row, slices.Clone(w.members), have})
	return nil
}

// run counts the slots that differ. In a table of another size, a slot is compared
// with the one that its middle lies in.
func (c *comparison) run(p *previewer) {
	table := make([]uint16, c.row.TableSize)
	if len(c.members) > 0 {
		p.worker.builder.Build(table, p.seed, c.members)
	}
	for i, id := range table {
		if c.have[(2*i+1)*len(c.have)/(2*len(table))].Current != id {
			c.row.Slots++
		}
	}
	c.row.Changed = c.row.Changed || c.row.Slots > 0
}

// count counts records, and those that would have to leave their backend.
func (p *previewer) count(flows []dataplane.Flow) {
	for i := range flows {
		row := p.rows[flows[i].Listener]
		if row == nil {
			continue
		}
		row.Flows++
		usable := p.usable[flows[i].Listener]
		if id := int(flows[i].Backend); id >= len(usable) || !usable[id] {
			row.Moved++
		}
	}
}

func (p *previewer) sorted() []Preview {
	out := make([]Preview, 0, len(p.all))
	for _, row := range p.all {
		out = append(out, *row)
	}
	slices.SortFunc(out, func(a, b Preview) int {
		return cmp.Or(cmp.Compare(a.Key.Balancer, b.Key.Balancer), cmp.Compare(a.Key.Port, b.Key.Port),
			cmp.Compare(a.Key.Protocol, b.Key.Protocol))
	})
	return out
}
