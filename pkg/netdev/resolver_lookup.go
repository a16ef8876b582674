// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sort"
	"time"
)

const (
	// lookupChunk is how many routes are looked up in one go, which takes 1
	// to 2 ms. Neighbour events are served in between.
	lookupChunk = 256

	// lookupDelay gathers the many events that one change of the routing
	// consists of.
	lookupDelay = 5 * time.Millisecond

	// lookupShare bounds the time spent on look-ups while events pour in: a
	// pause is this many times as long as the look-ups before it.
	lookupShare = 4

	// refreshInterval is how often every route is looked up without a cause,
	// for what the kernel sends no event about, such as ICMP redirects.
	refreshInterval = 5 * time.Minute
)

// lookupQueue says which targets' routes must be looked up again.
type lookupQueue struct {
	waiting map[netip.Prefix]struct{} // targets in these; the zero prefix is all
	due     time.Time                 // when to begin with them, zero: none wait
	running [][]netip.Addr            // what is left of a pass that has begun
	spent   time.Duration             // on the last pass
	ended   time.Time
	refresh time.Time // when all are looked up without a cause
}

// invalidate notes that the routing of the addresses in prefix may have
// changed; the zero prefix stands for all.
func (r *Resolver) invalidate(prefix netip.Prefix, now time.Time) {
	q := &r.lookups
	if len(r.within(prefix)) == 0 {
		return
	}
	if q.waiting == nil {
		q.waiting = make(map[netip.Prefix]struct{})
	}
	q.waiting[prefix.Masked()] = struct{}{}
	if q.due.IsZero() {
		q.due = now.Add(lookupDelay)
		if earliest := q.ended.Add(lookupShare * q.spent); q.due.Before(earliest) {
			q.due = earliest
		}
	}
}

// within returns the targets whose addresses are in prefix, in order.
func (r *Resolver) within(prefix netip.Prefix) []netip.Addr {
	if !prefix.IsValid() {
		return r.order
	}
	first, _ := slices.BinarySearchFunc(r.order, prefix.Masked().Addr(), netip.Addr.Compare)
	rest := r.order[first:]
	return rest[:sort.Search(len(rest), func(i int) bool { return !prefix.Contains(rest[i]) })]
}

// begin makes the targets that wait those of a running pass.
func (r *Resolver) begin() {
	q := &r.lookups
	// In order, a prefix comes right before those that it contains.
	prefixes := slices.SortedFunc(maps.Keys(q.waiting), func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var outer netip.Prefix
	for i, p := range prefixes {
		if i > 0 && (!outer.IsValid() || outer.Contains(p.Addr())) {
			continue
		}
		outer = p
		q.running = append(q.running, r.within(p))
	}
	q.waiting, q.due, q.spent = nil, time.Time{}, 0
}

// lookUpSome does one chunk of the look-ups that are due and returns when it
// wants to be called again.
func (r *Resolver) lookUpSome(now time.Time) time.Time {
	q := &r.lookups
	if q.refresh.IsZero() {
		q.refresh = now.Add(refreshInterval)
	}
	if !now.Before(q.refresh) {
		q.refresh = now.Add(refreshInterval)
		r.invalidate(netip.Prefix{}, now)
	}
	if len(q.running) == 0 && !q.due.IsZero() && !now.Before(q.due) {
		r.begin()
	}
	if len(q.running) > 0 {
		addrs := q.running[0]
		n := min(lookupChunk, len(addrs))
		r.lookUp(addrs[:n])
		if q.running[0] = addrs[n:]; n == len(addrs) {
			q.running = q.running[1:]
		}
		q.ended = time.Now()
		q.spent += q.ended.Sub(now)
	}
	switch {
	case len(q.running) > 0:
		return now
	case !q.due.IsZero():
		return q.due
	}
	return q.refresh
}

// lookUp looks up the routes of addrs and lets their targets follow.
func (r *Resolver) lookUp(addrs []netip.Addr) {
	if r.closed {
		return
	}
	var released []*hop
	err := lookupRoutes(r.requests, addrs, func(addr netip.Addr, rt route) {
		t, ok := r.targets[addr]
		if !ok || t.follows(rt) {
			return // nobody's any more, or as before
		}
		before, whyBefore := t.answer()
		left := t.hop
		if r.detach(t) {
			released = append(released, left)
		}
		t.why, t.gateway, t.mtu = rt.why, rt.gateway, int32(rt.mtu)
		if rt.why == "" {
			r.attach(t, rt.hop)
		}
		if now, why := t.answer(); now != before || why != whyBefore {
			r.noteChange(t)
		}
	})
	r.release(released)
	if err != nil {
		// What was known stays; the conversation with the kernel broke off.
		r.log.Warn("looking up routes", "err", err)
		r.invalidate(netip.Prefix{}, time.Now().Add(time.Second))
	}
}
