// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"log/slog"

	"github.com/urfave/cli/v2"
)

func logFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "`FORMAT` of the log on stderr: text or json"},
		&cli.StringFlag{Name: "log-level", Value: "info", Usage: "`LEVEL` to log from: debug, info, warn or error"},
	}
}

// logger returns the logger that a command line asks for.
func (e *Environment) logger(c *cli.Context) (*slog.Logger, error) {
	var options slog.HandlerOptions
	switch level := c.String("log-level"); level {
	case "debug":
		options.Level = slog.LevelDebug
	case "info":
		options.Level = slog.LevelInfo
	case "warn":
		options.Level = slog.LevelWarn
	case "error":
		options.Level = slog.LevelError
	default:
		return nil, usagef("--log-level %s: want debug, info, warn or error", level)
	}
	switch format := c.String("log-format"); format {
	case "text":
		return slog.New(slog.NewTextHandler(e.Stderr, &options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(e.Stderr, &options)), nil
	default:
		return nil, usagef("--log-format %s: want text or json", format)
	}
}
