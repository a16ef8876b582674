// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/node"
	"github.com/weirlb/weir/pkg/testutil"
)

// runEnv makes the test binary a node whose pin path is its value: a node acts
// on the network namespace of its process.
const runEnv = "WEIR_NODE_TEST_PINS"

const (
	metricsAddress = "127.0.0.1:9418"
	patience       = 10 * time.Second
)

func vips() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8:f::10")}
}

func TestMain(m *testing.M) {
	pins := os.Getenv(runEnv)
	if pins == "" {
		testutil.Main(m)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := node.Run(ctx, node.Options{
		Interface: "eth0", VIPs: vips(), Mode: dataplane.Native, PinPath: pins, StateDir: os.Args[1],
		Metrics: metricsAddress, Version: "v1", Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// host is a backend host with a node that may run.
type host struct {
	*testutil.Host
	t           *testing.T
	pins, state string
}

func newHost(t *testing.T) (h, balancer *host) {
	t.Helper()
	testutil.RequireBPF(t)
	hosts := testutil.LAN(t, "node", "balancer")
	pins, state := testutil.PinPath(t), t.TempDir()
	return &host{hosts[0], t, pins, state}, &host{hosts[1], t, "", ""}
}

// process is a node that was started.
type process struct {
	*netdev.Command
	log *strings.Builder
}

func (h *host) start() *process {
	h.t.Helper()
	p := &process{Command: h.Command(context.Background(), os.Args[0], h.state), log: new(strings.Builder)}
	p.Env = append(os.Environ(), runEnv+"="+h.pins)
	p.Stderr = p.log
	if err := p.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
	})
	return p
}

// stop ends the node by a signal and returns its exit code, -1 when it was
// killed.
func (p *process) stop(t *testing.T, sig os.Signal) int {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := p.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return p.ProcessState.ExitCode()
}

// get asks the node's metrics server.
func (h *host) get(path string) (code int, text string, err error) {
	client := http.Client{Timeout: patience, Transport: &http.Transport{DialContext: h.DialContext, DisableKeepAlives: true}}
	response, err := client.Get("http://" + metricsAddress + path)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, strings.TrimSpace(string(body)), err
}

func (h *host) await(code int, text string) {
	h.t.Helper()
	testutil.WaitFor(h.t, patience, func() error {
		gotCode, got, err := h.get("/readyz")
		if err == nil && (gotCode != code || got != text) {
			err = fmt.Errorf("/readyz answers %d %q, want %d %q", gotCode, got, code, text)
		}
		return err
	})
}

// settings returns what a node changes: the VIPs on lo, the ARP settings, and
// whether something is pinned.
func (h *host) settings() string {
	h.t.Helper()
	var addrs []string
	err := h.Do(func() error {
		lo, err := net.InterfaceByName("lo")
		if err != nil {
			return err
		}
		list, err := lo.Addrs()
		for _, a := range list {
			if !strings.HasPrefix(a.String(), "127.") && !strings.HasPrefix(a.String(), "::1/") {
				addrs = append(addrs, a.String())
			}
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	ignore, err := h.Sysctl("net/ipv4/conf/all/arp_ignore")
	if err != nil {
		h.t.Fatal(err)
	}
	files, err := os.ReadDir(filepath.Join(h.pins, "links"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.t.Fatal(err)
	}
	return fmt.Sprintf("VIPs %v, arp_ignore %s, %d links", addrs, ignore, len(files))
}

func (h *host) check(when, want string) {
	h.t.Helper()
	if got := h.settings(); got != want {
		h.t.Errorf("%s: got %s, want %s", when, got, want)
	}
}

const (
	untouched = "VIPs [], arp_ignore 0, 0 links"
	serving   = "VIPs [203.0.113.10/32 2001:db8:f::10/128], arp_ignore 1, 1 links"
)

func TestRun(t *testing.T) {
	h, balancer := newHost(t)
	h.check("before", untouched)
	p := h.start()
	h.await(http.StatusOK, "ready")
	h.check("running", serving)
	_, text, err := h.get("/metrics")
	if err != nil || !strings.Contains(text, `weir_node_packets_total{reason="decapsulated"} 0`) {
		t.Errorf("/metrics: %v\n%s", err, text)
	}

	// The interface goes away and another one of that name comes.
	if err := h.DeleteInterface("eth0"); err != nil {
		t.Fatal(err)
	}
	h.await(http.StatusServiceUnavailable, "not ready: interface eth0 does not exist")
	if err := netdev.Connect(
		netdev.Port{Namespace: h.Namespace, Name: "eth0", Addresses: []netip.Prefix{h.Ports[0].IPv4}},
		netdev.Port{Namespace: balancer.Namespace, Name: "eth1"},
	); err != nil {
		t.Fatal(err)
	}
	h.await(http.StatusOK, "ready")
	h.check("interface back", serving)

	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, log:\n%s", code, p.log)
	}
	h.check("stopped", untouched)
	if !strings.Contains(p.log.String(), `msg=stopping packets.pass_not_tunnelled=`) {
		t.Errorf("no summary of the counters in the log:\n%s", p.log)
	}
}

// A node that is killed leaves everything in place, and the next one can undo
// it.
func TestRunAfterKill(t *testing.T) {
	h, _ := newHost(t)
	p := h.start()
	h.await(http.StatusOK, "ready")
	if code := p.stop(t, syscall.SIGKILL); code != -1 {
		t.Errorf("exit code %d, want a signal", code)
	}
	h.check("killed", serving)
	p = h.start()
	h.await(http.StatusOK, "ready")
	h.check("running again", serving)
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, log:\n%s", code, p.log)
	}
	h.check("stopped", untouched)
}

// A node that cannot start changes nothing, and a second one does not disturb
// the first.
func TestRunRefuses(t *testing.T) {
	h, _ := newHost(t)
	taken, err := h.Listen("tcp", metricsAddress)
	if err != nil {
		t.Fatal(err)
	}
	p := h.start()
	if err := p.Wait(); err == nil || !strings.Contains(p.log.String(), "--metrics: listen tcp 127.0.0.1:9418: bind: address already in use") {
		t.Errorf("%v, log:\n%s", err, p.log)
	}
	h.check("refused", untouched)
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}

	first := h.start()
	h.await(http.StatusOK, "ready")
	second := h.start()
	if err := second.Wait(); err == nil {
		t.Error("a second node runs")
	}
	h.check("second refused", serving)
	if code := first.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, log:\n%s", code, first.log)
	}
	h.check("stopped", untouched)
}
