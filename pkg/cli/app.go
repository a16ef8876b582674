// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// The groups of commands, in the order of the help.
const (
	groupRun    = "Run"
	groupChange = "Change"
	groupLook   = "Look"
)

// commands returns all commands, in the order of the help.
func commands(env *Environment) []*cli.Command {
	return []*cli.Command{
		agentCommand(env),
		nodeCommand(env),
		demoCommand(env),

		checkCommand(env),
		planCommand(env),
		applyCommand(env),
		drainCommand(env),
		acceptCommand(env),
		rejectCommand(env),
		unloadCommand(env),

		statusCommand(env),
		balancersCommand(env),
		listenersCommand(env),
		backendsCommand(env),
		flowsCommand(env),
		mapsCommand(env),
		versionCommand(env),

		helpCommand(),
	}
}

func newApp(env *Environment) *cli.App {
	app := &cli.App{
		Name:            "weir",
		Usage:           "a load balancer in the Linux kernel",
		HideVersion:     true,
		HideHelpCommand: true,
		Reader:          env.Stdin,
		Writer:          env.Stdout,
		ErrWriter:       env.Stderr,
		ExitErrHandler:  func(*cli.Context, error) {}, // Run has the exit codes
		Commands:        commands(env),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "version", Usage: "print the version"},
			&cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "print this help"},
		},
	}
	app.CustomAppHelpTemplate = appHelp(app)
	app.OnUsageError = usageErrorOf(env, app.Flags)
	app.Action = func(c *cli.Context) error {
		switch {
		case c.Args().Present():
			return unknownCommand("weir", c.Args().First(), app.Commands)
		case c.Bool("version"):
			return printVersion(env, formatTable)
		}
		return cli.ShowAppHelp(c)
	}
	for _, c := range app.Commands {
		finish(env, "weir", c)
	}
	return app
}

// finish gives a command and its subcommands what all have in common.
func finish(env *Environment, parent string, c *cli.Command) {
	c.HideHelpCommand = true
	c.CustomHelpTemplate = commandHelp(parent, c)
	c.OnUsageError = usageErrorOf(env, c.Flags)
	for _, sub := range c.Subcommands {
		finish(env, parent+" "+c.Name, sub)
	}
}

// usageErrorOf returns what is said of flags that cannot be read.
func usageErrorOf(env *Environment, flags []cli.Flag) cli.OnUsageErrorFunc {
	return func(_ *cli.Context, err error, _ bool) error {
		const unknown = "flag provided but not defined: -"
		const incomplete = "flag needs an argument: -"
		if name, ok := strings.CutPrefix(err.Error(), incomplete); ok {
			return usagef("%s needs a value", env.typed(name))
		}
		name, ok := strings.CutPrefix(err.Error(), unknown)
		if !ok {
			return usagef("%v", err)
		}
		var names []string
		for _, f := range flags {
			names = append(names, f.Names()[0])
		}
		name = strings.TrimLeft(name, "-")
		if near, ok := nearest(name, names); ok {
			return usagef("unknown flag %s, did you mean --%s?", env.typed(name), near)
		}
		return usagef("unknown flag %s: add --help for those that there are", env.typed(name))
	}
}

// typed returns a flag as the command line has it, with one dash or two.
func (e *Environment) typed(name string) string {
	for _, arg := range e.args {
		if flag, _, _ := strings.Cut(arg, "="); flag == "-"+name {
			return flag
		}
	}
	return "--" + name
}

// unknownCommand says that parent has no such command.
func unknownCommand(parent, name string, commands []*cli.Command) error {
	var names []string
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	if near, ok := nearest(name, names); ok {
		return usagef("unknown command %q, did you mean %q?", parent+" "+name, parent+" "+near)
	}
	return usagef("unknown command %q: see %s --help", parent+" "+name, parent)
}
