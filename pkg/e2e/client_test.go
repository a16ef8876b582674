// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/weirlb/weir/pkg/testutil"
)

// requestTimeout bounds one request. TCP makes up for a lost packet within a
// few seconds; what does not come within this time does not come.
const requestTimeout = 20 * time.Second

// silence is how long nothing comes where nothing is to come.
const silence = time.Second

// httpClient returns a client on a host, each of whose requests is a connection
// of its own.
func httpClient(host *testutil.Host) *http.Client { return httpClientFrom(host, netip.Addr{}) }

// httpClientFrom is httpClient with the address that it connects from, unless
// that is zero.
func httpClientFrom(host *testutil.Host, source netip.Addr) *http.Client {
	// A client lets a connection that it no longer waits for go on being tried,
	// so it is the dialer that gives up first.
	dialer := net.Dialer{Timeout: requestTimeout}
	if source.IsValid() {
		dialer.LocalAddr = &net.TCPAddr{IP: source.AsSlice()}
	}
	dial := func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = host.Do(func() error {
			conn, err = dialer.DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
	return &http.Client{
		Timeout:   2 * requestTimeout,
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
	}
}

// nobodyAnswers fails the test if the web port of a balancer's address accepts
// a connection. It returns why there was none.
func (l *lab) nobodyAnswers(vip netip.Addr) error {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), silence)
	defer cancel()
	conn, err := l.client.DialContext(ctx, "tcp", netip.AddrPortFrom(vip, webPort).String())
	if err == nil {
		_ = conn.Close()
		l.t.Errorf("somebody accepts connections to %s", vip)
	}
	return err
}

// url returns the address of a page of a balancer.
func url(vip netip.Addr, port int, path string) string {
	return "http://" + netip.AddrPortFrom(vip, uint16(port)).String() + path
}

// get makes a request and returns what was answered, and by whom.
func get(client *http.Client, url string) (who string, body []byte, err error) {
	response, err := client.Get(url)
	if err != nil {
		return "", nil, err
	}
	return read(response)
}

// post sends a body and returns what was answered, and by whom.
func post(client *http.Client, url string, sent []byte) (who string, body []byte, err error) {
	response, err := client.Post(url, "application/octet-stream", bytes.NewReader(sent))
	if err != nil {
		return "", nil, err
	}
	return read(response)
}

func read(response *http.Response) (who string, body []byte, err error) {
	defer response.Body.Close()
	if body, err = io.ReadAll(response.Body); err != nil {
		return "", nil, err
	}
	if response.StatusCode != http.StatusOK {
		return "", nil, fmt.Errorf("%s: %s", response.Request.URL, response.Status)
	}
	return response.Header.Get(whoHeader), body, nil
}

// answers makes n requests to the page / and returns how many each backend
// answered. None may fail.
func (l *lab) answers(client *http.Client, vip netip.Addr, n int) map[string]int {
	l.t.Helper()
	by := make(map[string]int)
	for range n {
		who, _, err := get(client, url(vip, webPort, "/"))
		if err != nil {
			l.t.Fatalf("a request to %s: %v", vip, err)
		}
		by[who]++
	}
	return by
}

// awaitAnswers makes requests until each of the named backends has answered
// one, and fails the test if another does. It bounds nothing but chance: that a
// backend with its share of a few is not among so many answers.
func (l *lab) awaitAnswers(client *http.Client, vip netip.Addr, labels ...string) {
	l.t.Helper()
	const most = 400
	missing := make(map[string]bool)
	for _, label := range labels {
		missing[label] = true
	}
	seen := make(map[string]int)
	for range most {
		if len(missing) == 0 {
			return
		}
		who, _, err := get(client, url(vip, webPort, "/"))
		if err != nil {
			l.t.Fatalf("a request to %s: %v", vip, err)
		}
		if seen[who]++; seen[who] == 1 && !missing[who] {
			l.t.Fatalf("%s answered a request to %s, want %v only", who, vip, labels)
		}
		delete(missing, who)
	}
	l.t.Fatalf("%d requests to %s were answered by %v, want %v", most, vip, seen, labels)
}
