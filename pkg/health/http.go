// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weirlb/weir/pkg/lb"
)

const (
	userAgent = "weir-health-check"

	// maxHead is how many bytes the status line and the headers of a response
	// may have.
	maxHead = 64 << 10

	// drainTime is how long a check that has its verdict waits for the rest of
	// the body, so that the server can finish what it writes and does not log
	// a connection that broke.
	drainTime = 50 * time.Millisecond
)

// httpCheck is a check of type http, http_body, https or https_body, prepared
// for any number of targets.
//
// It speaks HTTP itself, with the standard library's parser. What a check needs
// is little (one GET, one connection, no redirects followed), and http.Client
// would cost half as much again in processor time.
type httpCheck struct {
	uri     string         // path and query as sent
	host    string         // empty: the target's address
	status  lb.StatusRange // accepted
	body    *regexp.Regexp // nil: the body does not matter
	tls     *tls.Config    // nil: without TLS
	request *http.Request  // tells the parser what the response answers
	readers sync.Pool      // of *bufio.Reader
}

// newHTTPCheck prepares check c, whose type is one of the four.
func newHTTPCheck(c lb.Check) (*httpCheck, error) {
	path := c.Path
	if path == "" {
		path = "/"
	}
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return nil, fmt.Errorf("path %q cannot be requested: %w", path, err)
	}
	if strings.ContainsFunc(c.Host, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, fmt.Errorf("host %q cannot be sent: it has blanks or control characters", c.Host)
	}
	h := &httpCheck{
		uri:     u.RequestURI(),
		host:    c.Host,
		status:  c.Status,
		request: &http.Request{Method: http.MethodGet},
	}
	h.readers.New = func() any { return bufio.NewReader(nil) }
	if c.Type == lb.CheckHTTPBody || c.Type == lb.CheckHTTPSBody {
		if h.body, err = regexp.Compile(c.Body); err != nil {
			return nil, fmt.Errorf("body %q is not a regular expression: %w", c.Body, err)
		}
	}
	if c.Type == lb.CheckHTTPS || c.Type == lb.CheckHTTPSBody {
		h.tls = tlsConfig(c.Host)
	}
	return h, nil
}

// probe passes if a GET for the path is answered with an accepted status and,
// if there is a pattern, a body that matches. Each check makes a connection of
// its own, as a new client would.
func (h *httpCheck) probe(ctx context.Context, t lb.Target) error {
	tcp, err := dial(ctx, t)
	if err != nil {
		return err
	}
	defer tcp.Close()

	if h.tls == nil {
		return h.exchange(ctx, t, tcp)
	}
	conn := tls.Client(tcp, h.tls)
	if err := conn.Handshake(); err != nil {
		return fail(ctx, t, "TLS handshake: not finished", "TLS handshake: ", err)
	}
	err = h.exchange(ctx, t, conn)
	if ctx.Err() == nil {
		conn.CloseWrite() // the alert without which servers suspect a truncation
	}
	return err
}

// exchange sends the request on conn and judges the response.
func (h *httpCheck) exchange(ctx context.Context, t lb.Target, conn net.Conn) error {
	if _, err := conn.Write(h.message(t.Address)); err != nil {
		return fail(ctx, t, "request not taken", "sending the request: ", err)
	}
	wire := &io.LimitedReader{R: conn}
	br := h.readers.Get().(*bufio.Reader)
	br.Reset(wire)
	defer func() {
		br.Reset(nil)
		h.readers.Put(br)
	}()
	resp, err := h.readHead(wire, br)
	if err != nil {
		return fail(ctx, t, "no response", "", err)
	}
	// The body is not closed: that would read it to its end, however far.
	if !h.status.Contains(resp.StatusCode) {
		drain(ctx, conn, resp.Body)
		return fmt.Errorf("status %d, want %s", resp.StatusCode, h.status)
	}
	if h.body == nil {
		drain(ctx, conn, resp.Body)
		return nil
	}
	return h.matchBody(ctx, t, resp.Body)
}

// message returns the request to a target at addr.
func (h *httpCheck) message(addr netip.AddrPort) []byte {
	b := make([]byte, 0, 256)
	b = append(b, "GET "...)
	b = append(b, h.uri...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = h.appendHost(b, addr)
	b = append(b, "\r\nUser-Agent: "+userAgent+"\r\nAccept: */*\r\nConnection: close\r\n\r\n"...)
	return b
}

// appendHost appends the value of the Host header: what the check says, else
// the address, with its port unless that is the scheme's own.
func (h *httpCheck) appendHost(b []byte, addr netip.AddrPort) []byte {
	if h.host != "" {
		return append(b, h.host...)
	}
	ip, standard := addr.Addr().WithZone(""), uint16(80)
	if h.tls != nil {
		standard = 443
	}
	switch {
	case addr.Port() != standard:
		return netip.AddrPortFrom(ip, addr.Port()).AppendTo(b)
	case ip.Is4():
		return ip.AppendTo(b)
	default:
		return append(ip.AppendTo(append(b, '[')), ']')
	}
}

// readHead returns the response on br, which reads from wire, with its body
// still to be read. Interim responses (1xx) before it are skipped.
func (h *httpCheck) readHead(wire *io.LimitedReader, br *bufio.Reader) (*http.Response, error) {
	wire.N = maxHead
	switch _, err := br.Peek(1); {
	case errors.Is(err, io.EOF):
		return nil, &failure{"connection closed without a response", err}
	case err != nil:
		return nil, err // the reader reports it once
	}
	for {
		resp, err := http.ReadResponse(br, h.request)
		switch {
		case err != nil && wire.N <= 0:
			return nil, &failure{"response head longer than " + strconv.Itoa(maxHead>>10) + " KiB", err}
		case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
			return nil, &failure{"connection closed in the middle of the response head", err}
		case err != nil:
			return nil, err
		case resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols:
			wire.N = math.MaxInt64 // whoever reads the body bounds it
			return resp, nil
		}
	}
}

// drain reads what is left of a body that no longer matters, within reason.
func drain(ctx context.Context, conn net.Conn, body io.Reader) {
	conn.SetReadDeadline(time.Now().Add(drainTime))
	if ctx.Err() != nil {
		return // the deadline that ended the check has just been overwritten
	}
	io.CopyN(io.Discard, body, maxBody)
}
