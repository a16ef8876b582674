// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/lb"
)

// connection is one that stays open between requests.
type connection struct {
	client *http.Client
	url    string
	label  string // of the backend that it has
}

// connect opens a connection from the client to an address, by a first request.
func (l *lab) connect(ctx context.Context, address netip.Addr) (connection, error) {
	c := connection{
		client: &http.Client{Timeout: 2 * requestTimeout, Transport: &http.Transport{DialContext: l.dial}},
		url:    "http://" + netip.AddrPortFrom(address, port).String() + "/",
	}
	var err error
	c.label, err = get(ctx, c.client, c.url)
	return c, err
}

// held is how many connections to each address are open while a backend drains.
const held = 12

// drain takes a backend out of service while connections are open: these go on,
// also to that backend, and new ones go to the others.
func (d *demo) drain(ctx context.Context) error {
	drained := d.lab.backends[2]
	var open []connection
	defer func() {
		for _, c := range open {
			c.client.CloseIdleConnections()
		}
	}()
	for _, w := range ways() {
		for range held {
			c, err := d.lab.connect(ctx, w.address)
			if err != nil {
				return fmt.Errorf("opening a connection to %s: %w", w.address, err)
			}
			open = append(open, c)
		}
	}
	if err := d.setMode(ctx, drained, lb.ModeDrain); err != nil {
		return err
	}
	if err := d.spread(ctx, func(h *host) bool { return h != drained }); err != nil {
		return err
	}
	by := make(map[string]int)
	for _, c := range open {
		label, err := get(ctx, c.client, c.url)
		if err != nil {
			return fmt.Errorf("a connection to %s, of %s, has ended: %w", c.label, c.url, err)
		}
		if label != c.label {
			return fmt.Errorf("a connection to %s, of %s, is with %s now", c.label, c.url, label)
		}
		by[label]++
	}
	if by[drained.label] == 0 { // by chance: less than once in a hundred million runs
		return fmt.Errorf("no connection was with %s", drained.label)
	}
	d.print.note(fmt.Sprintf("%d connections from before go on, %d of them with %s", len(open), by[drained.label], drained.label))
	if err := d.setMode(ctx, drained, lb.ModeAccept); err != nil {
		return err
	}
	d.print.note(drained.label + " accepts new connections again")
	return nil
}

// setMode sets the mode of a backend of all listeners.
func (d *demo) setMode(ctx context.Context, h *host, mode lb.Mode) error {
	client := control.NewClient(d.lab.socket(), dialUnix)
	rows, err := client.Listeners(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range rows {
		_, err := client.SetMode(ctx, control.ModeChange{
			Balancer: l.Balancer, Port: l.Port, Protocol: l.Protocol, Backend: h.label, Mode: mode,
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
