// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/lb"
)

const flagListener = "listener"

func mapsDumpCommand(env *Environment) *cli.Command {
	return &cli.Command{
		Name:      "dump",
		Usage:     "show all entries of a map",
		UsageText: "weir maps dump NAME [FLAGS]",
		Description: `Of arrays it shows what is in use; of slots, ranges of equal ones.

Of a cache of listeners it shows what CPUs have looked up. A CPU goes by entries
that are CURRENT: from after the last change of listeners. AGREES says whether
listeners4 or listeners6 has the same now. An entry that is CURRENT and does not
agree is wrong, unless a listener is changing at this moment; an agent that
starts makes all CPUs look again.

Maps:
  ` + mapHelp(func(v mapView) string { return v.what }) + `

Examples:
  weir maps dump listeners4
  weir maps dump slots --listener web/443/tcp -o json`,
		Flags: append(listingFlags(), &cli.StringFlag{
			Name: flagListener, Usage: "`BALANCER/PORT/PROTO` whose slots to show (default: all)",
		}),
		Action: func(c *cli.Context) error {
			name, err := oneArgument(c, "NAME", "weir maps dump listeners4")
			if err != nil {
				return err
			}
			view, err := findView(name)
			if err != nil {
				return err
			}
			only, err := listenerFlag(c, name)
			if err != nil {
				return err
			}
			return env.inspect(c, func(in *inspection) (listing, error) {
				if only != nil {
					if err := in.restrict(*only); err != nil {
						return listing{}, err
					}
				}
				return view.dump(in)
			})
		},
	}
}

// listenerFlag returns the listener whose slots to show, nil for all.
func listenerFlag(c *cli.Context, name string) (*lb.ListenerKey, error) {
	text := c.String(flagListener)
	if text == "" {
		return nil, nil
	}
	if name != "slots" {
		return nil, usagef("--listener is for the map slots, not %s", name)
	}
	key, err := parseListener(text)
	return &key, err
}
