// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/lb"
)

// ResolverOptions are the optional parts of a [Resolver].
type ResolverOptions struct {
	// Logger takes notes on next hops that come and go; nil for none.
	Logger *slog.Logger

	// OnChange is called with the addresses for which Lookup now answers
	// differently than before, in order, one call at a time. Run calls it; it
	// may call the methods of the resolver.
	OnChange func(changed []netip.Addr)

	// ReceiveBuffer is how many bytes of events the kernel may queue; 0 for
	// 4 MiB. When more come, everything is read anew.
	ReceiveBuffer int
}

// Resolver knows the next hop towards each of a set of addresses: the route
// as the kernel looks it up for packets of this host, and the MAC address of
// the neighbour that the route leads to. It keeps both current from the
// kernel's events, and the neighbour's address fresh by having the kernel
// probe it, because the kernel does not see the packets that XDP sends there.
//
// Where a route has several next hops, the kernel's hash gives each address
// one of them: backends are spread over the routers, and all packets to one
// backend take the same. A router that does not answer any more is not
// avoided, unless the kernel does so (net.ipv4.fib_multipath_use_neigh).
type Resolver struct {
	log      *slog.Logger
	onChange func([]netip.Addr)
	events   *socket       // read by Run
	wake     chan struct{} // Set has work for Run

	mu         sync.Mutex
	closed     bool
	requests   *socket
	links      map[int]Link
	neighbours map[hopKey]neighbour
	targets    map[netip.Addr]*target
	order      []netip.Addr // keys of targets, sorted
	hops       map[hopKey]*hop
	restless   map[*hop]struct{} // hops that need to be asked for
	lookups    lookupQueue
	changed    []*target     // not yet told to onChange
	reread     time.Time     // when to read the tables anew, if not zero
	unsettled  int           // hops whose settled is false
	settled    chan struct{} // closed when unsettled becomes 0
}

// target is an address that was given to Set. There may be 100,000.
type target struct {
	addr    netip.Addr
	hop     *hop   // nil when the route has none
	why     string // and why that is
	place   int32  // in hop.targets
	mtu     int32  // of the route, 0 for none
	gateway bool   // hop is a router
	changed bool   // is in Resolver.changed
}

// NewResolver opens a resolver in the network namespace of the calling thread
// and reads the interfaces and neighbours. It needs Run to stay current, and
// Close if Run is not called.
func NewResolver(opts ResolverOptions) (*Resolver, error) {
	const defaultReceiveBuffer = 4 << 20
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.OnChange == nil {
		opts.OnChange = func([]netip.Addr) {}
	}
	if opts.ReceiveBuffer == 0 {
		opts.ReceiveBuffer = defaultReceiveBuffer
	}
	events, err := openSocket(unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_NEXTHOP,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE,
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE)
	if err != nil {
		return nil, err
	}
	requests, err := openSocket()
	if err != nil {
		events.close()
		return nil, err
	}
	r := &Resolver{
		log:      opts.Logger,
		onChange: opts.OnChange,
		events:   events,
		wake:     make(chan struct{}, 1),
		requests: requests,
		targets:  make(map[netip.Addr]*target),
		hops:     make(map[hopKey]*hop),
		restless: make(map[*hop]struct{}),
		settled:  make(chan struct{}),
	}
	if err := errors.Join(events.setReceiveBuffer(opts.ReceiveBuffer), r.readTables()); err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

// Close gives back what the resolver holds, in this process and in the
// kernel. Lookup goes on answering with what was known last.
func (r *Resolver) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	r.events.close()
	hops := slices.Collect(maps.Values(r.hops))
	clear(r.hops)
	r.release(hops)
	r.requests.close()
	return nil
}

// Set replaces the addresses to follow. When it returns, Lookup answers for
// all of them from the kernel's routes and neighbours as they are; neighbours
// that the kernel does not know yet are being asked for (see Wait).
func (r *Resolver) Set(addrs []netip.Addr) {
	order := make([]netip.Addr, len(addrs))
	for i, addr := range addrs {
		order[i] = addr.Unmap()
	}
	slices.SortFunc(order, netip.Addr.Compare)
	order = slices.Compact(order)

	added := r.replaceTargets(order)
	for chunk := range slices.Chunk(added, lookupChunk) {
		r.mu.Lock()
		r.lookUp(chunk)
		r.mu.Unlock()
	}
	r.mu.Lock()
	r.ask(time.Now())
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// replaceTargets makes the given addresses, sorted, those to follow and
// returns the new ones among them.
func (r *Resolver) replaceTargets(order []netip.Addr) (added []netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	keep := make(map[netip.Addr]*target, len(order))
	for _, addr := range order {
		t, ok := r.targets[addr]
		if !ok {
			t = &target{addr: addr, why: "the route is being looked up"}
			added = append(added, addr)
		}
		keep[addr] = t
	}
	var released []*hop
	for addr, t := range r.targets {
		if keep[addr] == nil {
			if h := t.hop; r.detach(t) {
				released = append(released, h)
			}
		}
	}
	r.release(released)
	r.targets, r.order = keep, order
	return added
}

// Lookup returns the next hop towards an address that was given to Set. The
// error says why it is not known at the moment.
func (r *Resolver) Lookup(addr netip.Addr) (lb.NextHop, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.targets[addr.Unmap()]
	if !ok {
		return lb.NextHop{}, errors.New("the next hop of " + addr.String() + " is not followed")
	}
	next, why := t.answer()
	if why != "" {
		return lb.NextHop{}, errors.New(why)
	}
	return next, nil
}

// Wait returns when every neighbour that had to be asked for has answered or
// was given up, or when ctx is done. Run must be running.
func (r *Resolver) Wait(ctx context.Context) error {
	for {
		r.mu.Lock()
		done, settled := r.unsettled == 0, r.settled
		r.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-settled:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// answer returns the next hop of t, or why there is none.
func (t *target) answer() (next lb.NextHop, why string) {
	if t.hop == nil {
		return lb.NextHop{}, t.why
	}
	a := t.hop.answer
	if a.why != "" {
		return lb.NextHop{}, a.why
	}
	next = lb.NextHop{Interface: t.hop.key.ifindex, Source: a.source, Dest: a.dest, MTU: a.mtu}
	if t.gateway {
		next.Gateway = t.hop.key.addr
	}
	if t.mtu != 0 {
		next.MTU = min(next.MTU, int(t.mtu))
	}
	return next, ""
}

// follows reports whether t has just the given route already.
func (t *target) follows(rt route) bool {
	if t.hop == nil || rt.why != "" {
		return t.hop == nil && t.why == rt.why
	}
	return t.hop.key == rt.hop && t.gateway == rt.gateway && int(t.mtu) == rt.mtu
}

// noteChange has onChange called for t.
func (r *Resolver) noteChange(t *target) {
	if !t.changed {
		t.changed = true
		r.changed = append(r.changed, t)
	}
}

// takeChanges returns the addresses to call onChange with, in order.
func (r *Resolver) takeChanges() []netip.Addr {
	var addrs []netip.Addr
	for _, t := range r.changed {
		t.changed = false
		if r.targets[t.addr] == t {
			addrs = append(addrs, t.addr)
		}
	}
	r.changed = nil
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}
