// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/lb"
)

// serveTLS starts a server on ip whose certificate nobody would accept, and
// returns its listener's address and what each client said in its hello.
func serveTLS(t *testing.T, ip string, handler http.HandlerFunc) (net.Addr, <-chan *tls.ClientHelloInfo) {
	hellos := make(chan *tls.ClientHelloInfo, 100)
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = listen(t, ip)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		hellos <- hello
		return nil, nil
	}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr(), hellos
}

func TestHTTPS(t *testing.T) {
	for _, ip := range loopbacks {
		t.Run(ip, func(t *testing.T) {
			addr, hellos := serveTLS(t, ip, func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, "host "+r.Host)
			})
			for _, tt := range []struct{ host, name, body string }{
				{"", "", "host " + addr.String()},
				{"www.example.com", "www.example.com", "host www.example.com"},
				{"www.example.com:8443", "www.example.com", "host www.example.com:8443"},
				{"192.0.2.7", "", "host 192.0.2.7"}, // an address is no server name
			} {
				c := lb.Check{Type: lb.CheckHTTPSBody, Path: "/healthz", Host: tt.host, Status: okStatus, Body: "^host "}
				wantError(t, runProbe(t, addrPort(addr), c), "")
				if hello := <-hellos; hello.ServerName != tt.name {
					t.Errorf("host %q: server name %q, want %q", tt.host, hello.ServerName, tt.name)
				}
				c.Body = "^" + regexp.QuoteMeta(tt.body) + "$"
				wantError(t, runProbe(t, addrPort(addr), c), "")
				<-hellos
			}
		})
	}
}

func TestHTTPSVerdicts(t *testing.T) {
	addr, _ := serveTLS(t, "127.0.0.1", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	wantError(t, runProbe(t, addrPort(addr), lb.Check{Type: lb.CheckHTTPS, Status: okStatus}), "status 503, want 200-399")
	wantError(t, runProbe(t, addrPort(addr), lb.Check{Type: lb.CheckHTTPSBody, Body: "ok",
		Status: lb.StatusRange{Min: 500, Max: 599}}), `body does not match "ok"`)
	// A server that wants TLS answers plain HTTP with 400.
	wantError(t, runProbe(t, addrPort(addr), lb.Check{Type: lb.CheckHTTP, Status: okStatus}), "status 400, want 200-399")
}

func TestTLSHandshakeThatGoesWrong(t *testing.T) {
	const short = 100 * time.Millisecond
	for _, tt := range []struct {
		name   string
		server func(*net.TCPConn)
		want   string
	}{
		{"no TLS", func(conn *net.TCPConn) {
			conn.Read(make([]byte, 4096))
			io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}, "TLS handshake: first record does not look like a TLS handshake"},
		{"closed", func(conn *net.TCPConn) { conn.Read(make([]byte, 4096)) }, "TLS handshake: connection closed early"},
		{"reset", func(conn *net.TCPConn) {
			conn.Read(make([]byte, 4096))
			conn.SetLinger(0)
		}, "TLS handshake: connection reset by peer"},
		{"alert", func(conn *net.TCPConn) {
			conn.Read(make([]byte, 4096))
			conn.Write([]byte{21, 3, 3, 0, 2, 2, 40}) // fatal: handshake_failure
			untilClosed(conn)
		}, "TLS handshake: handshake failure"},
		{"silence", untilClosed, "TLS handshake: not finished within 100ms"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := serve(t, listen(t, "127.0.0.1"), tt.server)
			c := lb.Check{Type: lb.CheckHTTPS, Status: okStatus}
			if tt.name == "silence" {
				c.Timeout = short
			}
			wantError(t, runProbe(t, addr, c), tt.want)
		})
	}
}

// TestHTTPSClosesInOrder asserts that the server gets the alert that ends a
// TLS connection before the end of the TCP connection.
func TestHTTPSClosesInOrder(t *testing.T) {
	l := listen(t, "127.0.0.1")
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	config := certificate.TLS
	certificate.Close()

	read := make(chan error, 1)
	addr := serve(t, l, func(conn *net.TCPConn) {
		server := tls.Server(conn, config)
		readRequest(server)
		io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		_, err := server.Read(make([]byte, 1))
		read <- err
	})
	wantError(t, runProbe(t, addr, lb.Check{Type: lb.CheckHTTPS, Status: okStatus}), "")
	if err := <-read; err != io.EOF { // without the alert it is an unexpected EOF
		t.Errorf("the server read %v, want EOF", err)
	}
}
