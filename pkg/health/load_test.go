// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/lb"
)

const (
	// loadServerEnv makes the test binary the server of BenchmarkLoad; its
	// value is the type of check to be served.
	loadServerEnv = "WEIR_HEALTH_LOAD_SERVER"

	loadInterval = 5 * time.Second
	loadWindow   = 15 * time.Second
)

// BenchmarkLoad runs the checks of ten thousand targets (five hundred for
// https) with intervals of five seconds against a server in another process,
// and reports what that costs the checking process: the time and the processor
// time until all are decided, then, at rest, its share of one core, the
// processor time of a check, and the longest time from a deciding result to the
// call of OnChange, while some of the targets go down and up.
//
// One iteration lasts about 21 s: go test -bench Load -benchtime 1x
func BenchmarkLoad(b *testing.B) {
	for _, kind := range []struct {
		check   lb.CheckType
		targets int
	}{
		{lb.CheckConnection, 10_000}, {lb.CheckHTTP, 10_000}, {lb.CheckHTTPBody, 10_000}, {lb.CheckHTTPS, 500},
	} {
		b.Run(kind.check.String(), func(b *testing.B) {
			port := startLoadServer(b, kind.check)
			for b.Loop() {
				benchmarkLoad(b, loadTargets(kind.check, port, kind.targets))
			}
		})
	}
}

// loadTargets returns n targets on addresses of their own.
func loadTargets(typ lb.CheckType, port uint16, n int) []lb.Target {
	targets := make([]lb.Target, n)
	for i := range targets {
		addr := netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)})
		targets[i] = lb.Target{Address: netip.AddrPortFrom(addr, port), Check: lb.Check{
			Type: typ, Path: "/healthz", Body: "^ok$", Status: lb.StatusRange{Min: 200, Max: 399},
			Interval: loadInterval, Timeout: 3 * time.Second, Fall: 1, Rise: 1,
		}}
	}
	return targets
}

func benchmarkLoad(b *testing.B, targets []lb.Target) {
	var slowest atomic.Int64
	var outage atomic.Bool // of one target in 256
	errOutage := errors.New("outage")
	c := New(Options{
		OnChange: func(_ lb.Target, s Status) {
			slowest.Store(max(slowest.Load(), int64(time.Since(s.LastCheck))))
		},
		Probe: func(check lb.Check) Probe {
			probe := NewProbe(check)
			return func(ctx context.Context, t lb.Target) error {
				err := probe(ctx, t)
				if err == nil && outage.Load() && t.Address.Addr().As4()[3] == 0 {
					return errOutage
				}
				return err
			}
		},
	})
	c.Set(targets, nil)

	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	start, cpu := time.Now(), processorTime(b)
	go func() { done <- c.Run(ctx) }()
	if err := c.Ready(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(start).Seconds(), "s-to-decide-all")
	b.ReportMetric((processorTime(b) - cpu).Seconds(), "core-s-to-decide-all")

	<-time.After(loadInterval) // the second round still follows the first
	slowest.Store(0)
	before, failed := results(c)
	start, cpu = time.Now(), processorTime(b)
	for range loadWindow / loadInterval {
		outage.Store(!outage.Load())
		<-time.After(loadInterval)
	}
	cpu = processorTime(b) - cpu
	seconds := time.Since(start).Seconds()
	after, failures := results(c)
	checks := float64(after - before)
	b.ReportMetric(100*cpu.Seconds()/seconds, "%core")
	b.ReportMetric(checks/seconds, "checks/s")
	b.ReportMetric(cpu.Seconds()*1e6/checks, "µs/check")
	b.ReportMetric(float64(slowest.Load())/1e6, "ms-change-max")
	b.ReportMetric(0, "ns/op") // an iteration lasts as long as we say
	delete(failures, errOutage.Error())
	if len(failed) > 0 || len(failures) > 0 {
		b.Errorf("the server, or this machine, cannot keep up: %v %v", failed, failures)
	}

	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// results returns how many checks there have been, and how many targets failed
// the last one and why.
func results(c *Checker) (checks uint64, failed map[string]int) {
	failed = map[string]int{}
	for _, s := range c.All() {
		checks += s.Successes + s.Failures
		if s.Err != "" {
			failed[s.Err]++
		}
	}
	return checks, failed
}

// processorTime returns what the process has used so far, in user and kernel.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// startLoadServer starts a process that answers checks of one type on every
// loopback address, and returns its port. It ends with the benchmark.
func startLoadServer(b *testing.B, typ lb.CheckType) uint16 {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), loadServerEnv+"="+typ.String())
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // its end ends the server, also if we are killed
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	var port uint16
	if _, err := fmt.Sscanln(line, &port); err != nil {
		b.Fatal(err)
	}
	return port
}

// serveLoad is the server process: it prints its port and serves until its
// standard input ends.
func serveLoad(kind string) {
	config := net.ListenConfig{Control: loopbackOnly}
	l, err := config.Listen(context.Background(), "tcp4", "0.0.0.0:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	server := httptest.NewUnstartedServer(ok)
	server.Listener.Close()
	server.Listener = l
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	switch kind {
	case lb.CheckConnection.String():
		go acceptAndClose(l)
	case lb.CheckHTTPS.String():
		server.StartTLS()
	default:
		server.Start()
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	io.Copy(io.Discard, os.Stdin)
}

// acceptAndClose reads each connection to its end.
func acceptAndClose(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			io.Copy(io.Discard, conn)
			conn.Close()
		}()
	}
}

// loopbackOnly keeps a listener on all addresses from being reached from
// another host.
func loopbackOnly(_, _ string, raw syscall.RawConn) error {
	var err error
	ctlErr := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptString(int(fd), syscall.SOL_SOCKET, syscall.SO_BINDTODEVICE, "lo")
	})
	if ctlErr != nil {
		return ctlErr
	}
	return err
}
