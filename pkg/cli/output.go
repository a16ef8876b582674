// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/config"
)

// format is how a listing is written.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
	formatYAML  format = "yaml"
)

const flagOutput = "output"

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: flagOutput, Aliases: []string{"o"}, Value: string(formatTable), Usage: "`FORMAT`: table, json or yaml"}
}

// outputFormat returns the format that a command line asks for.
func outputFormat(c *cli.Context) (format, error) {
	f := format(c.String(flagOutput))
	if !slices.Contains([]format{formatTable, formatJSON, formatYAML}, f) {
		return "", usagef("-o %s: want table, json or yaml", f)
	}
	return f, nil
}

// listing is what a command found, to be written in any format.
type listing struct {
	value any // what JSON and YAML show
	table table
	long  *longListing // in place of both, if there may be very many rows
}

// write writes a listing to Stdout.
func (e *Environment) write(f format, l listing) error {
	if l.long != nil {
		return e.writeLong(f, *l.long)
	}
	var text string
	var err error
	switch f {
	case formatJSON:
		text, err = jsonText(l.value)
	case formatYAML:
		text, err = yamlText(l.value)
	default:
		text = l.table.text(e.colours())
	}
	if err != nil {
		return err
	}
	return e.print(text)
}

// print writes text to Stdout.
func (e *Environment) print(text string) error {
	if _, err := fmt.Fprint(e.Stdout, text); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}

// colours reports whether output may have colours (https://no-color.org).
func (e *Environment) colours() bool {
	return e.Terminal && e.Getenv("NO_COLOR") == "" && e.Getenv("TERM") != "dumb"
}

func jsonText(value any) (string, error) {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return "", fmt.Errorf("writing JSON: %w", err)
	}
	return b.String(), nil
}

// yamlText has the keys of JSON, in the same order.
func yamlText(value any) (string, error) {
	text, err := jsonText(value)
	if err != nil {
		return "", err
	}
	out, err := config.FromJSON([]byte(text))
	if err != nil {
		return "", fmt.Errorf("writing YAML: %w", err)
	}
	return string(out), nil
}
