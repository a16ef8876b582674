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
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/control"
)

// unchanged runs fn and sees that the maps are as before, and that the agent
// still runs.
func (a *agent) unchanged(t *testing.T, fn func()) {
	t.Helper()
	before := a.content()
	fn()
	if diff := cmp.Diff(before, a.content()); diff != "" {
		t.Errorf("maps changed (-before +after):\n%s", diff)
	}
	if status, err := a.client().Status(context.Background()); err != nil || !status.Ready {
		t.Errorf("the agent serves no longer: %+v, %v", status, err)
	}
}

// TestRefusedConfiguration applies files with mistakes, and files that a running
// agent cannot follow.
func TestRefusedConfiguration(t *testing.T) {
	l := newServingLab(t, 2)
	web := balancerYAML("web", []netip.Addr{vip4(1), vip6(1)},
		listenerYAML(webPort, "ipip", []string{slowCheck, smallTable}, l.allYAML(4, webPort)...))
	a := l.newAgent(agentOptions{keys: []string{"limits: {listeners: 4, backends: 32, slots: 4096}"}})
	a.configure(web)
	a.start()
	good := a.yaml(web)

	extra := func(n, table int) string {
		return balancerYAML("extra", []netip.Addr{vip4(n)},
			listenerYAML(webPort, "ipip", []string{fmt.Sprintf("table_size: %d", table)}, l.allYAML(4, webPort)...))
	}
	for _, c := range []struct {
		name string
		text string
		code int
		says []string
	}{
		{"two mistakes", strings.NewReplacer("port: 80", "port: 70000", "ipip", "nat").Replace(good), 2,
			[]string{":11:11: balancers[0].listeners[0].port: 70000 is out of range", ":12:14: balancers[0].listeners[0].forward: nat is not built yet"}},
		{"unknown key", strings.Replace(good, "table_size", "table_sise", 1), 2,
			[]string{":14:5: balancers[0].listeners[0].table_sise: unknown key, did you mean table_size?"}},
		{"not YAML", "agent: [", 2, []string{":1:"}},
		{"empty", "", 2, []string{"agent"}},
		{"another socket", strings.Replace(good, a.socket, a.socket+"2", 1), 1, []string{"agent.socket"}},
		{"another pin path", strings.Replace(good, a.pins, a.pins+"2", 1), 1, []string{"agent.pin_path"}},
		{"metrics", strings.Replace(good, `metrics: "off"`, "metrics: 127.0.0.1:0", 1), 1, []string{"agent.metrics", "from off to 127.0.0.1:0"}},
		{"another object", strings.Replace(good, "agent:\n", "agent:\n  bpf_object: compile\n", 1), 1, []string{"agent.bpf_object"}},
		{"other limits", strings.Replace(good, "slots: 4096", "slots: 8192", 1), 1, []string{"agent.limits.slots", "from 4096 to 8192"}},
		{"another flow table", strings.Replace(good, "agent:\n", "agent:\n  flow_table_size: 4096\n", 1), 1,
			[]string{"agent.flow_table_size", "from 1048576 to 4096"}},
		{"an interface that does not exist", strings.Replace(good, "[eth0]", "[eth0, eth7]", 1), 1,
			[]string{"agent.interfaces", `"eth7"`, "does not exist"}},
		{"too many slots", good + extra(2, 4093), 2, []string{"agent.limits.slots"}},
		{"too many listeners", good + extra(2, 1021) + strings.Replace(extra(3, 1021), "extra", "extra-2", 1) +
			strings.Replace(extra(4, 31), "extra", "extra-3", 1), 2, []string{"agent.limits.listeners"}},
		{"too many backends", good + strings.Replace(extra(2, 1021), "    backends:\n", "    backends:\n"+manyBackends(40), 1), 2,
			[]string{"agent.limits.backends"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := l.write("other.yaml", c.text)
			a.unchanged(t, func() {
				a.weir("apply", path).fails(t, c.code, c.says...)
				a.mustReportReload(t, c.says)
			})
			a.unchanged(t, func() { a.hangUp(t, c.text, c.says) })
			l.write("weir.yaml", good)
		})
	}
	l.awaitAnswers(httpClient(l.client), vip4(1), "web-1", "web-2")
	a.weir("apply", a.file).succeeds(t)
}

// TestStatusNamesConfiguration sees weir status name the file that the running
// configuration came from, and the one that a reload goes back to.
func TestStatusNamesConfiguration(t *testing.T) {
	l := newLab(t, 1)
	a := l.startAgent(l.simple())
	mustName := func(file, hash string) string {
		t.Helper()
		c := decode[report](a, "status").Agent.Config
		if c.File != file || c.Own != a.file || hash != "" && c.Hash != hash {
			t.Errorf("weir status says that %s runs (hash %s) and %s is read next; want %s (%s) and %s",
				c.File, c.Hash, c.Own, file, hash, a.file)
		}
		return c.Hash
	}
	own := mustName(a.file, "")

	other := l.write("other.yaml", a.yaml(strings.Replace(l.simple(), "label: web\n", "label: other\n", 1)))
	r := a.weir("apply", other)
	r.succeeds(t)
	if !strings.Contains(r.stderr, "goes back to "+a.file) {
		t.Errorf("weir apply does not say what a reload goes back to: %q", r.stderr)
	}
	hash := mustName(other, "")
	if hash == own {
		t.Errorf("two configurations have the hash %s", hash)
	}

	missing := l.write("missing.yaml", strings.Replace(a.yaml(l.simple()), "[eth0]", "[eth0, eth7]", 1))
	a.weir("apply", missing).fails(t, 1, "eth7")
	mustName(other, hash)
	a.change(t, "SIGHUP", l.simple())
	mustName(a.file, own)
}

// manyBackends returns n backends for a listener on the web port.
func manyBackends(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "    - {address: \"192.0.2.%d:%d\"}\n", 100+i, webPort)
	}
	return b.String()
}

// hangUp has the agent read its own file again, which has these mistakes.
func (a *agent) hangUp(t *testing.T, text string, says []string) {
	t.Helper()
	last := a.status(t).Config.LastReload
	if err := os.WriteFile(a.file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	a.signal(syscall.SIGHUP)
	a.await(func(s control.Status) error {
		if !s.Config.LastReload.After(last) {
			return errNotReloaded
		}
		return nil
	})
	a.mustReportReload(t, says)
}

// mustReportReload sees in the status why the last change was refused.
func (a *agent) mustReportReload(t *testing.T, says []string) {
	t.Helper()
	s := a.status(t)
	if s.Config.ReloadOK {
		t.Error("weir status says that the last reload went well")
	}
	for _, text := range says {
		if !strings.Contains(s.Config.Error, text) {
			t.Errorf("the error in weir status does not have %q: %s", text, s.Config.Error)
		}
	}
}

// TestGarbageOnSocket sends the agent what it does not understand.
func TestGarbageOnSocket(t *testing.T) {
	l := newServingLab(t, 1)
	web := balancerYAML("web", []netip.Addr{vip4(1)},
		listenerYAML(webPort, "ipip", []string{slowCheck, smallTable}, l.allYAML(4, webPort)...))
	a := l.startAgent(web)
	for _, c := range []struct {
		name, method, path, kind string
		body                     []byte
	}{
		{"no such path", "GET", "/v2/status", "", nil},
		{"method", "DELETE", "/v1/status", "", nil},
		{"GET apply", "GET", "/v1/apply?name=x", "", nil},
		{"parameter", "GET", "/v1/backends?all=1", "", nil},
		{"kind of body", "POST", "/v1/apply?name=x", "application/json", []byte("{}")},
		{"no name", "POST", "/v1/apply", control.ContentTypeYAML, []byte(a.yaml(web))},
		{"not YAML", "POST", "/v1/apply?name=x", control.ContentTypeYAML, []byte("\x00\xff{{{")},
		{"another YAML", "POST", "/v1/apply?name=x", control.ContentTypeYAML, []byte("agent: 1\n")},
		{"too long", "POST", "/v1/apply?name=x", control.ContentTypeYAML, bytes.Repeat([]byte("#\n"), control.MaxConfigSize/2+1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.unchanged(t, func() {
				if code := a.ask(t, c.method, c.path, c.kind, c.body); code < 400 || code > 499 {
					t.Errorf("%s %s is answered with %d, want 4xx", c.method, c.path, code)
				}
			})
		})
	}
	t.Run("not HTTP", func(t *testing.T) {
		a.unchanged(t, func() {
			conn, err := net.Dial("unix", a.socket)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte("\x16\x03\x01 this is not HTTP\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
				t.Errorf("answered with %q, %v", answer, err)
			}
		})
	})
}

// ask makes a request to the agent's socket and returns the status.
func (a *agent) ask(t *testing.T, method, path, kind string, body []byte) int {
	t.Helper()
	request, err := http.NewRequest(method, "http://weir"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	// An agent that does not want the body says so before it is sent.
	request.Header.Set("Expect", "100-continue")
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives:     true,
		ExpectContinueTimeout: patience,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", a.socket)
		},
	}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || !bytes.Contains(answer, []byte(`"error"`)) {
		t.Errorf("the answer does not say what is wrong: %q, %v", answer, err)
	}
	return response.StatusCode
}
