// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// webServer is the HTTP server of a backend, which answers with its label.
type webServer struct {
	host   *host
	server *http.Server
}

// serve starts the web server of a host. It listens on all addresses, those of
// the balancers among them once the node holds them.
func serve(h *host) (*webServer, error) {
	listener, err := h.Listen("tcp", net.JoinHostPort("::", fmt.Sprint(port)))
	if err != nil {
		return nil, fmt.Errorf("starting the web server of %s: %w", h.label, err)
	}
	w := &webServer{host: h, server: &http.Server{
		ReadHeaderTimeout: time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, h.label)
		}),
	}}
	go func() { _ = w.server.Serve(listener) }()
	return w, nil
}

func (w *webServer) stop() error { return w.server.Close() }

// answers counts who answered the requests to one address.
type answers struct {
	by     map[string]int // label of a backend
	failed int
	why    error // of the last that failed
}

// requestTimeout bounds a connection being made, and twice that a request as a
// whole: enough for the busiest machine, and for TCP to send a packet again.
const requestTimeout = 4 * time.Second

// clients is how many requests are under way at once. On a busy machine most
// of a request is waiting for a processor.
const clients = 8

// request makes n requests from the client to an address, each over a
// connection of its own.
func (l *lab) request(ctx context.Context, address netip.Addr, n int) answers {
	client := http.Client{
		Timeout: 2 * requestTimeout,
		Transport: &http.Transport{
			DialContext:       l.dial,
			DisableKeepAlives: true,
		},
	}
	url := "http://" + netip.AddrPortFrom(address, port).String() + "/"
	a := answers{by: make(map[string]int)}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(clients)
	for range n {
		group.Go(func() error {
			mu.Lock()
			broken := a.failed > 0
			mu.Unlock()
			if broken { // and stays so: the rest need not wait for nothing too
				return nil
			}
			label, err := get(ctx, &client, url)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				a.failed++
				a.why = err
				return nil
			}
			a.by[label]++
			return nil
		})
	}
	_ = group.Wait()
	return a
}

// dial connects from the client. It gives up before a request does: an HTTP
// client lets a connection that it no longer waits for go on being tried.
func (l *lab) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return l.client.DialContext(ctx, network, address)
}

func get(ctx context.Context, client *http.Client, url string) (label string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return string(body), nil
}
