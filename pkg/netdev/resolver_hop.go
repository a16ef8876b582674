// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/lb"
)

const (
	// The kernel gives up a neighbour after 3 s; these are the least and the
	// greatest time from one attempt to the next.
	askAgainFirst = time.Second
	askAgainLast  = 30 * time.Second

	// confirmAgain is the least time between two attempts to have a stale
	// neighbour probed.
	confirmAgain = 5 * time.Second

	// Not more than askBurst neighbours are asked for every askPause, so that
	// 10,000 on one link do not flood it.
	askBurst = 500
	askPause = 100 * time.Millisecond
)

// hop is a neighbour that at least one target is reached by.
//
// It is kept fresh with NTF_USE, repeated by the resolver whenever the entry
// turns stale, rather than once with NTF_EXT_MANAGED, which needs Linux 5.16.
// The flag NTF_EXT_LEARNED goes with it: of ordinary entries the kernel holds
// 1,024 for the whole host (gc_thresh3) and throws them away from 512 on, also
// those in use. The flag exempts an entry from both; it is taken back when no
// target needs the hop any more, and the entry is then an ordinary one again.
type hop struct {
	key     hopKey
	targets []*target
	answer  hopAnswer

	settled bool      // the neighbour is known, or is known not to answer
	failed  bool      // it did not answer the last time it was asked
	claimed bool      // the entry has NTF_EXT_LEARNED from this resolver
	tries   int       // unanswered attempts in a row
	next    time.Time // not to be asked for before
	refused error     // the kernel would not ask
}

// hopAnswer is what the targets of a hop have in common.
type hopAnswer struct {
	source, dest lb.MAC
	mtu          int
	why          string // the neighbour cannot be used, and why
}

// attach gives t its hop.
func (r *Resolver) attach(t *target, key hopKey) {
	h, ok := r.hops[key]
	if !ok {
		h = &hop{key: key}
		r.hops[h.key] = h
		if r.unsettled == 0 {
			r.settled = make(chan struct{})
		}
		r.unsettled++
		r.judge(h, time.Now())
	}
	t.hop, t.place = h, int32(len(h.targets))
	h.targets = append(h.targets, t)
}

// detach takes t from its hop. It reports whether the hop was left without
// targets; such a hop is forgotten and must be released.
func (r *Resolver) detach(t *target) (left bool) {
	h := t.hop
	if h == nil {
		return false
	}
	last := len(h.targets) - 1
	h.targets[t.place] = h.targets[last]
	h.targets[t.place].place = t.place
	h.targets = slices.Delete(h.targets, last, last+1)
	t.hop = nil
	if last > 0 {
		return false
	}
	delete(r.hops, h.key)
	delete(r.restless, h)
	r.settle(h)
	return true
}

func (r *Resolver) settle(h *hop) {
	if h.settled {
		return
	}
	h.settled = true
	if r.unsettled--; r.unsettled == 0 {
		close(r.settled)
	}
}

// judge brings h up to date with its interface and its neighbour.
func (r *Resolver) judge(h *hop, now time.Time) {
	link, exists := r.links[h.key.ifindex]
	why := fmt.Sprintf("the interface with index %d is gone", h.key.ifindex)
	if exists {
		why = link.unusable()
	}
	if why != "" {
		delete(r.restless, h)
		h.failed, h.tries, h.next = false, 0, now
		r.settle(h)
		r.setAnswer(h, hopAnswer{why: why})
		return
	}
	n := r.neighbours[h.key]
	switch {
	case n.usable():
		h.failed, h.tries, h.refused = false, 0, nil
		r.settle(h)
	case n.state&unix.NUD_FAILED != 0:
		h.failed = true
		r.settle(h)
	}
	switch {
	case n.state&unix.NUD_INCOMPLETE != 0 || n.usable() && n.state&unix.NUD_STALE == 0:
		delete(r.restless, h) // the kernel is at it, or is content
	default:
		r.restless[h] = struct{}{}
	}
	if !n.usable() {
		if h.answer.why == "" {
			h.next = now // lost just now, and perhaps only moved
		}
		r.setAnswer(h, hopAnswer{why: h.silence(link.Name)})
		return
	}
	r.setAnswer(h, hopAnswer{source: link.MAC, dest: n.mac, mtu: link.MTU})
}

func (h *hop) silence(link string) string {
	protocol := "ARP"
	if h.key.addr.Is6() {
		protocol = "neighbour discovery"
	}
	switch {
	case h.refused != nil:
		return fmt.Sprintf("the kernel does not ask for %s on %s: %v", h.key.addr, link, h.refused)
	case h.failed:
		return fmt.Sprintf("%s on %s does not answer %s", h.key.addr, link, protocol)
	}
	return fmt.Sprintf("%s on %s has not answered %s yet", h.key.addr, link, protocol)
}

func (r *Resolver) setAnswer(h *hop, a hopAnswer) {
	if a == h.answer {
		return
	}
	if a.why == "" {
		r.log.Debug("next hop is known", "address", h.key.addr, "ifindex", h.key.ifindex, "dest", fmt.Sprintf("%x", a.dest))
	} else {
		r.log.Debug("next hop is unknown", "address", h.key.addr, "ifindex", h.key.ifindex, "reason", a.why)
	}
	h.answer = a
	for _, t := range h.targets {
		r.noteChange(t)
	}
}

// ask has the kernel ask for the neighbours that need it, as many as may be
// now, and returns when it wants to be called again; zero when nothing is left.
func (r *Resolver) ask(now time.Time) (again time.Time) {
	if r.closed {
		return time.Time{}
	}
	var due []*hop
	for h := range r.restless {
		switch {
		case h.next.After(now):
			if again.IsZero() || h.next.Before(again) {
				again = h.next
			}
		case len(due) < askBurst:
			due = append(due, h)
		default:
			again = now.Add(askPause)
		}
	}
	for _, h := range due {
		n := r.neighbours[h.key]
		if n.flags&unix.NTF_EXT_LEARNED == 0 {
			h.claimed = true
		}
		if n.usable() {
			h.next = now.Add(confirmAgain)
		} else {
			h.next = now.Add(min(askAgainFirst<<min(h.tries, 10), askAgainLast))
			h.tries++
		}
		if again.IsZero() || h.next.Before(again) {
			again = h.next
		}
	}
	err := r.requests.exchange(len(due),
		func(i int) *nl.NetlinkRequest {
			return neighbourRequest(unix.RTM_NEWNEIGH, due[i].key, unix.NTF_USE|unix.NTF_EXT_LEARNED)
		},
		func(i int, _ syscall.NetlinkMessage, err error) {
			h := due[i]
			if (h.refused == nil) != (err == nil) {
				h.refused = err
				r.judge(h, now)
			}
			if err != nil {
				r.settle(h)
			}
		})
	if err != nil {
		r.log.Warn("asking for neighbours", "err", err)
	}
	return again
}

// release hands the entries of hops that nothing needs any more back to the
// kernel: those that a flag was set on become ordinary, and those that never
// answered go.
func (r *Resolver) release(hops []*hop) {
	hops = slices.DeleteFunc(hops, func(h *hop) bool {
		if again, ok := r.hops[h.key]; ok {
			again.claimed = again.claimed || h.claimed
			return true
		}
		const fixed = unix.NUD_PERMANENT | unix.NUD_NOARP // by someone else, in the meantime
		return !h.claimed || r.neighbours[h.key].state&fixed != 0
	})
	err := r.requests.exchange(len(hops),
		func(i int) *nl.NetlinkRequest {
			if r.neighbours[hops[i].key].usable() {
				return neighbourRequest(unix.RTM_NEWNEIGH, hops[i].key, unix.NTF_USE)
			}
			return neighbourRequest(unix.RTM_DELNEIGH, hops[i].key, 0)
		},
		func(i int, _ syscall.NetlinkMessage, err error) {
			if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
				r.log.Debug("releasing a neighbour", "address", hops[i].key.addr, "err", err)
			}
		})
	if err != nil {
		r.log.Warn("releasing neighbours", "err", err)
	}
}
