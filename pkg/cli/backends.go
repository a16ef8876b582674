// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

func backendsCommand(env *Environment) *cli.Command {
	return &cli.Command{
		Name:      "backends",
		Usage:     "list the backends that the kernel holds, with health and counters",
		UsageText: "weir backends [FLAGS] [BALANCER[/PORT[/PROTO[/BACKEND]]]]...",
		Category:  groupLook,
		Description: `BACKEND on the command line is a label or an address. MODE is accept, drain, reject
or backup; with a *, a command such as weir drain set it, and the configuration
says another. SHARE is the part of new flows that a backend gets: its slots of the
listener's. If it gets none, its mode or PROBLEM says why.

Without an agent the list comes from the pinned maps; what its checks say is
missing then.

Examples:
  weir backends
  weir backends web/443/tcp
  weir backends web/443/tcp/10.0.0.11:8443 -o yaml`,
		Flags: listingFlags(),
		Action: func(c *cli.Context) error {
			return noun[control.BackendRow]{
				word: "backend", depth: 4,
				ask: (*control.Client).Backends, table: backendTable,
				of:   func(s *dataplane.Snapshot) []control.BackendRow { return control.BackendRows(s, nil) },
				name: func(r control.BackendRow) string { return r.Key().String() + "/" + r.Label },
				matches: func(f filter, r control.BackendRow) bool {
					return f.matches(listenerName(r.Key()), r.Label, r.Address.String())
				},
				others: emptyListeners,
			}.list(env, c)
		},
	}
}

// emptyListeners returns the names of listeners, which may have no backend.
func emptyListeners(ctx context.Context, s state) (names []string, err error) {
	listeners, err := s.listeners(ctx)
	for _, r := range listeners {
		if r.Backends == 0 {
			names = append(names, r.Key().String())
		}
	}
	return names, err
}

func backendTable(rows []control.BackendRow) table {
	t := table{columns: []column{
		{name: "LISTENER"}, {name: "BACKEND"}, {name: "ADDRESS"}, {name: "FORWARD"}, {name: "WEIGHT", right: true},
		{name: "MODE"}, {name: "HEALTH", colour: healthColour}, {name: "SINCE"}, {name: "SHARE", right: true},
		{name: "PACKETS", right: true}, {name: "BYTES", right: true}, {name: "PROBLEM"},
	}}
	for _, r := range rows {
		t.rows = append(t.rows, []string{
			r.Key().String(), r.Label, r.Address.String(), r.Forward.String(), countText(r.Weight),
			markedMode(r.Mode, r.Configured), r.Health.String(), timeText(r.Since), percentText(r.Slots, r.TableSize),
			packetsText(r.Forwarded.Packets), bytesText(r.Forwarded.Bytes), orDash(r.Problem),
		})
	}
	return t
}

// markedMode returns a mode, with a mark if a command set it.
func markedMode(mode, configured lb.Mode) string {
	if mode != configured {
		return mode.String() + "*"
	}
	return mode.String()
}

// timeText returns a moment in the zone that logs are compared in.
func timeText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
