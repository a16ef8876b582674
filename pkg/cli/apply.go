// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
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
(SIGHUP) or a restart goes back to its own --config file. A warning names each
listener that is then without a healthy backend for new flows.

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
			sent, report, err := sendConfig(env, c, (*control.Client).Apply)
			if err != nil {
				return err
			}
			env.warn(report.Warnings)
			if status, err := sent.client.Status(c.Context); err == nil && willBeLost(sent.path, status.Config) {
				env.note("%s is not the agent's own file: a reload or a restart goes back to %s", sent.name, status.Config.Own)
			}
			if format == formatTable {
				return env.print(reportText(sent.name, report))
			}
			return env.write(format, listing{value: report})
		},
	}
}

// sentConfig is a configuration that an agent was given.
type sentConfig struct {
	client *control.Client
	path   string // as typed
	name   string // in messages
}

// sendConfig reads the configuration that a command line names and gives it to
// the agent by send. Mistakes in it name the file as it was typed.
func sendConfig[R any](env *Environment, c *cli.Context,
	send func(*control.Client, context.Context, string, []byte) (R, error)) (s sentConfig, report R, err error) {
	if s.path, err = oneArgument(c, "FILE", c.Command.HelpName+" "+DefaultConfigPath); err != nil {
		return s, report, err
	}
	name, data, err := env.readConfig(s.path)
	if err != nil {
		return s, report, err
	}
	t, err := env.target(c)
	if err != nil {
		return s, report, err
	}
	if s.client, err = env.owner(c.Context, t); err != nil {
		return s, report, err
	}
	s.name = name
	from := name
	if s.path != stdin {
		// What the agent says of its file must hold whatever the directory.
		if from, err = filepath.Abs(s.path); err != nil {
			return s, report, fmt.Errorf("%s: %w", s.path, err)
		}
	}
	report, err = send(s.client, c.Context, from, data)
	return s, report, asTyped(err, from, name)
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
