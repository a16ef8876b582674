// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/control"
)

// version of Weir, set by the linker.
var version = "dev"

// DefaultConfigPath is the configuration of commands that are told no other.
const DefaultConfigPath = "/etc/weir/weir.yaml"

// Environment is what commands get of the process that they run in.
type Environment struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Terminal       bool // Stdout is one
	Getenv         func(string) string
	Now            func() time.Time
	Dial           control.Dialer
	ConfigPath     string // read if it is there and a command is told no other

	// Hangups returns a channel that gets a value for each SIGHUP until stop
	// is called. Without that call, the signal ends the process.
	Hangups func() (hangups <-chan struct{}, stop func())

	args []string // as typed
}

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // or wrong configuration
)

// Run runs one command, args[0] being the name of the program, and returns the
// exit code. What went wrong is on Stderr by then.
func Run(ctx context.Context, env *Environment, args []string) int {
	env.args = args
	app := newApp(env)
	err := app.RunContext(ctx, arrange(app, args))
	if err == nil {
		return exitDone
	}
	var mistakes config.Errors
	var usage *usageError
	switch {
	case errors.As(err, &mistakes):
		// As a compiler writes them, so that editors find the place.
		fmt.Fprintln(env.Stderr, mistakes.Error())
		return exitUsage
	case errors.As(err, &usage):
		env.complain(err)
		return exitUsage
	}
	env.complain(err)
	return exitFailed
}

// complain writes an error in one line.
func (e *Environment) complain(err error) {
	fmt.Fprintf(e.Stderr, "weir: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
}

// note writes what a person should know beside the output.
func (e *Environment) note(format string, args ...any) {
	fmt.Fprintf(e.Stderr, "weir: note: %s\n", fmt.Sprintf(format, args...))
}

// warn writes what a person has to know of a change: that it takes, or would
// take, traffic away.
func (e *Environment) warn(warnings []string) {
	for _, w := range warnings {
		fmt.Fprintf(e.Stderr, "weir: warning: %s\n", w)
	}
}

// usageError is a command line that is wrong.
type usageError struct{ message string }

// Error returns the message.
func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...)}
}

// IsTerminal reports whether a file is a terminal.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
