// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/testutil"
)

// TestEcho has XDP answer pings to a balancer's addresses, which no host has.
func TestEcho(t *testing.T) {
	l := newLab(t, 1)
	a := l.startAgent(balancerYAML("web", []netip.Addr{vip4(1), vip6(1)},
		listenerYAML(webPort, "ipip", []string{noCheck}, l.allYAML(4, webPort)...)))

	sent := 0
	for _, vip := range []netip.Addr{vip4(1), vip6(1)} {
		for _, size := range []int{0, 56, 1400} {
			n, err := ping{from: l.client, to: vip, size: size}.send()
			if err != nil {
				t.Error(err)
			}
			sent += n
		}
	}
	if got := a.reasons()["echo_reply"]; got != uint64(sent) {
		t.Errorf("%d echo requests were sent and %d replies counted", sent, got)
	}
}

// TestNotOursNotTouched runs what a host and a router do beside Weir, once
// without and once with the program attached.
func TestNotOursNotTouched(t *testing.T) {
	l := newLab(t, 1)
	outside := l.network.LAN("outside", "balancer")[0]
	l.must(l.balancer.Forward())
	l.route(l.client, outside.Ports[0], l.balancer.Ports[0])
	l.route(outside, l.client.Ports[0], l.balancer.Ports[1])

	for _, h := range []*testutil.Host{l.balancer, outside} {
		serveEcho(l, h, "[::]:22")
		serveDatagrams(l, h, "[::]:514")
	}
	t.Run("without", func(t *testing.T) { l.ordinaryTraffic(t, outside) })
	a := l.newAgent(agentOptions{interfaces: "[eth0, eth1]"})
	a.configure(balancerYAML("web", []netip.Addr{vip4(1), vip6(1)},
		listenerYAML(webPort, "ipip", []string{noCheck}, l.allYAML(4, webPort)...)))
	a.start()
	before := a.reasons()
	t.Run("with", func(t *testing.T) { l.ordinaryTraffic(t, outside) })
	for reason, packets := range a.reasons() {
		switch reason {
		case "pass_not_ip", "pass_not_ours": // ARP is the one that is not IP
		default:
			if packets != before[reason] {
				t.Errorf("%d packets left for the reason %s", packets-before[reason], reason)
			}
		}
	}
}

// ordinaryTraffic sends to the balancer's own addresses, and through its host
// to those of another.
func (l *lab) ordinaryTraffic(t *testing.T, outside *testutil.Host) {
	t.Helper()
	// Record route: 3 addresses, none written yet, and an end of options.
	recordRoute := []byte{7, 15, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for _, h := range []*testutil.Host{l.balancer, outside} {
		for _, to := range []netip.Addr{h.IPv4(), h.IPv6()} {
			// The second line takes several segments.
			long := strings.Repeat("0123456789", 1000)
			exchangeLines(t, l.client, netip.AddrPortFrom(to, 22), "hello", long)
			if err := exchangeDatagram(l.client, netip.AddrPortFrom(to, 514), 8<<10); err != nil {
				t.Error(err)
			}
			pings := []ping{{size: 56}, {size: 3000}, {size: 0}}
			if to.Is4() {
				pings = append(pings, ping{size: 56, options: recordRoute})
			}
			for _, p := range pings {
				p.from, p.to = l.client, to
				if _, err := p.send(); err != nil {
					t.Errorf("options %v: %v", p.options, err)
				}
			}
		}
	}
}

// TestPortWithoutListener has the balancer's host hold the balancer's addresses:
// it gets what the balancer has no listener for.
func TestPortWithoutListener(t *testing.T) {
	l := newLab(t, 1)
	for _, vip := range []netip.Addr{vip4(1), vip6(1)} {
		l.must(l.balancer.AddAddress("lo", netip.PrefixFrom(vip, vip.BitLen())))
		for _, port := range []uint16{514, webPort} {
			serveDatagrams(l, l.balancer, netip.AddrPortFrom(vip, port).String())
		}
	}
	serveEcho(l, l.balancer, "[::]:22")
	a := l.startAgent(balancerYAML("web", []netip.Addr{vip4(1), vip6(1)},
		listenerYAML(webPort, "ipip", []string{noCheck}, l.allYAML(4, webPort)...)))

	for _, vip := range []netip.Addr{vip4(1), vip6(1)} {
		exchangeLines(t, l.client, netip.AddrPortFrom(vip, 22), "hello")
		if err := refused(l.client, netip.AddrPortFrom(vip, 23)); err != nil {
			t.Error(err)
		}
		// No listener is of this protocol, so fragments are the host's.
		for _, port := range []uint16{514, webPort} {
			if err := exchangeDatagram(l.client, netip.AddrPortFrom(vip, port), 8<<10); err != nil {
				t.Error(err)
			}
		}
		// What XDP does not answer, the host does.
		if _, err := (ping{from: l.client, to: vip, size: 3000}).send(); err != nil {
			t.Error(err)
		}
	}
	for reason, packets := range a.reasons() {
		switch reason {
		case "pass_not_ip", "pass_not_ours", "pass_no_listener", "pass_icmp":
		default:
			if packets != 0 {
				t.Errorf("%d packets left for the reason %s", packets, reason)
			}
		}
	}
}

// exchangeLines sends lines to an echo server.
func exchangeLines(t testing.TB, from *testutil.Host, to netip.AddrPort, lines ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	conn, err := from.DialContext(ctx, "tcp", to.String())
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	for _, line := range lines {
		if err := sendLine(conn, line); err != nil {
			t.Errorf("to %s: %v", to, err)
		}
	}
}

// refused says if a connection is not refused.
func refused(from *testutil.Host, to netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	conn, err := from.DialContext(ctx, "tcp", to.String())
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("%s accepts connections", to)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("a connection to %s is not refused: %w", to, err)
	}
	return nil
}

// serveDatagrams sends back each datagram until the test ends.
func serveDatagrams(l *lab, host *testutil.Host, address string) {
	l.t.Helper()
	conn, err := host.ListenPacket("udp", address)
	l.must(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(buf[:n], from)
		}
	}()
	l.t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
}

// exchangeDatagram sends datagrams, a second apart, until one comes back.
func exchangeDatagram(from *testutil.Host, to netip.AddrPort, size int) error {
	conn, err := from.DialContext(context.Background(), "udp", to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	sent := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	buf := make([]byte, 1<<16)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if _, err := conn.Write(sent); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		var timeout net.Error
		n, err := conn.Read(buf)
		switch {
		case err == nil && bytes.Equal(buf[:n], sent):
			return nil
		case err == nil:
			return fmt.Errorf("%s sent back %d bytes that are not the %d that it got", to, n, len(sent))
		case !errors.As(err, &timeout) || !timeout.Timeout():
			return err
		}
	}
	return fmt.Errorf("no datagram of %d bytes came back from %s", size, to)
}
