// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/control"
)

func balancersCommand(env *Environment) *cli.Command {
	return &cli.Command{
		Name:      "balancers",
		Usage:     "list the balancers that the kernel holds, with counters",
		UsageText: "weir balancers [FLAGS] [BALANCER]...",
		Category:  groupLook,
		Description: `UP is how many of the backends are healthy. PACKETS and BYTES were forwarded,
DROPPED packets were for a listener and could not be.

Without an agent the list comes from the pinned maps.

Examples:
  weir balancers
  weir balancers web -o json`,
		Flags: listingFlags(),
		Action: func(c *cli.Context) error {
			return noun[control.BalancerRow]{
				word: "balancer", depth: 1,
				ask: (*control.Client).Balancers, of: control.BalancerRows, table: balancerTable,
				name:    func(r control.BalancerRow) string { return r.Label },
				matches: func(f filter, r control.BalancerRow) bool { return f.matches([]string{r.Label}) },
			}.list(env, c)
		},
	}
}

func balancerTable(rows []control.BalancerRow) table {
	t := table{columns: []column{
		{name: "BALANCER"}, {name: "ADDRESSES"}, {name: "LISTENERS", right: true}, {name: "BACKENDS", right: true},
		{name: "UP", right: true}, {name: "PACKETS", right: true}, {name: "BYTES", right: true}, {name: "DROPPED", right: true},
	}}
	for _, r := range rows {
		t.rows = append(t.rows, []string{
			r.Label, orDash(join(r.Addresses, ",")), strconv.Itoa(r.Listeners), strconv.Itoa(r.Backends), strconv.Itoa(r.Up),
			packetsText(r.Forwarded.Packets), bytesText(r.Forwarded.Bytes), packetsText(r.Dropped.Packets),
		})
	}
	return t
}
