// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func mapsLookupCommand(env *Environment) *cli.Command {
	return &cli.Command{
		Name:      "lookup",
		Usage:     "show one entry of a map",
		UsageText: "weir maps lookup NAME KEY [FLAGS]",
		Description: `Exits with 1 if the map has no such entry.

What KEY is, for each map, and an example:
  ` + mapHelp(func(v mapView) string { return fmt.Sprintf("%-35s %s", v.key, v.example) }) + `

Example:
  weir maps lookup slots web/443/tcp/17`,
		Flags: listingFlags(),
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usagef("%s takes NAME and KEY, such as: weir maps lookup listeners4 203.0.113.10:443/tcp", c.Command.HelpName)
			}
			view, err := findView(c.Args().Get(0))
			if err != nil {
				return err
			}
			// The key is read before any map is opened: a mistake in it is one
			// with and without root.
			find, err := view.lookup(c.Args().Get(1))
			if err != nil {
				return err
			}
			return env.inspect(c, find)
		},
	}
}
