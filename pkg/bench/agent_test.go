// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/testutil"
)

// Bounds of DESIGN for an agent at rest, with 1,000 listeners of 100 backends
// and no checks.
const (
	residentBound = 100 // MB
	restCPUBound  = 1.0 // % of a core
)

// restWindow is how long an agent is watched at rest.
const restWindow = 20 * time.Second

// BenchmarkAgent prints what an agent takes that has nothing to do.
func BenchmarkAgent(b *testing.B) {
	testutil.RequireBPF(b)
	for b.Loop() {
		ready, resident, cpu := measureAgent(b)
		b.ReportMetric(0, "ns/op") // says nothing here

		w := newTable("agent with 1,000 listeners of 100 backends", "", "bound", "")
		row(w, "from start to ready", fmt.Sprintf("%.1f s", ready.Seconds()), "", "")
		row(w, "resident memory at rest", fmt.Sprintf("%.0f MB", resident), fmt.Sprintf("%d MB", residentBound), judge(resident, residentBound))
		row(w, "of a core at rest, without checks", fmt.Sprintf("%.2f %%", cpu), fmt.Sprintf("%.0f %%", restCPUBound), judge(cpu, restCPUBound))
		w.Flush()
	}
}

// measureAgent runs the real agent in a network where all backends are behind
// one router.
func measureAgent(b *testing.B) (ready time.Duration, resident, cpu float64) {
	hosts := testutil.LAN(b, "balancer", "router")
	balancer, router := hosts[0], hosts[1]
	backends := netdev.Route{Destination: netip.MustParsePrefix("10.0.0.0/8"), Gateway: router.IPv4()}
	if err := balancer.SetRoute(backends); err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	socket := filepath.Join(dir, "weir.sock")
	config := filepath.Join(dir, "weir.yaml")
	if err := os.WriteFile(config, largeConfig(socket, testutil.PinPath(b)), 0o600); err != nil {
		b.Fatal(err)
	}
	var output bytes.Buffer
	agent := balancer.Command(b.Context(), buildWeir(b, dir), "agent", "--config", config)
	agent.Stdout, agent.Stderr = &output, &output
	began := time.Now()
	if err := agent.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := errors.Join(agent.Process.Signal(syscall.SIGTERM), agent.Wait()); err != nil {
			b.Errorf("agent: %v; it said:\n%s", err, output.String())
		}
	}()
	client := control.NewClient(socket, func(ctx context.Context, socket string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	})
	testutil.WaitFor(b, time.Minute, func() error {
		status, err := client.Status(b.Context())
		if err == nil && !status.Ready {
			err = errors.New(status.NotReady)
		}
		return err
	})
	ready = time.Since(began)
	before := processorTime(b, agent.Process.Pid)
	<-time.After(restWindow)
	after := processorTime(b, agent.Process.Pid)
	return ready, residentMemory(b, agent.Process.Pid), 100 * float64(after-before) / float64(restWindow)
}

func largeConfig(socket, pinPath string) []byte {
	var c bytes.Buffer
	fmt.Fprintf(&c, "agent:\n  interfaces: [eth0]\n  socket: %s\n  pin_path: %s\n  metrics: \"off\"\n", socket, pinPath)
	fmt.Fprintf(&c, "balancers:\n- label: web\n  addresses: [203.0.113.10]\n  listeners:\n")
	for i := range 1000 {
		fmt.Fprintf(&c, "  - port: %d\n    forward: ipip\n    check: {type: none}\n    backends:\n", firstPort+i)
		for j := range 100 {
			fmt.Fprintf(&c, "    - address: 10.%d.%d.%d:%d\n", i>>8, i&0xff, j+1, firstPort+i)
		}
	}
	return c.Bytes()
}

func buildWeir(b *testing.B, dir string) string {
	b.Helper()
	path := filepath.Join(dir, "weir")
	build := exec.CommandContext(b.Context(), "go", "build", "-o", path, "github.com/weirlb/weir/cmd/weir")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("building weir: %v\n%s", err, out)
	}
	return path
}

// residentMemory returns the resident memory of a process in MB.
func residentMemory(b *testing.B, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kB / 1000 * 1.024
		}
	}
	b.Fatalf("process %d has no resident memory", pid)
	return 0
}

// processorTime returns the processor time that a process has used.
func processorTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	// The name in parentheses may hold spaces; utime and stime are the 12th
	// and 13th field behind it, in hundredths of a second.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}
