// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/agent"
)

func agentCommand(env *Environment) *cli.Command {
	return &cli.Command{
		Name:      "agent",
		Usage:     "run the load balancer, in the foreground",
		UsageText: "weir agent [FLAGS]",
		Category:  groupRun,
		Description: `Loads the data plane, attaches it to the configured interfaces of this network
namespace, checks the backends, and keeps the kernel in step with FILE. Needs
root.

SIGHUP reads FILE again; a file with mistakes changes nothing. SIGTERM and
SIGINT stop the agent and leave the data plane running: packets go on being
forwarded, by what was known last, until an agent takes over or weir unload.

Examples:
  weir check /etc/weir/weir.yaml && weir agent --config /etc/weir/weir.yaml
  weir agent --config weir.yaml --log-format json --log-level debug`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: flagConfig, Usage: "`FILE` to run (default: " + DefaultConfigPath + ")"},
		}, logFlags()...),
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			log, err := env.logger(c)
			if err != nil {
				return err
			}
			path := c.String(flagConfig)
			if path == "" {
				path = env.ConfigPath
			}
			// SIGHUP must find the same file, whatever the directory then.
			if path, err = filepath.Abs(path); err != nil {
				return fmt.Errorf("--config: %w", err)
			}
			info, err := os.Stat(path)
			if errors.Is(err, fs.ErrNotExist) {
				return usagef("no configuration at %s: write one, or name another by --config", path)
			}
			if err == nil && info.IsDir() {
				return usagef("--config %s: is a directory: name a file, such as %s", path, DefaultConfigPath)
			}
			hangups, stop := env.Hangups()
			defer stop()
			return agent.Run(c.Context, agent.Options{ConfigPath: path, Version: version, Logger: log, Reload: hangups})
		},
	}
}

// noArguments refuses arguments of a command that takes flags only.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("%s takes no argument, and there is %q: see %s --help", c.Command.HelpName, c.Args().First(), c.Command.HelpName)
	}
	return nil
}

// oneArgument returns the argument of a command that takes one.
func oneArgument(c *cli.Context, what, example string) (string, error) {
	if c.NArg() != 1 {
		return "", usagef("%s takes one %s, such as: %s", c.Command.HelpName, what, example)
	}
	return c.Args().First(), nil
}
