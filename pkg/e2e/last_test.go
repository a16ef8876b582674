// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/testutil"
)

// TestLastBackendDrains drains all backends of a pool: the connections stay, new
// ones are dropped, and the command says so.
func TestLastBackendDrains(t *testing.T) {
	f := newLife(t, 2, noCheck)
	f.join(40, 0)
	kept1, kept2 := f.crowd.staying(place{"web", "web-1"}), f.crowd.staying(place{"web", "web-2"})
	if report := f.setMode("web-1", lb.ModeDrain); report.Warnings != nil {
		t.Errorf("draining one of two backends warns: %q", report.Warnings)
	}
	report := f.setMode("web-2", lb.ModeDrain)
	want := fmt.Sprintf("no backend of web/%d/tcp takes new flows: they are dropped", talkPort)
	if len(report.Warnings) != 1 || report.Warnings[0] != want {
		t.Errorf("draining the last backend warns %q, want %q", report.Warnings, want)
	}
	before := f.agent.reasons()["drop_no_backend"]
	f.mustNotAccept(vip4(1))
	f.mustNotAccept(vip6(1))
	if got := f.agent.reasons()["drop_no_backend"] - before; got == 0 {
		t.Error("no packet was dropped for the reason drop_no_backend")
	}
	f.mustKeep("web-1", kept1)
	f.mustKeep("web-2", kept2)
	f.setMode("web-1", lb.ModeAccept)
	c, err := dialTalk(f.client, f.sources[false][0], netip.AddrPortFrom(vip4(1), talkPort))
	f.must(err)
	f.must(c.round())
	f.must(c.finish())
	f.finish()
}

// mustNotAccept sees that nobody answers a SYN.
func (f *life) mustNotAccept(vip netip.Addr) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), silence)
	defer cancel()
	conn, err := f.client.DialContext(ctx, "tcp", netip.AddrPortFrom(vip, talkPort).String())
	if err == nil {
		_ = conn.Close()
		f.t.Errorf("somebody accepts connections to %s", vip)
	}
}

// TestPoolEmpties takes all backends from a running listener, with a warning.
// Its packets are dropped. When the backends are back soon, so are their
// connections: nobody has answered them meanwhile.
func TestPoolEmpties(t *testing.T) {
	f := newLife(t, 2, noCheck)
	var talks []*talk
	for i := range 40 {
		vip := []netip.Addr{vip4(1), vip6(1)}[i%2]
		sources := f.sources[vip.Is6()]
		c, err := dialTalk(f.client, sources[i%len(sources)], netip.AddrPortFrom(vip, talkPort))
		f.must(err)
		t.Cleanup(func() { _ = c.conn.Close() })
		f.must(c.round())
		talks = append(talks, c)
	}
	empty := strings.Split(f.web(), "    backends:\n")[0]
	data := []byte(f.agent.yaml(empty))
	plan, err := f.agent.client().Plan(t.Context(), "empty.yaml", data)
	f.must(err)
	want := fmt.Sprintf("listener web/%d/tcp would have no backends: its packets would be dropped", talkPort)
	if !slices.Contains(plan.Warnings, want) {
		t.Errorf("a plan that empties the pool warns %q, want %q", plan.Warnings, want)
	}
	applied, err := f.agent.client().Apply(t.Context(), "empty.yaml", data)
	f.must(err)
	want = fmt.Sprintf("listener web/%d/tcp has no backends: its packets are dropped", talkPort)
	if !slices.Contains(applied.Warnings, want) {
		t.Errorf("emptying the pool warns %q, want %q", applied.Warnings, want)
	}
	before := f.agent.reasons()["drop_no_backend"]
	f.mustNotAccept(vip4(1))
	f.mustNotAccept(vip6(1))

	answered := make(chan error, len(talks))
	for _, c := range talks {
		go func() { answered <- c.round() }()
	}
	testutil.WaitFor(t, patience, func() error {
		if got := f.agent.reasons()["drop_no_backend"] - before; got < uint64(len(talks)) {
			return fmt.Errorf("only %d packets were dropped for the reason drop_no_backend", got)
		}
		return nil
	})
	f.agent.change(t, "apply", f.web())
	for range talks {
		f.must(<-answered)
	}
}

// TestCommandsAtOnce gives many commands at the same time. Each takes effect,
// and what stays is what the last one said, in the tables too.
func TestCommandsAtOnce(t *testing.T) {
	const backends, rounds = 4, 10
	l := newLab(t, backends)
	web := balancerYAML("web", []netip.Addr{vip4(1)},
		listenerYAML(talkPort, "ipip", []string{noCheck, smallTable}, l.allYAML(4, talkPort)...))
	a := l.startAgent(web)
	commands := []lb.Mode{lb.ModeDrain, lb.ModeReject, lb.ModeAccept}
	type done struct {
		report control.ModeReport
		err    error
	}
	results := make(chan done)
	for i := range rounds * backends {
		go func() {
			report, err := a.client().SetMode(context.Background(),
				modeChange(l.backends[i%backends].Label, commands[i/backends%len(commands)]))
			results <- done{report, err}
		}()
	}
	// Each report says which mode its command found: together they are a chain.
	next := make(map[string]map[lb.Mode]int) // by backend: how often a mode was set less how often it was found
	for range rounds * backends {
		d := <-results
		l.must(d.err)
		if next[d.report.Backend] == nil {
			next[d.report.Backend] = map[lb.Mode]int{lb.ModeAccept: 1}
		}
		next[d.report.Backend][d.report.Before]--
		next[d.report.Backend][d.report.Mode]++
	}
	rows, err := a.client().Backends(context.Background())
	l.must(err)
	for _, r := range rows {
		for mode, n := range next[r.Label] {
			if want := map[bool]int{true: 1}[mode == r.Mode]; n != want {
				t.Errorf("%s is in mode %s, and was set to %s %d times more than it was found so", r.Label, r.Mode, mode, n)
			}
		}
		if takes := r.Slots > 0; takes != (r.Mode == lb.ModeAccept) {
			t.Errorf("%s is in mode %s and has %d slots", r.Label, r.Mode, r.Slots)
		}
	}
	l.mustBeAsFresh(a, web, rows)
}

// mustBeAsFresh compares the tables with those of an agent that is started with
// the same modes in its configuration.
func (l *lab) mustBeAsFresh(a *agent, web string, rows []control.BackendRow) {
	l.t.Helper()
	got := a.slots("")
	for _, r := range rows {
		web = strings.Replace(web, "label: "+r.Label+",", fmt.Sprintf("label: %s, mode: %s,", r.Label, r.Mode), 1)
	}
	a.stop()
	run(l.t, l.balancer.Namespace, nil, weirBinary(l.t), "unload", "--pin-path", a.pins, "--socket", a.socket).succeeds(l.t)
	a.configure(web)
	a.start()
	if want := a.slots(""); got != want {
		l.t.Error("after commands at once the tables are not those of the modes that they left")
	}
}
