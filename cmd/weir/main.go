// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Weir is a load balancer whose data plane runs in the Linux kernel.
package main

import (
	"context"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/weirlb/weir/pkg/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(cli.Run(ctx, &cli.Environment{
		Stdin:      os.Stdin,
		Stdout:     os.Stdout,
		Stderr:     os.Stderr,
		Terminal:   cli.IsTerminal(os.Stdout),
		Getenv:     os.Getenv,
		Now:        time.Now,
		ConfigPath: cli.DefaultConfigPath,
		Hangups:    cli.Hangups,
		Dial: func(ctx context.Context, socket string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}, os.Args))
}
