// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/lb"
)

// LinkEvent is the present state of one of the watched interfaces.
type LinkEvent struct {
	Name   string
	Exists bool   // the fields below are zero otherwise
	Index  int    // another one than before: the interface was replaced
	Up     bool   // switched on and with carrier
	MAC    lb.MAC // zero unless Ethernet
	MTU    int
}

// WatchLinks follows the interfaces of these names in the current network
// namespace until ctx is done; it then returns nil. It calls onChange, one
// call at a time, once for each name at the start and then for each change:
// the interface went away or came (by creation, by renaming, out of another
// namespace) or has another index, state, MAC address or MTU.
func WatchLinks(ctx context.Context, names []string, onChange func(LinkEvent)) error {
	events, err := openSocket(unix.RTNLGRP_LINK)
	if err != nil {
		return err
	}
	defer events.close()
	requests, err := openSocket()
	if err != nil {
		return err
	}
	defer requests.close()

	w := linkWatch{names: names, onChange: onChange, told: make(map[string]LinkEvent)}
	if w.links, err = dumpLinks(requests); err != nil {
		return err
	}
	for _, name := range names {
		w.tell(name, w.find(name))
	}
	stop := context.AfterFunc(ctx, events.close)
	defer stop()
	for {
		err := events.receive(w.apply)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			// Events were lost. The dump shows everything up to now, and the
			// older events that are still queued must not be applied after it.
			if err := discard(events); err != nil {
				return err
			}
			if w.links, err = dumpLinks(requests); err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("watching the interfaces: %w", err)
		}
		w.publish()
	}
}

// discard throws away everything that is queued on an event socket.
func discard(events *socket) error {
	for {
		err := events.tryReceive(func(syscall.NetlinkMessage) {})
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil && !errors.Is(err, unix.ENOBUFS):
			return err
		}
	}
}

type linkWatch struct {
	names    []string
	onChange func(LinkEvent)
	links    map[int]Link
	told     map[string]LinkEvent
}

func (w *linkWatch) apply(m syscall.NetlinkMessage) {
	link, ok := parseLink(m)
	switch {
	case !ok:
	case m.Header.Type == unix.RTM_NEWLINK:
		w.links[link.Index] = link
	case m.Header.Type == unix.RTM_DELLINK:
		delete(w.links, link.Index)
	}
}

func (w *linkWatch) publish() {
	for _, name := range w.names {
		if event := w.find(name); event != w.told[name] {
			w.tell(name, event)
		}
	}
}

func (w *linkWatch) tell(name string, event LinkEvent) {
	w.told[name] = event
	w.onChange(event)
}

func (w *linkWatch) find(name string) LinkEvent {
	for _, l := range w.links {
		if l.Name == name {
			return LinkEvent{Name: name, Exists: true, Index: l.Index, Up: l.Up && l.Carrier, MAC: l.MAC, MTU: l.MTU}
		}
	}
	return LinkEvent{Name: name}
}
