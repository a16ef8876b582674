// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weirlb/weir/pkg/control"
)

// TestTwoInterfaces has the backends on another interface than the client, so
// that packets leave by another one than they came by.
func TestTwoInterfaces(t *testing.T) {
	l := newLab(t, 0)
	hosts := l.network.LAN("balancer", "web-1", "web-2")
	inside := l.balancer.Ports[1]
	l.must(l.balancer.Forward()) // the way of the answers
	for _, key := range []string{"all", "default", "eth0", "eth1"} {
		l.must(l.balancer.SetSysctl("net/ipv4/conf/"+key+"/rp_filter", "0"))
	}
	for _, h := range hosts[1:] {
		b := &backend{lab: l, Host: h}
		l.backends = append(l.backends, b)
		l.route(h, l.client.Ports[0], inside)
		b.startNode()
		b.serve()
	}
	balancers := []string{
		balancerYAML("tunnel", []netip.Addr{vip4(1), vip6(1)},
			listenerYAML(webPort, "ipip", []string{slowCheck, smallTable}, l.allYAML(6, webPort)...)),
		balancerYAML("direct", []netip.Addr{vip4(2), vip6(2)},
			listenerYAML(webPort, "dsr", []string{slowCheck, smallTable}, l.allYAML(4, webPort)...)),
	}
	a := l.startAgent(balancers...)
	for _, balancer := range []string{"tunnel", "direct"} {
		for _, r := range a.backendsOf(balancer) {
			if r.Slots != 0 || !strings.Contains(r.Problem, "eth1") || !strings.Contains(r.Problem, "add it to agent.interfaces") {
				t.Errorf("with eth1 not configured %s has %d slots (%s)", r.Label, r.Slots, r.Problem)
			}
		}
	}

	a.head = a.headYAML("[eth0, eth1]")
	a.change(t, "apply", balancers...)
	for _, vip := range []netip.Addr{vip4(1), vip6(1), vip4(2), vip6(2)} {
		l.awaitAnswers(httpClient(l.client), vip, "web-1", "web-2")
	}

	// Taken off the interface, the program no longer sends there.
	a.head = a.headYAML("[eth0]")
	a.change(t, "SIGHUP", balancers...)
	if _, mode, ok := xdpOn(t, l.balancer, "eth1"); ok {
		t.Errorf("eth1, which is no longer configured, has a program in %s mode", mode)
	}
	a.awaitBackends("tunnel", func(r control.BackendRow) error {
		if r.Slots != 0 {
			return errors.New("want none")
		}
		return nil
	})
}

// TestGenericMode runs the program in the network stack, because it was told to,
// and because a driver cannot run it.
func TestGenericMode(t *testing.T) {
	l := newServingLab(t, 2)
	balancers := []string{
		balancerYAML("tunnel", []netip.Addr{vip4(1), vip6(1)},
			listenerYAML(webPort, "ipip", []string{slowCheck, smallTable}, l.allYAML(4, webPort)...)),
		balancerYAML("direct", []netip.Addr{vip4(2), vip6(2)},
			listenerYAML(webPort, "dsr", []string{slowCheck, smallTable}, l.allYAML(6, webPort)...)),
	}
	works := func(t *testing.T) {
		t.Helper()
		for _, vip := range []netip.Addr{vip4(1), vip6(1), vip4(2), vip6(2)} {
			l.awaitAnswers(httpClient(l.client), vip, "web-1", "web-2")
		}
	}
	a := l.newAgent(agentOptions{interfaces: "[lo, eth0]", keys: []string{"xdp_mode: native"}})
	a.configure(balancers...)
	a.runs(nil).fails(t, 1, "attaching to lo: its driver has no native XDP")

	a.head = a.headYAML("[eth0]", "xdp_mode: generic")
	a.configure(balancers...)
	a.start()
	a.mustBeAttached(t, "eth0 generic")
	works(t)

	a.head = a.headYAML("[eth0]", "xdp_mode: native")
	a.change(t, "apply", balancers...)
	a.mustBeAttached(t, "eth0 native")
	works(t)

	a.head = a.headYAML("[eth0, lo]", "xdp_mode: auto")
	a.change(t, "apply", balancers...)
	a.mustBeAttached(t, "eth0 native", "lo generic")
	works(t)
	problems := decode[report](a, "status").Agent.Problems
	slow := func(p string) bool { return strings.Contains(p, "interface lo: generic mode, which is slow") }
	if !slices.ContainsFunc(problems, slow) || !strings.Contains(a.output.String(), "GENERIC XDP") {
		t.Errorf("neither weir status nor the log says that lo is slow: %q", problems)
	}
}

// mustBeAttached sees where weir status says that the program is.
func (a *agent) mustBeAttached(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, i := range decode[report](a, "status").Attached {
		got = append(got, fmt.Sprintf("%s %s", i.Interface, i.Mode))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("weir status says that the program is on %q, want %q", got, want)
	}
}
