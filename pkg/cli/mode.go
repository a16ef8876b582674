// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/lb"
)

// modeHelp is what the help of all commands that set a mode has in common.
const modeHelp = `
BACKEND is a label or an address. The mode lasts until the configuration changes
the mode of that backend, also across restarts of the agent; weir status lists the
modes that were set so. Only an agent can do it.`

func drainCommand(env *Environment) *cli.Command {
	return modeCommand(env, lb.ModeDrain, "let a backend keep its flows, and give it no new ones",
		`New flows go to the other backends at once. Those that the backend has stay on it
until they end, at most for drain_timeout. Health checks go on.

weir flows --count says how many there are left. A flow is counted from its next
packet on: the backend is empty when the count is 0 and idle_timeout has passed.

Draining the last backend that takes new flows is done all the same, with a warning.
`+modeHelp+`

Examples:
  weir drain web/443/tcp/web-1
  weir drain 'web/443/tcp/[2001:db8::11]:8443'
  weir flows --count web/443/tcp/web-1`)
}

func acceptCommand(env *Environment) *cli.Command {
	return modeCommand(env, lb.ModeAccept, "give a backend traffic, whatever the configuration says",
		`The backend takes part in the table again, if its checks say that it is up. Flows
that are on other backends by now stay there. A backend that the configuration has
as a backup is given back as one.
`+modeHelp+`

Examples:
  weir accept web/443/tcp/web-1
  weir accept web/443/tcp/10.0.0.11:8443`)
}

func rejectCommand(env *Environment) *cli.Command {
	return modeCommand(env, lb.ModeReject, "take all flows from a backend, and do not check it",
		`The flows that the backend has go to others, which resets TCP connections: weir
drain is the gentle way.
`+modeHelp+`

Examples:
  weir reject web/443/tcp/web-1
  weir reject web/443/tcp/10.0.0.11:8443 -o json`)
}

// modeCommand is a command that sets the mode of the same name.
func modeCommand(env *Environment, mode lb.Mode, usage, description string) *cli.Command {
	name := mode.String()
	return &cli.Command{
		Name:        name,
		Usage:       usage,
		UsageText:   "weir " + name + " BALANCER/PORT/PROTO/BACKEND [FLAGS]",
		Category:    groupChange,
		Description: description,
		Flags:       listingFlags(),
		Action: func(c *cli.Context) error {
			format, err := outputFormat(c)
			if err != nil {
				return err
			}
			arg, err := oneArgument(c, "BALANCER/PORT/PROTO/BACKEND", "weir "+name+" web/443/tcp/web-1")
			if err != nil {
				return err
			}
			backend, err := parseBackend(arg)
			if err != nil {
				return err
			}
			t, err := env.target(c)
			if err != nil {
				return err
			}
			client, err := env.owner(c.Context, t)
			if err != nil {
				return err
			}
			return env.setMode(c.Context, client, backend, mode, format)
		},
	}
}

// parseBackend reads the name of one backend. An address is in the form that
// listings have.
func parseBackend(text string) (filter, error) {
	if parts := strings.Split(text, "/"); len(parts) != 4 || slices.Contains(parts, "") {
		return filter{}, usagef("%q is no backend: want BALANCER/PORT/PROTO/BACKEND, such as web/443/tcp/web-1", text)
	}
	filters, err := parseFilters([]string{text}, 4)
	if err != nil {
		return filter{}, err
	}
	f := filters[0]
	address, err := netip.ParseAddrPort(f.parts[3])
	switch {
	case err == nil:
		f.parts[3] = netip.AddrPortFrom(address.Addr().Unmap(), address.Port()).String()
	case strings.ContainsRune(f.parts[3], ':'): // no label has one
		return filter{}, usagef("%q: %q is no ADDRESS:PORT, such as 10.0.0.11:8443 or [2001:db8::11]:8443", text, f.parts[3])
	}
	return f, nil
}

// setMode has an agent set the mode of a backend, and says what that did.
func (e *Environment) setMode(ctx context.Context, client *control.Client, backend filter, mode lb.Mode, f format) error {
	key, err := backend.listener()
	if err != nil {
		return err
	}
	report, err := client.SetMode(ctx, control.ModeChange{
		Balancer: key.Balancer, Port: key.Port, Protocol: key.Protocol, Backend: backend.parts[3], Mode: mode,
	})
	if errors.Is(err, control.ErrNoBackend) {
		return missingBackend(ctx, client, key, backend)
	}
	if err != nil {
		return err
	}
	e.warn(report.Warnings)
	if f == formatTable {
		return e.print(modeText(report))
	}
	return e.write(f, listing{value: report})
}

// modeText says in one line what became of a mode.
func modeText(r control.ModeReport) string {
	name := lb.ListenerKey{Balancer: r.Balancer, Port: r.Port, Protocol: r.Protocol}.String() + "/" + r.Backend
	if address := r.Address.String(); address != r.Backend {
		name += " (" + address + ")"
	}
	change := fmt.Sprintf("was %s, is %s now; %s changed", r.Before, r.Mode, plural(r.Slots, "slot"))
	if r.Before == r.Mode && r.Slots == 0 {
		change = fmt.Sprintf("is %s already; nothing changed", r.Mode)
	}
	lasts := "as the configuration says"
	switch {
	case r.Mode == lb.ModeBackup:
		lasts = "a backup as the configuration says, which weir accept gives back as one"
	case r.Mode != r.Configured:
		lasts = fmt.Sprintf("this lasts until the configuration changes the mode, which is %s there", r.Configured)
	}
	if !r.Until.IsZero() {
		change += fmt.Sprintf("; its flows may stay until %s, and are counted as they send", timeText(r.Until))
	}
	return fmt.Sprintf("%s: %s; %s\n", name, change, lasts)
}

// missingBackend says that there is no such backend, and what there is instead.
func missingBackend(ctx context.Context, client *control.Client, key lb.ListenerKey, missing filter) error {
	listeners, err := client.Listeners(ctx)
	if err != nil {
		return err
	}
	var names []string
	known := false
	for _, l := range listeners {
		known = known || l.Key() == key
		names = append(names, l.Key().String())
	}
	if !known {
		return notFound("listener", []filter{{text: key.String()}}, names)
	}
	backends, err := client.Backends(ctx)
	if err != nil {
		return err
	}
	names = nil
	for _, b := range backends {
		if b.Key() == key {
			names = append(names, key.String()+"/"+b.Label)
		}
	}
	return notFound("backend", []filter{missing}, names)
}
