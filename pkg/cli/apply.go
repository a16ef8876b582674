// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/control"
)

func applyCommand(env *Environment) *cli.Command {
	return &cli.Command{
		Name:      "apply",
		Usage:     "make a configuration file the running one",
		UsageText: "weir apply FILE [FLAGS]",
		Category:  groupChange,
		Description: `Has the agent run FILE (- for standard input), as a whole or not at all: with a
mistake in it nothing changes. The agent keeps what it runs in memory: a reload
(SIGHUP) or a restart goes back to its own --config file.

--config, --socket and --pin-path say which agent; they are not what is applied.

Examples:
  weir apply /etc/weir/weir.yaml
  weir apply new.yaml --socket /run/weir/second.sock`,
		Flags: listingFlags(),
		Action: func(c *cli.Context) error {
			format, err := outputFormat(c)
			if err != nil {
				return err
			}
			path, err := oneArgument(c, "FILE", "weir apply "+DefaultConfigPath)
			if err != nil {
				return err
			}
			name, data, err := env.readConfig(path)
			if err != nil {
				return err
			}
			t, err := env.target(c)
			if err != nil {
				return err
			}
			client := env.client(t)
			sent := name
			if path != stdin {
				// What the agent says of its file must hold whatever the directory.
				if sent, err = filepath.Abs(path); err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
			}
			report, err := client.Apply(c.Context, sent, data)
			if err != nil {
				return asTyped(err, sent, name)
			}
			for _, w := range report.Warnings {
				env.note("%s", w)
			}
			if status, err := client.Status(c.Context); err == nil && willBeLost(path, status.Config) {
				env.note("%s is not the agent's own file: a reload or a restart goes back to %s", name, status.Config.Own)
			}
			if format == formatTable {
				return env.print(reportText(name, report))
			}
			return env.write(format, listing{value: report})
		},
	}
}

// asTyped names the file of mistakes as the command line did.
func asTyped(err error, sent, name string) error {
	var mistakes config.Errors
	if errors.As(err, &mistakes) {
		for _, m := range mistakes {
			if m.File == sent {
				m.File = name
			}
		}
	}
	return err
}

// willBeLost reports whether what was applied from path is not what the agent
// reads when it starts.
func willBeLost(path string, running control.ConfigStatus) bool {
	if running.Own == "" {
		return false // an agent that does not say
	}
	if path == stdin {
		return true
	}
	applied, err1 := os.Stat(path)
	own, err2 := os.Stat(running.Own)
	return err1 != nil || err2 != nil || !os.SameFile(applied, own)
}

func reportText(name string, r control.ApplyReport) string {
	if r.Added+r.Removed+r.Changed+r.MapWrites == 0 {
		return fmt.Sprintf("%s: applied: nothing to change; hash %s\n", name, r.Hash)
	}
	return fmt.Sprintf("%s: applied: listeners: %d added, %d removed, %d changed; %d slots changed, %d map writes, in %v; hash %s\n",
		name, r.Added, r.Removed, r.Changed, r.Slots, r.MapWrites, r.Duration.Round(10*time.Microsecond), r.Hash)
}
