// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/demo"
)

func demoCommand(env *Environment) *cli.Command {
	return &cli.Command{
		Name:      "demo",
		Usage:     "see it work: client, balancer and backends on this machine",
		UsageText: "weir demo",
		Category:  groupRun,
		Description: `Builds a client, a balancer and three backends out of network namespaces, sends
HTTP requests through native XDP over IPv4 and IPv6, tunnelled and direct, takes
a backend down and brings it back, and cleans up. It needs root and touches none
of this machine's interfaces. The exit code is 0 only if every step was seen to
work.

Example:
  sudo weir demo`,
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			executable, err := os.Executable()
			if err != nil {
				return fmt.Errorf("finding this program's own file, to start agent and nodes from: %w", err)
			}
			return demo.Run(c.Context, demo.Options{
				Executable: executable,
				Stdout:     env.Stdout,
				Color:      env.colours(),
			})
		},
	}
}
