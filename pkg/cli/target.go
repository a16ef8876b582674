// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/control"
)

// target is the agent that a command means: where it answers, and where its
// maps are pinned.
type target struct {
	socket  string
	pinPath string

	// A command line that names one of the two may mean another agent than the
	// one that the other is of by default.
	pinsOnly, socketOnly bool
}

const (
	flagConfig  = "config"
	flagSocket  = "socket"
	flagPinPath = "pin-path"
)

func configFlag() cli.Flag {
	return &cli.StringFlag{Name: flagConfig, Usage: "`FILE` that says where the agent is (default: " + DefaultConfigPath +
		" if it is there)"}
}

func socketFlag() cli.Flag {
	return &cli.StringFlag{Name: flagSocket, Usage: "`PATH` of the agent's socket (default: agent.socket, " + config.DefaultSocket + ")"}
}

func pinPathFlag() cli.Flag {
	return &cli.StringFlag{Name: flagPinPath, Usage: "`DIR` of the pinned maps (default: agent.pin_path, " + config.DefaultPinPath + ")"}
}

// targetFlags are the flags that name an agent.
func targetFlags() []cli.Flag { return []cli.Flag{configFlag(), socketFlag(), pinPathFlag()} }

// target finds the agent that a command line means: by its flags, else in its
// configuration.
func (e *Environment) target(c *cli.Context) (target, error) {
	t := target{socket: c.String(flagSocket), pinPath: c.String(flagPinPath)}
	if t.socket != "" && t.pinPath != "" {
		return t, nil
	}
	named := c.IsSet(flagConfig)
	t.pinsOnly = t.pinPath != "" && !named
	t.socketOnly = t.socket != "" && !named
	path := c.String(flagConfig)
	if !named {
		path = e.ConfigPath
		if _, err := os.Stat(path); t.socketOnly || errors.Is(err, fs.ErrNotExist) {
			return t.or(config.DefaultSocket, config.DefaultPinPath), nil
		}
	}
	file, err := config.Load(path)
	if err == nil {
		return t.or(file.Agent.Socket, file.Agent.PinPath), nil
	}
	if t.pinsOnly {
		return t.or(config.DefaultSocket, ""), nil
	}
	// A file that is being edited must not stand in the way of looking at the
	// agent that runs: what it says of socket and pins may still be readable.
	socket, pinPath, ok := config.Places(path)
	if !ok {
		return target{}, fileError(err)
	}
	e.note("%s has mistakes, which `weir check` lists; going by its agent.socket and agent.pin_path", path)
	return t.or(socket, pinPath), nil
}

// pins returns where the maps of an agent are pinned.
func (e *Environment) pins(ctx context.Context, t target) (string, error) {
	if !t.socketOnly {
		return t.pinPath, nil
	}
	status, err := e.client(t).Status(ctx)
	if errors.Is(err, control.ErrNoAgent) {
		return "", fmt.Errorf("%w on %s that would say where its maps are: name them by --pin-path or --config",
			control.ErrNoAgent, t.socket)
	}
	return status.PinPath, err
}

// or fills in what is not known yet.
func (t target) or(socket, pinPath string) target {
	if t.socket == "" {
		t.socket = socket
	}
	if t.pinPath == "" {
		t.pinPath = pinPath
	}
	return t
}

// owner returns a client of the agent of a target, and refuses one that has other
// maps than those that the command line names.
func (e *Environment) owner(ctx context.Context, t target) (*control.Client, error) {
	client := e.client(t)
	err := owns(ctx, client, t)
	if errors.Is(err, control.ErrNoAgent) {
		err = fmt.Errorf("%w; --pin-path says where maps are: name the socket of their agent by --socket, or its file by --config", err)
	}
	return client, err
}

// client returns a client of the agent.
func (e *Environment) client(t target) *control.Client { return control.NewClient(t.socket, e.Dial) }
