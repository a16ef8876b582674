// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/lb"
)

var okStatus = lb.StatusRange{Min: 200, Max: 399}

// readRequest reads a request up to the end of its head and returns it.
func readRequest(conn net.Conn) string {
	var text strings.Builder
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		text.WriteString(line)
		if err != nil || line == "\r\n" {
			return text.String()
		}
	}
}

// respond returns a handler that reads the request and sends text.
func respond(text string) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		readRequest(conn)
		io.WriteString(conn, text)
	}
}

func TestHTTPResponses(t *testing.T) {
	reset := func(conn *net.TCPConn) {
		readRequest(conn)
		conn.SetLinger(0)
	}
	stall := func(text string) func(*net.TCPConn) {
		return func(conn *net.TCPConn) {
			respond(text)(conn)
			untilClosed(conn)
		}
	}
	endless := func(conn *net.TCPConn) {
		respond("HTTP/1.1 200 OK\r\n\r\nok")(conn)
		for {
			if _, err := conn.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}
	const short = 100 * time.Millisecond
	tests := []struct {
		name   string
		server func(*net.TCPConn)
		check  lb.Check
		want   string
	}{
		{"accepted", respond("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), lb.Check{}, ""},
		{"last of the range", respond("HTTP/1.1 399 X\r\n\r\n"), lb.Check{}, ""},
		{"above the range", respond("HTTP/1.1 400 X\r\n\r\n"), lb.Check{}, "status 400, want 200-399"},
		{"not the only one", respond("HTTP/1.1 204 X\r\n\r\n"),
			lb.Check{Status: lb.StatusRange{Min: 200, Max: 200}}, "status 204, want 200"},
		{"no content", respond("HTTP/1.1 204 No Content\r\n\r\n"), lb.Check{}, ""},
		{"old protocol", respond("HTTP/1.0 200 OK\r\n\r\nok"), lb.Check{}, ""},
		{"interim responses", respond("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 X\r\n\r\n"),
			lb.Check{}, "status 503, want 200-399"},
		{"switching protocols", respond("HTTP/1.1 101 Switching Protocols\r\n\r\n"), lb.Check{}, "status 101, want 200-399"},
		{"nothing", respond(""), lb.Check{}, "connection closed without a response"},
		{"half a head", respond("HTTP/1.1 200 OK\r\nX: y\r\n"), lb.Check{}, "connection closed in the middle of the response head"},
		{"reset", reset, lb.Check{}, "connection reset by peer"},
		{"another protocol", respond("SSH-2.0-OpenSSH_9.6\r\n"), lb.Check{}, `malformed HTTP response "SSH-2.0-OpenSSH_9.6"`},
		{"a long line", respond(strings.Repeat("x", 1000) + "\r\n\r\n"), lb.Check{},
			`malformed HTTP response "` + strings.Repeat("x", 135) + "…"},
		{"a long head", respond("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 70<<10) + "\r\n\r\n"), lb.Check{},
			"response head longer than 64 KiB"},
		{"a head without end", respond(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 4000)), lb.Check{},
			"response head longer than 64 KiB"},
		{"silence", stall(""), lb.Check{Timeout: short}, "no response within 100ms"},
		{"a head that stalls", stall("HTTP/1.1 200 OK\r\n"), lb.Check{Timeout: short}, "no response within 100ms"},

		// Without a pattern the body does not matter, however it goes on.
		{"a body that stalls", stall("HTTP/1.1 200 OK\r\n\r\nok"), lb.Check{}, ""},
		{"a body without end", endless, lb.Check{}, ""},
		{"a body cut short", respond("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok"), lb.Check{}, ""},

		{"body matches", respond("HTTP/1.1 200 OK\r\n\r\nall is ok"), lb.Check{Body: "ok$"}, ""},
		{"body does not match", respond("HTTP/1.1 200 OK\r\n\r\nout of order"), lb.Check{Body: "ok"}, `body does not match "ok"`},
		{"status before body", respond("HTTP/1.1 503 X\r\n\r\nok"), lb.Check{Body: "ok"}, "status 503, want 200-399"},
		{"chunks", respond("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"),
			lb.Check{Body: "^ok$"}, ""},
		{"a pattern with body cut short", respond("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok"),
			lb.Check{Body: "ok"}, "reading the body: connection closed early"},
		{"a pattern with a body that stalls", stall("HTTP/1.1 200 OK\r\n\r\nok"),
			lb.Check{Body: "ok", Timeout: short}, "body not complete within 100ms"},
		{"a pattern with a body without end", endless, lb.Check{Body: "^ok"}, ""},
		{"a match at the end of what is read",
			respond("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", maxBody-2) + "ok"), lb.Check{Body: "ok"}, ""},
		{"a match beyond what is read",
			respond("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", maxBody-1) + "ok"), lb.Check{Body: "ok"},
			`body does not match "ok"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := serve(t, listen(t, "127.0.0.1"), tt.server)
			c := tt.check
			c.Type = lb.CheckHTTP
			if c.Body != "" {
				c.Type = lb.CheckHTTPBody
			}
			if c.Status == (lb.StatusRange{}) {
				c.Status = okStatus
			}
			wantError(t, runProbe(t, addr, c), tt.want)
		})
	}
}

func TestHTTPRequest(t *testing.T) {
	const rest = "User-Agent: weir-health-check\r\nAccept: */*\r\nConnection: close\r\n\r\n"
	tests := []struct {
		path, host, ip string
		want           string // %s is the address with its port
	}{
		{"/healthz", "", "127.0.0.1", "GET /healthz HTTP/1.1\r\nHost: %s\r\n"},
		{"/healthz", "", "::1", "GET /healthz HTTP/1.1\r\nHost: %s\r\n"},
		{"", "example.com", "127.0.0.1", "GET / HTTP/1.1\r\nHost: example.com\r\n"},
		{"/a b?q=1&r=/", "example.com:8080", "127.0.0.1", "GET /a%%20b?q=1&r=/ HTTP/1.1\r\nHost: example.com:8080\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.path+" "+tt.host+" "+tt.ip, func(t *testing.T) {
			l := listen(t, tt.ip)
			requests := make(chan string, 1)
			addr := serve(t, l, func(conn *net.TCPConn) {
				requests <- readRequest(conn)
				io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
			})
			wantError(t, runProbe(t, addr, lb.Check{Type: lb.CheckHTTP, Path: tt.path, Host: tt.host, Status: okStatus}), "")
			want := tt.want + rest
			if strings.Contains(want, "%s") {
				want = fmt.Sprintf(want, addr)
			} else {
				want = strings.ReplaceAll(want, "%%", "%")
			}
			if got := <-requests; got != want {
				t.Errorf("request\n got %q\nwant %q", got, want)
			}
		})
	}
}

func TestHostHeaderOfStandardPorts(t *testing.T) {
	for _, tt := range []struct {
		typ        lb.CheckType
		addr, want string
	}{
		{lb.CheckHTTP, "192.0.2.1:80", "192.0.2.1"},
		{lb.CheckHTTP, "192.0.2.1:443", "192.0.2.1:443"},
		{lb.CheckHTTP, "[2001:db8::1]:80", "[2001:db8::1]"},
		{lb.CheckHTTP, "[fe80::1%eth0]:81", "[fe80::1]:81"},
		{lb.CheckHTTPS, "192.0.2.1:443", "192.0.2.1"},
		{lb.CheckHTTPS, "[2001:db8::1]:80", "[2001:db8::1]:80"},
	} {
		h, err := newHTTPCheck(lb.Check{Type: tt.typ})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(h.appendHost(nil, netip.MustParseAddrPort(tt.addr))); got != tt.want {
			t.Errorf("%s to %s: Host %q, want %q", tt.typ, tt.addr, got, tt.want)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	const redirect = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
	requests := 0
	l := listen(t, "127.0.0.1")
	addr := serve(t, l, func(conn *net.TCPConn) {
		requests++
		respond(redirect)(conn)
	})
	wantError(t, runProbe(t, addr, lb.Check{Type: lb.CheckHTTP, Status: okStatus}), "")
	narrow := lb.StatusRange{Min: 200, Max: 299}
	wantError(t, runProbe(t, addr, lb.Check{Type: lb.CheckHTTP, Status: narrow}), "status 302, want 200-299")
	if requests != 2 {
		t.Errorf("%d requests for two checks", requests)
	}
}

// TestHTTPClosesInOrder asserts that a server which would keep the connection
// sees an orderly end, and that nothing is left in TIME_WAIT.
func TestHTTPClosesInOrder(t *testing.T) {
	for _, ip := range loopbacks {
		t.Run(ip, func(t *testing.T) {
			wantOrderlyEnds(t, ip, lb.Check{Type: lb.CheckHTTP, Status: okStatus},
				respond("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
		})
	}
}

func TestUnusableChecksSayWhy(t *testing.T) {
	addr := netip.MustParseAddrPort("127.0.0.1:1")
	for _, tt := range []struct {
		check lb.Check
		want  string
	}{
		{lb.Check{Type: lb.CheckHTTPBody, Body: "("}, `body "(" is not a regular expression: error parsing regexp: missing closing ): ` + "`(`"},
		{lb.Check{Type: lb.CheckHTTP, Path: "healthz"}, `path "healthz" cannot be requested: parse "healthz": invalid URI for request`},
		{lb.Check{Type: lb.CheckHTTP, Path: "/\r\nX: y"}, `path "/\r\nX: y" cannot be requested: parse "/\r\nX: y": net/url: invalid control character in URL`},
		{lb.Check{Type: lb.CheckHTTP, Host: "a\r\nX: y"}, `host "a\r\nX: y" cannot be sent: it has blanks or control characters`},
		{lb.Check{Type: 99}, "no such check: unknown(99)"},
	} {
		wantError(t, runProbe(t, addr, tt.check), tt.want)
	}
}

// TestExchangeWithAnything sends the parser random bytes: whatever they are,
// the check ends when the server closes.
func TestExchangeWithAnything(t *testing.T) {
	check := lb.Check{Type: lb.CheckHTTPBody, Body: "x", Status: okStatus, Timeout: time.Minute}
	h, err := newHTTPCheck(check)
	if err != nil {
		t.Fatal(err)
	}
	pieces := rapid.OneOf(
		rapid.SampledFrom([]string{"HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 \r\n", "\r\n", "Content-Length: 3\r\n",
			"Transfer-Encoding: chunked\r\n", "Connection: close\r\n", "1\r\nx\r\n", "0\r\n", "ffffffffffffffff\r\n", "Trailer: X\r\n"}),
		rapid.StringN(0, 20, -1),
	)
	rapid.Check(t, func(t *rapid.T) {
		response := strings.Join(rapid.SliceOfN(pieces, 0, 20).Draw(t, "response"), "")
		client, server := net.Pipe()
		go func() {
			readRequest(server)
			io.WriteString(server, response)
			server.Close()
		}()
		err := h.exchange(context.Background(), lb.Target{Check: check}, client)
		client.Close()
		if err != nil && len(err.Error()) > 2*maxReason {
			t.Fatalf("%d bytes of error", len(err.Error()))
		}
		if err == nil && !strings.HasPrefix(response, "HTTP/1.") {
			t.Fatal("passed without a response")
		}
	})
}

// TestOneProbeForManyTargets runs one probe from many goroutines against a
// real server, for the race detector.
func TestOneProbeForManyTargets(t *testing.T) {
	l := listen(t, "127.0.0.1")
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.URL.Path)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	tg := lb.Target{Address: addrPort(l.Addr()), Check: lb.Check{
		Type: lb.CheckHTTPBody, Path: "/healthz", Body: "^/healthz$", Status: okStatus, Timeout: 10 * time.Second,
	}}
	probe := NewProbe(tg.Check)
	errs := make(chan error)
	for range 8 {
		go func() {
			for range 20 {
				errs <- probe(t.Context(), tg)
			}
		}()
	}
	for range 160 {
		wantError(t, <-errs, "")
	}
}
