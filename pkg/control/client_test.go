// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/lb"
)

func TestClientGetsWhatTheAgentHas(t *testing.T) {
	agent := webAgent()
	agent.report = ApplyReport{Hash: "abc", Duration: time.Second, Added: 1, Slots: 251, MapWrites: 300, Warnings: []string{"slow"}}
	client := NewClient(serve(t, agent), dial)
	ctx := t.Context()

	compare := func(what string, want, got any, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	status, err := client.Status(ctx)
	want := agent.status
	want.Interfaces, want.Modes, want.Problems = []InterfaceStatus{}, []ModeStatus{}, []string{}
	compare("status", want, status, err)
	balancers, err := client.Balancers(ctx)
	compare("balancers", BalancerRows(agent.snapshot), balancers, err)
	listeners, err := client.Listeners(ctx)
	compare("listeners", ListenerRows(agent.snapshot), listeners, err)
	backends, err := client.Backends(ctx)
	rows := BackendRows(agent.snapshot, agent.conditions)
	for i := range rows {
		rows[i].Check = nil // stays with the agent
	}
	compare("backends", rows, backends, err)

	const name = "dir/a file & more.yaml"
	report, err := client.Apply(ctx, name, []byte("agent: {}\n"))
	compare("apply", agent.report, report, err)
	compare("applied", map[string]string{name: "agent: {}\n"}, agent.applied, nil)
	_, err = client.Apply(ctx, "empty", nil)
	compare("applied", "", agent.applied["empty"], err)

	agent.planReport = PlanReport{Hash: "abc", Listeners: []ListenerPlan{}, Warnings: []string{"slow"}}
	plan, err := client.Plan(ctx, name, []byte("agent: {}\n"))
	compare("plan", agent.planReport, plan, err)
	compare("planned", map[string]string{name: "agent: {}\n"}, agent.planned, nil)

	agent.modeReport = ModeReport{
		Balancer: "web", Port: 443, Protocol: lb.TCP, Backend: "web-2", Address: netip.MustParseAddrPort("10.0.0.12:8443"),
		Before: lb.ModeDrain, Mode: lb.ModeReject, Configured: lb.ModeBackup, Slots: 7,
	}
	change := ModeChange{Balancer: "web", Port: 443, Protocol: lb.TCP, Backend: "10.0.0.12:8443", Mode: lb.ModeReject}
	mode, err := client.SetMode(ctx, change)
	compare("mode", agent.modeReport, mode, err)
	compare("modes", []ModeChange{change}, agent.modes, nil)
}

// Whoever names a backend that is not there finds out by the kind of the error.
func TestClientMissesBackend(t *testing.T) {
	agent := webAgent()
	client := NewClient(serve(t, agent), dial)
	agent.modeErr = fmt.Errorf("web/443/tcp/web-9: %w", ErrNoBackend)
	_, err := client.SetMode(t.Context(), ModeChange{Balancer: "web", Port: 443, Protocol: lb.TCP, Backend: "web-9"})
	if !errors.Is(err, ErrNoBackend) || !strings.HasSuffix(err.Error(), ": web/443/tcp/web-9: no such backend") {
		t.Errorf("got %v, want ErrNoBackend in the agent's words", err)
	}
	_, err = client.SetMode(t.Context(), ModeChange{Balancer: "web", Port: 443, Protocol: lb.TCP, Backend: "web-1", Mode: lb.ModeBackup})
	if errors.Is(err, ErrNoBackend) || err == nil || !strings.Contains(err.Error(), "cannot be set by command") {
		t.Errorf("got %v, want that this mode cannot be set", err)
	}
	// An agent of a version that knows no such command has no such path.
	_, err = NewClient(otherHTTP(t, 404, `{"error":"no such path"}`), dial).SetMode(t.Context(), ModeChange{})
	if errors.Is(err, ErrNoBackend) || err == nil {
		t.Errorf("got %v, want another error", err)
	}
}

func TestClientGetsMistakes(t *testing.T) {
	mistakes := config.Errors{
		{File: "a.yaml", Line: 3, Column: 5, Key: "agent.socket", Value: "x", Message: "is wrong"},
		{File: "a.yaml", Line: 4, Column: 1, Message: "is wrong too"},
	}
	agent := webAgent()
	agent.applyErr = mistakes
	client := NewClient(serve(t, agent), dial)
	_, applyErr := client.Apply(t.Context(), "a.yaml", []byte("x"))
	_, planErr := client.Plan(t.Context(), "a.yaml", []byte("x"))
	for _, err := range []error{applyErr, planErr} {
		var got config.Errors
		if !errors.As(err, &got) {
			t.Fatalf("got %v, want config.Errors", err)
		}
		if diff := cmp.Diff(mistakes, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestClientErrors(t *testing.T) {
	const noAgent = "no agent answers on SOCKET: is it running? start it by: weir agent --config FILE"
	denied := func(context.Context, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)}
	}
	for name, test := range map[string]struct {
		socket string
		dial   Dialer
		want   string
	}{
		"absent":    {filepath.Join(t.TempDir(), "none.sock"), dial, noAgent},
		"dead":      {deadSocket(t), dial, noAgent},
		"denied":    {"/run/weir/weir.sock", denied, "SOCKET: permission denied: run as root"},
		"no HTTP":   {other(t, "SSH-2.0-OpenSSH_9.7\r\n"), dial, "asking the agent on SOCKET: net/http: HTTP/1.x transport connection broken: malformed HTTP response \"SSH-2.0-OpenSSH_9.7\""},
		"not found": {otherHTTP(t, 404, "<html>"), dial, "what answers on SOCKET is no agent: status 404 without a reason"},
		"not JSON":  {otherHTTP(t, 200, "<html>"), dial, "what answers on SOCKET is no agent of this version: invalid character '<' looking for beginning of value"},
		"refused":   {otherHTTP(t, 404, `{"error":"no such path"}`), dial, "the agent on SOCKET: no such path"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewClient(test.socket, test.dial).Status(t.Context())
			want := strings.ReplaceAll(test.want, "SOCKET", test.socket)
			if err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if got, want := errors.Is(err, ErrNoAgent), test.want == noAgent; got != want {
				t.Errorf("is ErrNoAgent: %t, want %t", got, want)
			}
		})
	}
}

func TestClientStopsWaiting(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	never := func(ctx context.Context, _ string) (net.Conn, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, err := NewClient("/run/weir/weir.sock", never).Status(ctx)
	if want := "the agent on /run/weir/weir.sock has not answered yet: context canceled"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// An agent that hangs is given up.
func TestClientGivesUp(t *testing.T) {
	const socket = "/run/weir/weir.sock"
	hang := func(ctx context.Context, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	client := NewClient(socket, hang)
	client.reading, client.changing = time.Millisecond, 2*time.Millisecond
	_, statusErr := client.Status(t.Context())
	_, planErr := client.Plan(t.Context(), "a.yaml", nil)
	_, applyErr := client.Apply(t.Context(), "a.yaml", nil)
	_, modeErr := client.SetMode(t.Context(), ModeChange{})
	said := "the agent on " + socket + " has not answered within "
	for _, test := range []struct {
		err  error
		want string
	}{
		{statusErr, said + "1ms"}, {planErr, said + "2ms"},
		{applyErr, said + "2ms; it may still do what it was asked"}, {modeErr, said + "2ms; it may still do what it was asked"},
	} {
		if test.err == nil || test.err.Error() != test.want {
			t.Errorf("got %v, want %s", test.err, test.want)
		}
	}
}

func TestClientRefusesWhatTheAgentWould(t *testing.T) {
	client, big := NewClient("/nonexistent", dial), make([]byte, MaxConfigSize+1)
	_, applyErr := client.Apply(t.Context(), "big.yaml", big)
	_, planErr := client.Plan(t.Context(), "big.yaml", big)
	for _, err := range []error{applyErr, planErr} {
		if want := "big.yaml has 16777217 bytes, and a configuration at most 16 MiB"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// other serves something else than an agent on a socket: whatever is asked, it
// greets.
func other(t *testing.T, greeting string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "other.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1))
			_, _ = conn.Write([]byte(greeting)) // whether it arrives is the client's test
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return socket
}

// otherHTTP serves the same answer to every request.
func otherHTTP(t *testing.T, code int, body string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "http.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}))
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return socket
}
