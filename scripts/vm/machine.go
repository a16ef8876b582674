// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/weirlb/weir/scripts/vm/plan"
)

// machine is a virtual machine with two serial ports: the console, and one for
// the reports.
type machine struct {
	accelerator string // of qemu
	kernel      string
	initramfs   string
	reports     string // file that gets the reports
}

// run boots the machine, copies its console to w and returns once the machine
// is off.
func (m machine) run(ctx context.Context, w io.Writer) error {
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", m.accelerator, "-cpu", "max", "-smp", "2", "-m", "2G",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-serial", "file:"+m.reports,
		"-kernel", m.kernel, "-initrd", m.initramfs,
		// A panic resets the machine, which ends it. An emulated timer may be
		// too late for the kernel's check of it.
		"-append", "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off no_timer_check")
	console, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start qemu (scripts/bootstrap.sh vm installs it): %w", err)
	}
	copyErr := copyLines(w, console)
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("qemu: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	return copyErr
}

// copyLines copies a console, without the carriage returns of a terminal.
func copyLines(w io.Writer, console io.Reader) error {
	r := bufio.NewReader(console)
	for {
		line, err := r.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			fmt.Fprintln(w, line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// verdict reads what the guest reported: nil if every test of the plan passed.
func verdict(reports string, p plan.Plan) error {
	f, err := os.Open(reports)
	if err != nil {
		return err
	}
	defer f.Close()
	missing := make(map[string]bool)
	for _, t := range p.Tests {
		missing[t.Package] = true
	}
	var errs []error
	d := json.NewDecoder(f)
	for {
		var r plan.Report
		if err := d.Decode(&r); err != nil {
			if !errors.Is(err, io.EOF) {
				errs = append(errs, fmt.Errorf("a report cannot be read: %w", err))
			}
			break
		}
		delete(missing, r.Package)
		if !r.Passed {
			errs = append(errs, fmt.Errorf("%s: %s", r.Package, r.Message))
		}
	}
	for _, t := range p.Tests {
		if missing[t.Package] {
			errs = append(errs, fmt.Errorf("%s: no result, the machine went down before", t.Package))
		}
	}
	return errors.Join(errs...)
}
