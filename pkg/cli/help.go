// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func helpCommand() *cli.Command {
	return &cli.Command{
		Name:      "help",
		Usage:     "print the help of a command",
		UsageText: "weir help [COMMAND]...",
		Hidden:    true,
		Action: func(c *cli.Context) error {
			path := c.Args().Slice()
			if len(path) == 0 {
				return cli.ShowAppHelp(c)
			}
			command, err := findCommand(c.App.Commands, path)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(c.App.Writer, command.CustomHelpTemplate)
			return err
		},
	}
}

// findCommand returns the command that a path such as "maps", "dump" names.
func findCommand(commands []*cli.Command, path []string) (*cli.Command, error) {
	var found *cli.Command
	parent := "weir"
next:
	for _, name := range path {
		for _, c := range commands {
			if c.HasName(name) {
				found, commands = c, c.Subcommands
				parent += " " + name
				continue next
			}
		}
		return nil, unknownCommand(parent, name, commands)
	}
	return found, nil
}

// appHelp returns the text of `weir --help`. It is a template without actions.
func appHelp(app *cli.App) string {
	var b strings.Builder
	fmt.Fprintf(&b, "weir - %s\n\nUsage: weir COMMAND [FLAGS] [ARGUMENTS]\n", app.Usage)
	for _, group := range []string{groupRun, groupChange, groupLook} {
		fmt.Fprintf(&b, "\n%s:\n", group)
		for _, c := range app.Commands {
			if c.Category == group {
				fmt.Fprintf(&b, "  %-11s%s\n", c.Name, c.Usage)
			}
		}
	}
	b.WriteString(`
To begin with: weir check FILE, then weir agent --config FILE as root, then weir status.
Each command has more to say, with examples: weir COMMAND --help
Exit codes: 0 done, 1 failed, 2 wrong usage or wrong configuration.
`)
	return b.String()
}

// commandHelp returns the text of `weir COMMAND --help`, also a template
// without actions.
func commandHelp(parent string, c *cli.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s - %s\n\nUsage: %s\n", parent, c.Name, c.Usage, c.UsageText)
	if c.Description != "" {
		fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(c.Description))
	}
	if len(c.Subcommands) > 0 {
		b.WriteString("\nCommands:\n")
	}
	for _, sub := range c.Subcommands {
		fmt.Fprintf(&b, "  %-8s%s\n", sub.Name, sub.Usage)
	}
	if len(c.Flags) > 0 {
		b.WriteString("\nFlags:\n")
		writeFlags(&b, c.Flags)
	}
	return b.String()
}

// writeFlags writes a line for each flag, in columns.
func writeFlags(b *strings.Builder, flags []cli.Flag) {
	var names, texts []string
	width := 0
	for _, f := range flags {
		name, text := flagHelp(f)
		width = max(width, len(name))
		names, texts = append(names, name), append(texts, text)
	}
	for i := range names {
		fmt.Fprintf(b, "  %-*s  %s\n", width, names[i], texts[i])
	}
}

// flagHelp returns how a flag is written and what it does. A word in backquotes
// that its usage begins with stands for the value.
func flagHelp(f cli.Flag) (name, text string) {
	text = f.(cli.DocGenerationFlag).GetUsage()
	value := ""
	if rest, ok := strings.CutPrefix(text, "`"); ok {
		value, text, _ = strings.Cut(rest, "`")
		value, text = " "+value, strings.TrimLeft(text, ": ")
	}
	for _, n := range f.Names() {
		dash := "--"
		if len(n) == 1 {
			dash = "-"
		}
		if name != "" {
			name += ", "
		}
		name += dash + n
	}
	return name + value, text
}
