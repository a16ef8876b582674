// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/demo"
	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/testutil"
)

// TestDemo runs the demo, which is to show that everything works, and cleans up.
func TestDemo(t *testing.T) {
	testutil.RequireBPF(t)
	began := time.Now()
	var out bytes.Buffer
	if err := runDemo(weirBinary(t), &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Logf("the demo took %v", time.Since(began).Round(100*time.Millisecond))
	// A line for each way of forwarding and family in each of four steps.
	rows := 0
	for line := range strings.Lines(out.String()) {
		fields := strings.Fields(line)
		if len(fields) == 7 && fields[0] != "MODE" && fields[6] == "0" {
			rows++
		}
	}
	if rows != 16 {
		t.Errorf("the demo shows %d lines without a failed request, want 16:\n%s", rows, out.String())
	}
	demoLeavesNothing(t)
}

// TestBrokenDemo breaks what the demo shows, and has it notice.
func TestBrokenDemo(t *testing.T) {
	testutil.RequireBPF(t)
	for _, c := range []struct {
		name   string
		script string // what the binary does instead of `weir "$@"`
		says   string
	}{
		{"nodes that do nothing", `
			if [ "$1" = node ]; then exec sleep 1000; fi
			exec weir "$@"`,
			"ipip over IPv4, to 203.0.113.10: "},
		{"nodes without one address", `
			args=()
			for arg; do
				if [ "$arg" = 2001:db8:a::20 ]; then unset 'args[-1]'; else args+=("$arg"); fi
			done
			exec weir "${args[@]}"`,
			"dsr over IPv6, to 2001:db8:a::20: "},
		{"an agent that drains at once", `
			if [ "$1" = agent ]; then
				text=$(<"$3")
				printf '%s\n' "${text//    check:/    drain_timeout: 0s
    check:}" >"$3"
			fi
			exec weir "$@"`,
			"web-3 drains"},
		{"an agent that does not check", `
			if [ "$1" = agent ]; then
				text=$(<"$3")
				printf '%s\n' "${text//'{type: http, path: /healthz, interval: 400ms, timeout: 400ms, fall: 2, rise: 2}'/'{type: none}'}" >"$3"
			fi
			exec weir "$@"`,
			"web-2 goes down"},
		{"an agent that ends", `
			if [ "$1" = agent ]; then exit 0; fi
			exec weir "$@"`,
			"weir agent on balancer has ended"},
	} {
		t.Run(c.name, func(t *testing.T) {
			script := "#!/bin/bash\nweir=" + weirBinary(t) + strings.ReplaceAll(c.script, "exec weir", `exec "$weir"`)
			path := filepath.Join(tempDir(t), "weir")
			if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := runDemo(path, &out); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the demo returned %v, want an error with %q; it showed:\n%s", err, c.says, out.String())
			}
			demoLeavesNothing(t)
		})
	}
}

// TestInterruptedDemo stops the demo in the middle.
func TestInterruptedDemo(t *testing.T) {
	testutil.RequireBPF(t)
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	out := interrupter{after: "attached to eth0", interrupt: interrupt}
	err := demo.Run(ctx, demo.Options{Executable: weirBinary(t), Stdout: &out})
	if want := "interrupted; everything is cleaned up"; err == nil || err.Error() != want {
		t.Errorf("the demo returned %v, want: %s", err, want)
	}
	demoLeavesNothing(t)
}

// interrupter calls interrupt when a text was written.
type interrupter struct {
	written   bytes.Buffer
	after     string
	interrupt func()
}

// Write looks for the text.
func (i *interrupter) Write(b []byte) (int, error) {
	n, err := i.written.Write(b)
	if strings.Contains(i.written.String(), i.after) {
		i.interrupt()
	}
	return n, err
}

func runDemo(executable string, out *bytes.Buffer) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	return demo.Run(ctx, demo.Options{Executable: executable, Stdout: out})
}

// demoLeavesNothing sees that demos of this process left no namespace, pin,
// file or process.
func demoLeavesNothing(t *testing.T) {
	t.Helper()
	mark := fmt.Sprintf("weir-demo-%d", os.Getpid())
	names, err := netdev.Namespaces(mark)
	if err != nil || len(names) > 0 {
		t.Errorf("the demo left network namespaces %v, %v", names, err)
	}
	for _, pattern := range []string{"/sys/fs/bpf/" + mark + "*", filepath.Join(os.TempDir(), mark+"*")} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("the demo left %v, %v", left, err)
		}
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("the demo left processes:\n%s", strings.Join(left, "\n"))
	}
}

// children returns the command lines of the processes that this one started and
// that have not ended.
func children(t *testing.T) (found []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		// The name before is in parentheses, and may have any character in it.
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}
