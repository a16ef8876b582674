// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Command guest is the first process of a virtual machine that runs tests: it
// mounts what Linux programs expect, runs the plan and switches the machine
// off. As /sbin/modprobe it loads the modules that the kernel asks for.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/scripts/vm/plan"
)

func main() {
	if filepath.Base(os.Args[0]) == "modprobe" {
		if err := modprobe(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "modprobe:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(); err != nil {
		fmt.Println("guest:", err)
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("guest: power off:", err)
	}
}

// run prepares the system and runs the tests. What goes wrong with a test is
// reported and not returned.
func run() error {
	if err := mountAll(); err != nil {
		return err
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	text, err := os.ReadFile(plan.Path)
	if err != nil {
		return err
	}
	var p plan.Plan
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("%s: %w", plan.Path, err)
	}
	reports, err := os.OpenFile(plan.Reports, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer reports.Close()
	out := json.NewEncoder(reports)
	for _, t := range p.Tests {
		r := runTest(t, p.Env)
		if r.Passed {
			fmt.Printf("ok  \t%s\t%.3fs\n", r.Package, r.Took.Seconds())
		} else {
			fmt.Printf("FAIL\t%s\t%.3fs\t%s\n", r.Package, r.Took.Seconds(), r.Message)
		}
		if err := out.Encode(r); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	}
	return nil
}

func runTest(t plan.Test, env []string) plan.Report {
	cmd := exec.Command(t.Command[0], t.Command[1:]...)
	cmd.Dir, cmd.Env = t.Dir, env
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	started := time.Now()
	err := cmd.Run()
	r := plan.Report{Package: t.Package, Passed: err == nil, Took: time.Since(started)}
	if err != nil {
		r.Message = err.Error()
	}
	return r
}

func mountAll() error {
	mounts := []struct{ kind, dir string }{
		{"devtmpfs", "/dev"},
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"tmpfs", "/run"},
		{"tmpfs", "/tmp"},
		{"bpf", "/sys/fs/bpf"},
		{"cgroup2", "/sys/fs/cgroup"},
		{"tracefs", "/sys/kernel/tracing"},
	}
	for _, m := range mounts {
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.dir, err)
		}
	}
	// ip netns and its like want the mounts below /run to be shared.
	return unix.Mount("", "/run", "", unix.MS_SHARED|unix.MS_REC, "")
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(uint16(unix.IFF_UP))
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("lo up: %w", err)
	}
	return nil
}
