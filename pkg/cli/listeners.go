// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/control"
)

func listenersCommand(env *Environment) *cli.Command {
	return &cli.Command{
		Name:      "listeners",
		Usage:     "list the listeners that the kernel holds, with counters",
		UsageText: "weir listeners [FLAGS] [BALANCER[/PORT[/PROTO]]]...",
		Category:  groupLook,
		Description: `SLOTS is the size of the listener's table. UNSTEADY of them were changed not long
ago, and their flows are looked up, so that none leaves its backend: weir flows
lists those. PACKETS and BYTES were forwarded, DROPPED packets could not be; weir
maps dump reason_counters says why. BROKEN packets are of flows that a change took
their backend from; with -o json there is why, and what decided on the others.

Without an agent the list comes from the pinned maps.

Examples:
  weir listeners
  weir listeners web
  weir listeners web/443/tcp -o json`,
		Flags: listingFlags(),
		Action: func(c *cli.Context) error {
			return noun[control.ListenerRow]{
				word: "listener", depth: 3,
				ask: (*control.Client).Listeners, of: control.ListenerRows, table: listenerTable,
				name:    func(r control.ListenerRow) string { return r.Key().String() },
				matches: func(f filter, r control.ListenerRow) bool { return f.matches(listenerName(r.Key())) },
			}.list(env, c)
		},
	}
}

func listenerTable(rows []control.ListenerRow) table {
	t := table{columns: []column{
		{name: "LISTENER"}, {name: "ADDRESSES"}, {name: "ALGORITHM"}, {name: "SLOTS", right: true},
		{name: "UNSTEADY", right: true}, {name: "ON_ALL_DOWN"},
		{name: "BACKENDS", right: true}, {name: "UP", right: true},
		{name: "PACKETS", right: true}, {name: "BYTES", right: true}, {name: "DROPPED", right: true},
		{name: "BROKEN", right: true},
	}}
	for _, r := range rows {
		t.rows = append(t.rows, []string{
			r.Key().String(), orDash(join(r.Addresses, ",")), r.Algorithm.String(), countText(r.TableSize),
			countText(r.Unsteady), r.OnAllDown.String(),
			strconv.Itoa(r.Backends), strconv.Itoa(r.Up),
			packetsText(r.Forwarded.Packets), bytesText(r.Forwarded.Bytes), packetsText(r.Dropped.Packets),
			packetsText(r.Tracking.BrokenTotal()),
		})
	}
	return t
}
