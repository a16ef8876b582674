// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Command vm runs the tests of packages on another kernel: it boots one of
// Debian's cloud kernels in qemu, without a disk, with the test binaries in its
// initramfs, and exits as they do. It needs no root and no KVM.
//
//	go run ./scripts/vm -kernel 6.1 ./pkg/dataplane/...
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

type options struct {
	kernel      string
	cache       string
	accelerator string
	timeout     time.Duration
	test        testOptions
	packages    []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, parse()); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		stop()
		os.Exit(1)
	}
}

func parse() options {
	var o options
	flag.StringVar(&o.kernel, "kernel", "6.1", "the `release` to boot, as far as it matters")
	flag.StringVar(&o.cache, "cache", defaultCache(), "`directory` of the kernels")
	// KVM is faster where it works; inside another machine it may hang.
	flag.StringVar(&o.accelerator, "accel", "tcg", "qemu's `accelerator`: tcg or kvm")
	flag.DurationVar(&o.timeout, "timeout", 15*time.Minute, "for the machine, from boot to end")
	flag.BoolVar(&o.test.verbose, "v", false, "name every test")
	flag.BoolVar(&o.test.short, "short", true, "run the short forms of long tests")
	flag.StringVar(&o.test.run, "run", "", "run only tests matching `regexp`")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: vm [flags] PACKAGE...")
		flag.PrintDefaults()
	}
	flag.Parse()
	o.packages = flag.Args()
	if len(o.packages) == 0 {
		flag.Usage()
		os.Exit(2)
	}
	return o
}

func defaultCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "weir", "vm")
}

func run(ctx context.Context, o options) error {
	k, err := openKernel(ctx, o.cache, o.kernel)
	if err != nil {
		return fmt.Errorf("kernel %s: %w", o.kernel, err)
	}
	work, err := os.MkdirTemp("", "weir-vm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)

	p, err := buildImage(ctx, filepath.Join(work, "initramfs"), k, o)
	if err != nil {
		return err
	}
	if len(p.Tests) == 0 {
		fmt.Printf("vm: no tests in %v\n", o.packages)
		return nil
	}
	fmt.Printf("vm: booting %s for %d packages\n", k.release, len(p.Tests))
	m := machine{
		accelerator: o.accelerator,
		kernel:      k.image,
		initramfs:   filepath.Join(work, "initramfs"),
		reports:     filepath.Join(work, "reports"),
	}
	started := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout,
		fmt.Errorf("the machine was not done after %v; see -timeout", o.timeout))
	defer cancel()
	if err := m.run(ctx, os.Stdout); err != nil {
		return errors.Join(err, verdict(m.reports, p))
	}
	if err := verdict(m.reports, p); err != nil {
		return err
	}
	fmt.Printf("vm: all passed on %s in %v\n", k.release, time.Since(started).Round(time.Second))
	return nil
}
