// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/testutil"
)

// bodyCheck is fastCheck with a look at the body.
var bodyCheck = strings.Replace(fastCheck, "type: http", `type: http_body, body: "^ok$"`, 1)

// TestHealth has backends fail in various ways, and recover.
func TestHealth(t *testing.T) {
	l := newServingLab(t, 3)
	pool := l.allYAML(4, webPort)
	a := l.startAgent(
		balancerYAML("status", []netip.Addr{vip4(1), vip6(1)},
			listenerYAML(webPort, "ipip", []string{fastCheck}, pool...)),
		balancerYAML("body", []netip.Addr{vip4(2)},
			listenerYAML(webPort, "dsr", []string{bodyCheck}, pool...)),
		balancerYAML("open", []netip.Addr{vip4(3)},
			listenerYAML(webPort, "ipip", []string{fastCheck, "on_all_down: open"}, pool...)),
		balancerYAML("drop", []netip.Addr{vip4(4)},
			listenerYAML(webPort, "ipip", []string{fastCheck, "on_all_down: drop"}, pool...)),
		balancerYAML("reject", []netip.Addr{vip6(4)},
			listenerYAML(webPort, "ipip", []string{fastCheck, "on_all_down: reject"}, pool...)),
	)
	client := httpClient(l.client)
	everyone := []string{"web-1", "web-2", "web-3"}
	restored := func() {
		for _, b := range l.backends {
			b.health.Store(&answer{http.StatusOK, "ok"})
		}
		for _, balancer := range []string{"status", "body", "open", "drop", "reject"} {
			a.awaitHealth(balancer, lb.HealthUp)
		}
		l.awaitAnswers(client, vip4(1), everyone...)
		l.awaitAnswers(client, vip4(2), everyone...)
	}
	restored()

	for _, f := range []struct {
		name    string
		fail    func(*backend)
		recover func(*backend)
		why     string
		body    bool // seen by the check of the body only
	}{
		{"server stops", (*backend).stopServing, (*backend).serve, "refused", false},
		{"status", func(b *backend) { b.health.Store(&answer{http.StatusServiceUnavailable, "ok"}) },
			func(*backend) {}, "status 503", false},
		{"body", func(b *backend) { b.health.Store(&answer{http.StatusOK, "out of order"}) },
			func(*backend) {}, "body does not match", true},
	} {
		t.Run(f.name, func(t *testing.T) {
			f.fail(l.backends[1])
			a.awaitHealth("body", lb.HealthDown, "web-2")
			l.seeTakenOut(t, a, "body", vip4(2), f.why)
			if f.body {
				a.awaitHealth("status", lb.HealthUp)
			} else {
				a.awaitHealth("status", lb.HealthDown, "web-2")
				l.seeTakenOut(t, a, "status", vip4(1), f.why)
				l.seeTakenOut(t, a, "status", vip6(1), f.why)
			}
			f.recover(l.backends[1])
			restored()
		})
	}
	t.Run("all down", func(t *testing.T) { l.seeAllDown(t, a, everyone) })
	restored()
	if n := a.reasons()["drop_no_backend"]; n == 0 {
		t.Error("no packet was dropped for the reason drop_no_backend")
	}
}

// seeTakenOut sees web-2 get no request, none fail, and the listings say why.
func (l *lab) seeTakenOut(t *testing.T, a *agent, balancer string, vip netip.Addr, why string) {
	t.Helper()
	by := l.answers(httpClient(l.client), vip, 40)
	if by["web-2"] != 0 || by["web-1"] == 0 || by["web-3"] == 0 {
		t.Errorf("while web-2 is down the requests to %s are answered by %v", vip, by)
	}
	row := a.backend(fmt.Sprintf("%s/%d/tcp/web-2", balancer, webPort))
	if row.Health != lb.HealthDown || row.Slots != 0 || !strings.Contains(row.Problem, why) {
		t.Errorf("weir backends says that web-2 is %s with %d slots (%s), want %s", row.Health, row.Slots, row.Problem, why)
	}
	a.mustHaveProblem(t, row.Key(), row.Label, why)
}

// mustHaveProblem sees a backend among the problems of weir status.
func (a *agent) mustHaveProblem(t *testing.T, listener lb.ListenerKey, label, why string) {
	t.Helper()
	problems := decode[report](a, "status").Agent.Problems
	name := fmt.Sprintf("%s/%s ", listener, label)
	if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, name) && strings.Contains(p, why) }) {
		t.Errorf("weir status does not say of %s that %s: %q", name, why, problems)
	}
}

// seeAllDown fails the checks of all backends, which go on answering.
func (l *lab) seeAllDown(t *testing.T, a *agent, everyone []string) {
	for _, b := range l.backends {
		b.health.Store(&answer{http.StatusInternalServerError, "down"})
	}
	a.awaitHealth("open", lb.HealthDown, everyone...)
	a.awaitHealth("drop", lb.HealthDown, everyone...)
	a.awaitHealth("reject", lb.HealthDown, everyone...)
	l.awaitAnswers(httpClient(l.client), vip4(3), everyone...)

	before := a.backendsOf("drop")
	var timeout net.Error
	if err := l.nobodyAnswers(vip4(4)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("with all backends down a connection ends with %v, want a timeout", err)
	}
	if err := l.nobodyAnswers(vip6(4)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("with all backends down a connection ends with %v, want that it is refused", err)
	}
	for i, row := range a.backendsOf("drop") {
		if row.Forwarded != before[i].Forwarded || row.Slots != 0 {
			t.Errorf("%s is down, has %d slots and got %+v after %+v", row.Label, row.Slots, row.Forwarded, before[i].Forwarded)
		}
	}
}

func (a *agent) backendsOf(balancer string) []control.BackendRow {
	a.t.Helper()
	return decode[[]control.BackendRow](a, "backends", balancer)
}

// TestBackendWithoutNeighbour has a backend whose address nobody has take no
// traffic, until somebody has it.
func TestBackendWithoutNeighbour(t *testing.T) {
	l := newServingLab(t, 2)
	ghost4, ghost6 := netip.MustParsePrefix("192.0.2.99/24"), netip.MustParsePrefix("2001:db8:1::99/64")
	ghost := func(address netip.Prefix) string {
		return fmt.Sprintf("{label: ghost, address: %q}", netip.AddrPortFrom(address.Addr(), webPort))
	}
	a := l.startAgent(
		balancerYAML("four", []netip.Addr{vip4(1)},
			listenerYAML(webPort, "ipip", []string{noCheck}, l.backends[0].yaml(4, webPort), ghost(ghost4))),
		balancerYAML("six", []netip.Addr{vip6(1)},
			listenerYAML(webPort, "dsr", []string{noCheck}, l.backends[0].yaml(6, webPort), ghost(ghost6))),
	)
	client := httpClient(l.client)
	for _, c := range []struct {
		balancer string
		vip      netip.Addr
		address  netip.Prefix
		why      string
	}{
		{"four", vip4(1), ghost4, "does not answer ARP"},
		{"six", vip6(1), ghost6, "does not answer neighbour discovery"},
	} {
		name := fmt.Sprintf("%s/%d/tcp", c.balancer, webPort)
		row := a.backend(name + "/ghost")
		if row.Slots != 0 || !strings.Contains(row.Problem, c.why) || row.NextHop != nil {
			t.Errorf("the ghost of %s has %d slots, next hop %v (%s), want none: %s", c.balancer, row.Slots, row.NextHop,
				row.Problem, c.why)
		}
		a.mustHaveProblem(t, row.Key(), row.Label, c.why)
		if by := l.answers(client, c.vip, 20); by["web-1"] != 20 {
			t.Errorf("requests to %s were answered by %v, want web-1 alone", c.vip, by)
		}

		l.must(l.backends[1].AddAddress("eth0", c.address))
		a.awaitBackends(c.balancer, func(r control.BackendRow) error {
			if r.Slots == 0 {
				return errors.New("want slots")
			}
			return nil
		})
		l.awaitAnswers(client, c.vip, "web-1", "web-2")
	}
}

// TestRoutedBackend has a backend behind a router, whose MAC address changes.
func TestRoutedBackend(t *testing.T) {
	l := newLab(t, 0, "router")
	router, far := l.network.Host("router"), l.addFarBackend()
	a := l.startAgent(balancerYAML("web", []netip.Addr{vip4(1), vip6(1)},
		listenerYAML(webPort, "ipip", []string{slowCheck}, far.yaml(4, webPort)),
		listenerYAML(echoPort, "ipip", []string{noCheck}, far.yaml(6, echoPort))))

	client := httpClient(l.client)
	l.awaitAnswers(client, vip4(1), "far")
	l.awaitAnswers(client, vip6(1), "far")
	mac := a.backend(fmt.Sprintf("web/%d/tcp/far", webPort)).NextHop.Dest
	if want := hardwareAddr(router.MAC()); mac != want {
		t.Fatalf("frames for the routed backend go to %s, want the router, %s", mac, want)
	}

	// A spare router takes over, without a word.
	l.must(router.SetMAC("eth0", lb.MAC{0x02, 0, 0, 0, 9, 9}))
	for _, port := range []int{webPort, echoPort} {
		testutil.WaitFor(t, patience, func() error {
			rows, err := a.client().Backends(context.Background())
			if err != nil {
				return err
			}
			for _, r := range rows {
				if int(r.Port) == port && (r.NextHop == nil || r.NextHop.Dest != "02:00:00:00:09:09") {
					return fmt.Errorf("frames for port %d go to %+v", port, r.NextHop)
				}
			}
			return nil
		})
	}
	l.awaitAnswers(client, vip4(1), "far")
	l.awaitAnswers(client, vip6(1), "far")
	exchangeLines(t, l.client, netip.AddrPortFrom(vip4(1), echoPort), "hello")
}

// addFarBackend makes a backend on a second network, behind the host "router".
func (l *lab) addFarBackend() *backend {
	l.t.Helper()
	hosts := l.network.LAN("router", "far")
	router, far := hosts[0], &backend{lab: l, Host: hosts[1]}
	l.must(router.Forward())
	for _, key := range []string{"all", "default", "eth0", "eth1"} {
		l.must(router.SetSysctl("net/ipv4/conf/"+key+"/rp_filter", "0"))
	}
	l.route(l.balancer, far.Ports[0], router.Ports[0])
	l.route(far.Host, l.client.Ports[0], router.Ports[1])
	// So that a neighbour that is silent is noticed within seconds.
	for _, family := range []string{"ipv4", "ipv6"} {
		for key, value := range map[string]string{
			"base_reachable_time_ms": "1000", "delay_first_probe_time": "1", "retrans_time_ms": "200",
		} {
			l.must(l.balancer.SetSysctl("net/"+family+"/neigh/eth0/"+key, value))
		}
	}
	far.startNode()
	far.serve()
	return far
}
