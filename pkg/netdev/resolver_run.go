// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Run follows the kernel's events until ctx is done, then closes the resolver
// and returns nil. Another error means that events cannot be received.
func (r *Resolver) Run(ctx context.Context) error {
	events := make(chan event, 1024)
	broken := make(chan error, 1)
	stopped, stop := context.WithCancel(ctx)
	go func() { broken <- r.readEvents(stopped, events) }()
	defer func() {
		stop()
		_ = r.Close() // ends the reader
		<-broken
	}()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-broken:
			broken <- nil // for the deferred function
			if ctx.Err() != nil || errors.Is(err, errClosed) {
				return nil
			}
			return fmt.Errorf("following the kernel's routes and neighbours: %w", err)
		case e := <-events:
			r.apply(e, events)
		case <-r.wake:
		case <-timer.C:
		}
		again, changed := r.step(time.Now())
		if len(changed) > 0 {
			r.onChange(changed)
		}
		timer.Reset(time.Until(again))
	}
}

// step does the work that is due. It returns when there will be more, and the
// addresses whose answer changed since the last step.
func (r *Resolver) step(now time.Time) (again time.Time, changed []netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.reread.IsZero() && !now.Before(r.reread) {
		r.readAgain(now)
	}
	again = r.lookUpSome(now)
	for _, t := range []time.Time{r.ask(now), r.reread} {
		if !t.IsZero() && t.Before(again) {
			again = t
		}
	}
	return again, r.takeChanges()
}

// readTables reads the interfaces and neighbours of the kernel.
func (r *Resolver) readTables() error {
	links, err := dumpLinks(r.requests)
	if err != nil {
		return err
	}
	neighbours, err := dumpNeighbours(r.requests)
	if err != nil {
		return err
	}
	r.links, r.neighbours = links, neighbours
	return nil
}

// readAgain makes up for events that were lost.
func (r *Resolver) readAgain(now time.Time) {
	if err := r.readTables(); err != nil {
		r.log.Warn("reading the kernel's interfaces and neighbours; it is tried again", "err", err)
		r.reread = now.Add(time.Second)
		return
	}
	r.reread = time.Time{}
	for _, h := range r.hops {
		r.judge(h, now)
	}
	r.invalidate(netip.Prefix{}, now)
}

// event is a change in the kernel. It is applied with the resolver locked.
type event func(r *Resolver, now time.Time)

// apply applies first and the events that wait behind it.
func (r *Resolver) apply(first event, rest <-chan event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	first(r, now)
	for range cap(rest) {
		select {
		case e := <-rest:
			e(r, now)
		default:
			return
		}
	}
}

// errClosed says that the event socket was closed by Close.
var errClosed = errors.New("the resolver is closed")

// readEvents passes on the kernel's events until ctx is done or the socket is
// closed.
func (r *Resolver) readEvents(ctx context.Context, events chan<- event) error {
	pass := func(e event) {
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}
	for {
		err := r.events.receive(func(m syscall.NetlinkMessage) {
			if e := parseEvent(m); e != nil {
				pass(e)
			}
		})
		if errors.Is(err, unix.ENOBUFS) {
			// What is still queued is older than what was lost, and must not
			// be applied over the tables that are about to be read.
			if err = discard(r.events); err == nil {
				pass((*Resolver).overrun)
			}
		}
		switch {
		case ctx.Err() != nil || errors.Is(err, os.ErrClosed):
			return errClosed
		case err != nil:
			return err
		}
	}
}

func (r *Resolver) overrun(now time.Time) {
	r.log.Warn("more network events than could be queued; everything is read anew")
	r.reread = now
}

func parseEvent(m syscall.NetlinkMessage) event {
	switch m.Header.Type {
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		key, n, ok := parseNeighbour(m)
		if !ok {
			return nil
		}
		gone := m.Header.Type == unix.RTM_DELNEIGH
		return func(r *Resolver, now time.Time) { r.neighbourChanged(key, n, gone, now) }
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		link, ok := parseLink(m)
		if !ok {
			return nil
		}
		gone := m.Header.Type == unix.RTM_DELLINK
		return func(r *Resolver, now time.Time) { r.linkChanged(link, gone, now) }
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		prefix, ok := parseRoutePrefix(m)
		if !ok {
			return nil
		}
		return func(r *Resolver, now time.Time) { r.invalidate(prefix, now) }
	}
	// A rule, an address or a next-hop object can change any route, and some
	// of the routes that go with an address go without an event of their own.
	return func(r *Resolver, now time.Time) { r.invalidate(netip.Prefix{}, now) }
}

func (r *Resolver) neighbourChanged(key hopKey, n neighbour, gone bool, now time.Time) {
	if gone {
		delete(r.neighbours, key)
	} else {
		r.neighbours[key] = n
	}
	if h, ok := r.hops[key]; ok {
		r.judge(h, now)
	}
}

func (r *Resolver) linkChanged(link Link, gone bool, now time.Time) {
	before, existed := r.links[link.Index]
	if existed && !gone && before == link {
		return
	}
	if gone {
		delete(r.links, link.Index)
	} else {
		r.links[link.Index] = link
	}
	for key, h := range r.hops {
		if key.ifindex == link.Index {
			r.judge(h, now)
		}
	}
	// The kernel drops IPv4 routes with their interface without an event.
	if gone || !existed || before.Up != link.Up || before.Carrier != link.Carrier {
		r.invalidate(netip.Prefix{}, now)
	}
}
