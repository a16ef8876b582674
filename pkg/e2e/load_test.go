// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/testutil"
)

// load is traffic from the client that does not pause until it is stopped:
// short requests, each over a connection of its own, and connections that stay
// open. Nothing of it may ever fail.
type load struct {
	t       testing.TB
	stopped chan struct{}
	workers sync.WaitGroup

	mu       sync.Mutex
	requests int // answered so far
	lines    int // sent back so far, on connections that stay open
	failures []error
}

const (
	// requestPause is from one request of a worker to its next: enough to keep
	// the client busy, and not the machine.
	requestPause = 20 * time.Millisecond
	linePause    = 100 * time.Millisecond

	// openConnections is how many connections stay open to each address.
	openConnections = 4
)

// startLoad sends requests to the web port of balancers' addresses, and lines
// to their echo port, if there is one.
func (l *lab) startLoad(echo bool, vips ...netip.Addr) *load {
	l.t.Helper()
	w := &load{t: l.t, stopped: make(chan struct{})}
	for _, vip := range vips {
		client := httpClient(l.client)
		w.workers.Go(func() {
			w.repeat(requestPause, &w.requests, func() error {
				_, _, err := get(client, url(vip, webPort, "/"))
				return err
			})
		})
		for i := range openConnections {
			if !echo {
				break
			}
			conn := l.dialEcho(vip)
			w.workers.Go(func() {
				defer conn.Close()
				n := 0
				w.repeat(linePause, &w.lines, func() error {
					n++
					return sendLine(conn, fmt.Sprintf("line %d of connection %d", n, i))
				})
			})
		}
	}
	l.t.Cleanup(w.stop)
	w.awaitMore()
	return w
}

func (l *lab) dialEcho(vip netip.Addr) net.Conn {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	conn, err := l.client.DialContext(ctx, "tcp", netip.AddrPortFrom(vip, echoPort).String())
	l.must(err)
	return conn
}

// repeat calls fn until the load stops or fn fails, and counts.
func (w *load) repeat(pause time.Duration, count *int, fn func() error) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-w.stopped:
			return
		case <-ticker.C:
		}
		err := fn()
		w.mu.Lock()
		if err != nil {
			w.failures = append(w.failures, err)
		} else {
			*count++
		}
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// awaitMore waits until much more has been answered: what is done before and
// after it happens under load.
func (w *load) awaitMore() {
	w.t.Helper()
	requests, lines := w.progress()
	testutil.WaitFor(w.t, patience, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.failures) > 0 {
			w.t.Fatalf("under load: %v", w.failures)
		}
		moreRequests, moreLines := w.requests-requests, w.lines-lines
		if moreRequests < 30 || w.lines > 0 && moreLines < 30 {
			return fmt.Errorf("only %d more requests and %d more lines were answered", moreRequests, moreLines)
		}
		return nil
	})
}

func (w *load) progress() (requests, lines int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests, w.lines
}

// stop ends the load and fails the test if anything of it failed.
func (w *load) stop() {
	select {
	case <-w.stopped:
		return
	default:
	}
	close(w.stopped)
	w.workers.Wait()
	for _, err := range w.failures {
		w.t.Errorf("under load: %v", err)
	}
	w.t.Logf("%d requests and %d lines were answered", w.requests, w.lines)
}

// mustLoseNothing sees that no packet was dropped between two readings of the
// counters.
func mustLoseNothing(t testing.TB, before, after map[string]uint64) {
	t.Helper()
	for reason, packets := range after {
		if packets == before[reason] {
			continue
		}
		switch reason {
		case "pass_not_ip", "pass_not_ours", "forwarded":
		default:
			t.Errorf("%d packets left for the reason %s", packets-before[reason], reason)
		}
	}
}
