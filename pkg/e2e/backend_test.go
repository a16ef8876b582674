// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/testutil"
)

// Ports of the services of a backend, which are the listeners' too.
const (
	webPort  = 80
	echoPort = 7
)

// backend is a host behind a balancer.
type backend struct {
	*testutil.Host
	lab    *lab
	node   *process
	pins   string // of the node
	web    *http.Server
	echo   *server
	talks  *server                // see startTalking
	health atomic.Pointer[answer] // of /healthz
	checks atomic.Uint64          // requests of /healthz
}

// answer is what a page shows.
type answer struct {
	status int
	body   string
}

// startNode starts weir node, with more flags, and waits until it does its work.
func (b *backend) startNode(more ...string) {
	b.lab.t.Helper()
	if b.pins == "" {
		b.pins = testutil.PinPath(b.lab.t)
	}
	argv := slices.Concat([]string{weirBinary(b.lab.t)}, b.nodeArgs(), more)
	b.node = start(b.lab.t, b.Namespace, "weir node on "+b.Label, nil, argv...)
	b.awaitNode()
}

func (b *backend) nodeArgs() []string {
	args := []string{
		"node", "--interface", "eth0", "--xdp-mode", "native",
		"--pin-path", b.pins, "--state-dir", filepath.Join(b.lab.dir, b.Label),
	}
	for n := 1; n <= vipCount; n++ {
		args = append(args, "--vip", vip4(n).String(), "--vip", vip6(n).String())
	}
	return args
}

// awaitNode waits until the node does its work.
func (b *backend) awaitNode() {
	b.lab.t.Helper()
	testutil.WaitFor(b.lab.t, patience, func() error {
		if !b.node.running() {
			b.lab.t.Fatalf("weir node on %s has ended:\n%s", b.Label, b.node.output.String())
		}
		if _, mode, ok := b.xdp("eth0"); !ok || mode != "native" {
			return fmt.Errorf("eth0 of %s has no program", b.Label)
		}
		return nil
	})
}

// xdp returns the XDP program on an interface of a backend.
func (b *backend) xdp(iface string) (id uint32, mode string, ok bool) {
	return xdpOn(b.lab.t, b.Host, iface)
}

// serve starts the services of the backend: HTTP, and TCP that sends back each
// line.
func (b *backend) serve() {
	b.lab.t.Helper()
	b.health.CompareAndSwap(nil, &answer{http.StatusOK, "ok"})
	listener, err := b.Listen("tcp", fmt.Sprintf("[::]:%d", webPort))
	b.lab.must(err)
	server := &http.Server{Handler: b.pages(), ReadHeaderTimeout: patience}
	b.web = server
	go func() { _ = server.Serve(listener) }()
	b.echo = serveEcho(b.lab, b.Host, fmt.Sprintf("[::]:%d", echoPort))
	b.lab.t.Cleanup(func() { _ = server.Close() })
}

// stopServing ends the services, and the connections to them.
func (b *backend) stopServing() {
	b.lab.t.Helper()
	b.lab.must(b.web.Close())
	b.echo.close()
}

// whoHeader has the label of the backend that answered.
const whoHeader = "X-Backend"

// largeBody is what the page /large shows: 100 KB that a part cut out or put
// elsewhere makes different.
func largeBody() []byte {
	var body bytes.Buffer
	for body.Len() < 100_000 {
		fmt.Fprintf(&body, "%09d\n", body.Len())
	}
	return body.Bytes()
}

func (b *backend) pages() http.Handler {
	large := largeBody()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, b.Label) })
	mux.HandleFunc("GET /large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(large) })
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = w.Write(body)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		b.checks.Add(1)
		a := b.health.Load()
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(whoHeader, b.Label)
		mux.ServeHTTP(w, r)
	})
}

// sendLine sends a line to an echo server and checks that it comes back.
func sendLine(conn net.Conn, line string) error {
	if err := conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		return err
	}
	got, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && got != line+"\n" {
		err = fmt.Errorf("sent %q, got %q", line, got)
	}
	return err
}

// xdpOn returns the XDP program on an interface of a host.
func xdpOn(t testing.TB, host *testutil.Host, iface string) (id uint32, mode string, ok bool) {
	t.Helper()
	err := host.Do(func() error {
		link, err := netdev.Interface(iface)
		if errors.Is(err, netdev.ErrNoInterface) {
			return nil
		}
		if err == nil {
			id, mode, ok = netdev.XDPAttached(link.Index)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id, mode, ok
}
