// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/control"
)

// stdin is the argument that stands for standard input, and its name in
// messages.
const (
	stdin     = "-"
	stdinName = "stdin"
)

func checkCommand(env *Environment) *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "check a configuration file; needs no root and no agent",
		UsageText: "weir check FILE",
		Category:  groupChange,
		Description: `Finds every mistake in FILE (- for standard input) that can be found without the
host it is for, and writes each on a line of its own, as FILE:LINE:COLUMN: KEY:
what is wrong. Exits with 2 if there are any.

Example:
  weir check /etc/weir/weir.yaml`,
		Action: func(c *cli.Context) error {
			path, err := oneArgument(c, "FILE", "weir check "+DefaultConfigPath)
			if err != nil {
				return err
			}
			name, file, err := env.loadConfig(path)
			if err != nil {
				return err
			}
			return env.print(fmt.Sprintf("%s: ok: %s\n", name, summary(file)))
		},
	}
}

// loadConfig reads and checks a configuration.
func (e *Environment) loadConfig(path string) (name string, file *config.File, err error) {
	if path != stdin {
		file, err = config.Load(path)
		return path, file, fileError(err)
	}
	name, data, err := e.readConfig(path)
	if err != nil {
		return "", nil, err
	}
	file, err = config.Parse(name, data)
	return name, file, err
}

// readConfig reads a configuration without looking at it.
func (e *Environment) readConfig(path string) (name string, data []byte, err error) {
	name, from := path, e.Stdin
	if path == stdin {
		name = stdinName
	} else {
		file, err := os.Open(path)
		if err != nil {
			return "", nil, fileError(fmt.Errorf("configuration: %w", err))
		}
		defer file.Close()
		from = file
	}
	data, err = io.ReadAll(io.LimitReader(from, control.MaxConfigSize+1))
	if err != nil {
		return "", nil, fileError(fmt.Errorf("configuration: %w", err))
	}
	if len(data) > control.MaxConfigSize {
		return "", nil, fmt.Errorf("configuration: %s has more than %d MiB", name, control.MaxConfigSize>>20)
	}
	return name, data, nil
}

// fileError makes the error of a file that cannot be read one of usage.
func fileError(err error) error {
	var path *fs.PathError
	if !errors.As(err, &path) {
		return err
	}
	switch {
	case errors.Is(err, syscall.EISDIR):
		return usagef("configuration: %s is a directory: name a file, such as %s", path.Path, DefaultConfigPath)
	case errors.Is(err, fs.ErrPermission):
		return usagef("configuration: %s: permission denied: run as root, or name a file that you may read", path.Path)
	}
	return usagef("%v", err)
}

// summary says what a configuration has.
func summary(f *config.File) string {
	var listeners, backends int
	for _, b := range f.Balancers {
		listeners += len(b.Listeners)
		for _, l := range b.Listeners {
			backends += len(l.Backends)
		}
	}
	return fmt.Sprintf("%s, %s, %s", plural(len(f.Balancers), "balancer"), plural(listeners, "listener"), plural(backends, "backend"))
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
