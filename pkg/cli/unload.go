// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/dataplane"
)

func unloadCommand(env *Environment) *cli.Command {
	return &cli.Command{
		Name:      "unload",
		Usage:     "take the data plane out of the kernel; stops forwarding",
		UsageText: "weir unload [FLAGS]",
		Category:  groupChange,
		Description: `Detaches the programs and removes the pinned maps and links. From then on packets
for the balancers go to the host. Refuses while an agent runs: stop that first.

Example:
  weir unload --pin-path /sys/fs/bpf/weir`,
		Flags: targetFlags(),
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			t, err := env.target(c)
			if err != nil {
				return err
			}
			pinPath, err := env.pins(c.Context, t)
			if err != nil {
				return err
			}
			err = dataplane.Unload(pinPath)
			if errors.Is(err, dataplane.ErrLocked) {
				return fmt.Errorf("%w: stop that one first", err)
			}
			if err != nil {
				return err
			}
			return env.print(fmt.Sprintf("%s: unloaded: nothing is forwarded any more\n", pinPath))
		},
	}
}
