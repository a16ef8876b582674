// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"net/http"
	"net/netip"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/lb"
)

// TestAgentRestart kills the agent under load again and again. The data plane
// goes on, and the next agent takes it over without changing it.
func TestAgentRestart(t *testing.T) {
	l := newServingLab(t, 3)
	checked := []string{slowCheck, smallTable}
	unchecked := []string{noCheck, smallTable, "algorithm: source"}
	web := balancerYAML("web", []netip.Addr{vip4(1), vip6(1)},
		listenerYAML(webPort, "ipip", checked, l.allYAML(4, webPort)...),
		listenerYAML(echoPort, "ipip", []string{noCheck, smallTable}, l.allYAML(6, echoPort)...))
	near := balancerYAML("near", []netip.Addr{vip4(2), vip6(2)},
		listenerYAML(webPort, "dsr", checked, l.allYAML(6, webPort)...),
		listenerYAML(echoPort, "dsr", unchecked, l.allYAML(4, echoPort)...))
	// The same in another order, which must not matter.
	nearTurned := balancerYAML("near", []netip.Addr{vip6(2), vip4(2)},
		listenerYAML(echoPort, "dsr", unchecked, turned(l.allYAML(4, echoPort))...),
		listenerYAML(webPort, "dsr", checked, turned(l.allYAML(6, webPort))...))

	a := l.newAgent(agentOptions{interfaces: "[lo, eth0]", keys: []string{"xdp_mode: auto"}})
	a.configure(web, near)
	a.start()
	slots, before, dumped := a.slots(""), a.reasons(), a.dump()["slots"]
	w := l.startLoad(true, vip4(1), vip6(1), vip4(2), vip6(2))

	for _, step := range []struct {
		name string
		end  func(*process)
		next []string
		head string
	}{
		{"killed", (*process).kill, []string{web, near}, a.headYAML("[lo, eth0]")},
		{"killed, then in another order", (*process).kill, []string{nearTurned, web}, a.headYAML("[eth0, lo]")},
		{"stopped", (*process).stop, []string{nearTurned, web}, a.headYAML("[eth0, lo]")},
		{"stopped, then an interface less", (*process).stop, []string{web, near}, a.headYAML("[eth0]")},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.end(a.process)
			w.awaitMore()
			if diff := cmp.Diff(slots, a.slots("")); diff != "" {
				t.Errorf("slots changed while no agent ran (-before +after):\n%s", diff)
			}
			a.head = step.head
			a.configure(step.next...)
			a.start()
			w.awaitMore()
			if diff := cmp.Diff(slots, a.slots("")); diff != "" {
				t.Errorf("the next agent changed slots (-before +after):\n%s", diff)
			}
		})
	}
	w.stop()
	mustLoseNothing(t, before, a.reasons())
	if a.dump()["slots"] != dumped {
		t.Error("weir maps dump slots shows that slots changed")
	}
	if _, mode, ok := xdpOn(t, l.balancer, "lo"); ok {
		t.Errorf("lo, which is no longer configured, has a program in %s mode", mode)
	}
}

// TestRestartKeepsHealth restarts the agent while a backend is down: it stays
// so, and when it has recovered in the meantime it comes back.
func TestRestartKeepsHealth(t *testing.T) {
	l := newServingLab(t, 2)
	a := l.startAgent(balancerYAML("web", []netip.Addr{vip4(1)},
		listenerYAML(webPort, "ipip", []string{fastCheck, smallTable}, l.allYAML(4, webPort)...)))
	sick := l.backends[1]
	sick.health.Store(&answer{http.StatusServiceUnavailable, "down"})
	a.awaitHealth("web", lb.HealthDown, "web-2")
	slots := a.slots("")
	for range 2 {
		a.kill()
		a.start()
		if diff := cmp.Diff(slots, a.slots("")); diff != "" {
			t.Fatalf("the next agent changed slots (-before +after):\n%s", diff)
		}
		l.awaitAnswers(httpClient(l.client), vip4(1), "web-1")
	}
	a.kill()
	sick.health.Store(&answer{http.StatusOK, "ok"})
	a.start()
	a.awaitHealth("web", lb.HealthUp)
	l.awaitAnswers(httpClient(l.client), vip4(1), "web-1", "web-2")
}

// turned returns a list in the opposite order.
func turned(list []string) []string {
	var out []string
	for i := range list {
		out = append(out, list[len(list)-1-i])
	}
	return out
}

// TestReload changes the configuration under load, in ways that concern other
// listeners than those under load, or none at all.
func TestReload(t *testing.T) {
	l := newServingLab(t, 3)
	base := func(check string) string {
		return balancerYAML("web", []netip.Addr{vip4(1), vip6(1)},
			listenerYAML(webPort, "ipip", []string{check, smallTable}, l.allYAML(4, webPort)...),
			listenerYAML(echoPort, "ipip", []string{noCheck, smallTable}, l.allYAML(6, echoPort)...))
	}
	other := func(weight string, listeners ...string) string {
		return balancerYAML("other", []netip.Addr{vip4(2), vip6(2)}, append(listeners,
			listenerYAML(webPort, "dsr", []string{slowCheck, "algorithm: source"},
				l.backends[0].yaml(4, webPort, "weight: "+weight), l.backends[1].yaml(6, webPort)))...)
	}
	more := listenerYAML(echoPort, "ipip", []string{noCheck}, l.allYAML(4, echoPort)...)
	third := balancerYAML("third", []netip.Addr{vip4(3)},
		listenerYAML(webPort, "dsr", []string{noCheck}, l.allYAML(4, webPort)...))
	shorter := "check: {type: http, path: /healthz?again, interval: 900ms, timeout: 900ms, fall: 25, rise: 2}"

	a := l.startAgent(base(slowCheck))
	slots := a.slots("web/80/tcp") + a.slots("web/7/tcp")
	before := a.reasons()
	w := l.startLoad(true, vip4(1), vip6(1))
	for i, step := range []struct {
		name      string
		balancers []string
		serves    []netip.Addr // by web-1 at least
	}{
		{"a balancer is added", []string{base(slowCheck), other("100")}, []netip.Addr{vip4(2), vip6(2)}},
		{"its weights change", []string{base(slowCheck), other("255")}, []netip.Addr{vip4(2), vip6(2)}},
		{"a listener is added to it", []string{base(slowCheck), other("255", more)}, []netip.Addr{vip4(2)}},
		{"the order changes and another is added", []string{third, other("255", more), base(slowCheck)}, []netip.Addr{vip4(3)}},
		{"checks change", []string{third, other("255", more), base(shorter)}, []netip.Addr{vip4(3)}},
		{"a listener is removed", []string{third, other("255"), base(shorter)}, []netip.Addr{vip4(2), vip4(3)}},
		{"all others are removed", []string{base(shorter)}, nil},
		{"nothing changes", []string{base(shorter)}, nil},
	} {
		way := []string{"apply", "SIGHUP"}[i%2]
		t.Run(step.name+" by "+way, func(t *testing.T) {
			a.change(t, way, step.balancers...)
			w.awaitMore()
			for _, vip := range step.serves {
				l.answers(httpClient(l.client), vip, 5)
			}
			if got := a.slots("web/80/tcp") + a.slots("web/7/tcp"); got != slots {
				t.Errorf("slots of listeners that did not change were written:\n%s", cmp.Diff(slots, got))
			}
		})
	}
	w.stop()
	mustLoseNothing(t, before, a.reasons())
}

// errNotReloaded is what a reload is waited for with.
var errNotReloaded = errors.New("not reloaded yet")

// change makes balancers the running ones, by weir apply or by SIGHUP.
func (a *agent) change(t *testing.T, way string, balancers ...string) {
	t.Helper()
	last := a.status(t).Config
	a.configure(balancers...)
	if way == "apply" {
		a.weir("apply", a.file).succeeds(t)
	} else {
		a.signal(syscall.SIGHUP)
	}
	a.await(func(s control.Status) error {
		if !s.Config.LastReload.After(last.LastReload) {
			return errNotReloaded
		}
		return nil
	})
	now := a.status(t).Config
	if !now.ReloadOK || now.Error != "" {
		t.Fatalf("%s: weir status says that it was refused: %s", way, now.Error)
	}
}
