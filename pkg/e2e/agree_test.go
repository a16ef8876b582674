// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/testutil"
)

// datagramPort is the port of a UDP service that says who serves it.
const datagramPort = 5300

// TestBalancersAgree sends the same flows by one balancer and by another, which
// has the same configuration in another order, and sees the same backends
// answer. UDP has no connection, so that a flow can be sent twice.
func TestBalancersAgree(t *testing.T) {
	l := newLab(t, 4, "second")
	second := l.network.Host("second")
	vips := []netip.Addr{vip4(1), vip6(1), vip4(2), vip6(2)}
	for _, b := range l.backends {
		b.startNode()
		for _, vip := range vips {
			serveLabel(l, b, netip.AddrPortFrom(vip, datagramPort))
		}
	}
	udp := []string{"protocol: udp"}
	tunnel := func(pool []string) string {
		return balancerYAML("tunnel", []netip.Addr{vip4(1), vip6(1)}, listenerYAML(datagramPort, "ipip", udp, pool...))
	}
	direct := func(pool []string) string {
		return balancerYAML("direct", []netip.Addr{vip6(2), vip4(2)}, listenerYAML(datagramPort, "dsr", udp, pool...))
	}
	pool := append([]string{l.backends[0].yaml(4, datagramPort, "weight: 200")}, l.allYAML(6, datagramPort)[1:]...)
	one := l.startAgent(tunnel(pool), direct(pool))
	two := l.newAgent(agentOptions{label: "two", host: second})
	two.configure(direct(turned(pool)), tunnel(turned(pool)))
	two.start()

	for _, vip := range vips {
		by := make(map[string]map[int]string)
		for _, balancer := range []*testutil.Host{l.balancer, second} {
			l.routeVIPs(l.client, balancer)
			by[balancer.Label] = l.askMany(t, netip.AddrPortFrom(vip, datagramPort))
		}
		if diff := cmp.Diff(by["balancer"], by["second"]); diff != "" {
			t.Errorf("of the flows to %s some are answered by another backend by way of the second balancer:\n%s", vip, diff)
		}
		served := make(map[string]int)
		for _, who := range by["balancer"] {
			served[who]++
		}
		if len(served) != len(l.backends) {
			t.Errorf("flows to %s were answered by %v, want all of %d", vip, served, len(l.backends))
		}
	}
	for _, a := range []*agent{one, two} {
		if n := a.reasons()["forwarded"]; n == 0 {
			t.Errorf("the balancer %s forwarded nothing", a.host.Label)
		}
	}
}

// serveLabel answers each datagram to an address with the backend's label.
func serveLabel(l *lab, b *backend, address netip.AddrPort) {
	l.t.Helper()
	conn, err := b.ListenPacket("udp", address.String())
	l.must(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			_, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo([]byte(b.Label), from)
		}
	}()
	l.t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
}

// askMany sends a datagram from each of many ports and returns who answered.
func (l *lab) askMany(t *testing.T, to netip.AddrPort) map[int]string {
	t.Helper()
	const first, flows = 40000, 120
	by := make(map[int]string)
	for port := first; port < first+flows; port++ {
		who, err := l.askFrom(port, to)
		if err != nil {
			t.Fatal(err)
		}
		by[port] = who
	}
	return by
}

func (l *lab) askFrom(port int, to netip.AddrPort) (who string, err error) {
	dialer := net.Dialer{LocalAddr: &net.UDPAddr{Port: port}}
	var conn net.Conn
	err = l.client.Do(func() error {
		conn, err = dialer.DialContext(context.Background(), "udp", to.String())
		return err
	})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	buf := make([]byte, 1500)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if _, err := conn.Write([]byte("who?")); err != nil {
			return "", err
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return "", err
		}
		if n, err := conn.Read(buf); err == nil {
			return string(buf[:n]), nil
		}
	}
	return "", fmt.Errorf("nobody answered datagrams from port %d to %s", port, to)
}
