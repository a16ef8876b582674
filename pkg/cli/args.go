// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange puts the flags of a command line before its arguments, which the
// library asks for and no person expects: `weir backends web -o json` is
// `weir backends -o json web`. Flags may also stand before a subcommand.
func arrange(app *cli.App, args []string) []string {
	if len(args) == 0 {
		return []string{app.Name}
	}
	path := args[:1:1]
	known, commands := app.Flags, app.Commands
	var flags, rest []string
	for args = args[1:]; len(args) > 0; args = args[1:] {
		arg := args[0]
		if arg == "--" {
			rest = append(rest, args[1:]...)
			break
		}
		if len(arg) > 1 && arg[0] == '-' {
			flags = append(flags, arg)
			if takesNext(known, commands, arg) {
				if len(args) == 1 {
					return append(path, arg) // what is missing must not be taken from elsewhere
				}
				flags = append(flags, args[1])
				args = args[1:]
			}
			continue
		}
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(arg) })
		if i < 0 || len(rest) > 0 {
			rest = append(rest, arg)
			continue
		}
		path = append(path, arg)
		known, commands = commands[i].Flags, commands[i].Subcommands
	}
	if slices.ContainsFunc(flags, func(f string) bool { return f == "--help" || f == "-h" || f == "-help" }) {
		if len(path) > 1 || len(rest) == 0 {
			return append(path, "--help") // whatever else is there
		}
		return append(path, rest...) // no command to help with
	}
	return slices.Concat(path, flags, []string{"--"}, rest)
}

// takesNext reports whether the argument after a flag is its value. Flags of
// subcommands count: they may stand before it.
func takesNext(known []cli.Flag, commands []*cli.Command, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, c := range commands {
		known = slices.Concat(known, c.Flags)
	}
	for _, f := range known {
		if slices.Contains(f.Names(), name) {
			return f.(cli.DocGenerationFlag).TakesValue()
		}
	}
	return false
}

// nearest returns the one of words that name is probably a misspelling of.
func nearest(name string, words []string) (string, bool) {
	best, least := "", 1+max(1, len(name)/3)
	for _, w := range words {
		if d := edits(name, w); d < least || len(name) > 2 && strings.HasPrefix(w, name) && best == "" {
			best, least = w, d
		}
	}
	return best, best != ""
}

// nearer returns words with those first that are most like a misspelt one.
func nearer(misspelt string, words []string) []string {
	distances := make(map[string]int, len(words))
	for _, w := range words {
		distances[w] = edits(misspelt, w)
	}
	return slices.SortedStableFunc(slices.Values(words), func(a, b string) int { return cmp.Compare(distances[a], distances[b]) })
}

// edits returns how many letters to insert, remove or replace to make b of a.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		corner := row[0]
		row[0] = i + 1
		for j := range b {
			cost := corner
			if a[i] != b[j] {
				cost++
			}
			corner = row[j+1]
			row[j+1] = min(cost, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}
