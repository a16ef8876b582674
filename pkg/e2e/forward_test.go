// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/testutil"
)

// combination is a way of forwarding and the family of the backends' own
// addresses.
type combination struct {
	forward string
	family  int
}

func (c combination) label() string { return fmt.Sprintf("%s-%d", c.forward, c.family) }

func combinations() []combination {
	return []combination{{"ipip", 4}, {"ipip", 6}, {"dsr", 4}, {"dsr", 6}}
}

// TestForwarding has curl and Go fetch and send over every combination of
// family and way of forwarding, and compares what the kernel counted with what
// the client's kernel sent.
func TestForwarding(t *testing.T) {
	l := newServingLab(t, 3)
	var balancers []string
	for i, c := range combinations() {
		balancers = append(balancers, balancerYAML(c.label(), []netip.Addr{vip4(i + 1), vip6(i + 1)},
			listenerYAML(webPort, c.forward, []string{slowCheck}, l.allYAML(c.family, webPort)...)))
	}
	a := l.startAgent(balancers...)

	for _, i := range decode[report](a, "status").Attached {
		if i.Interface != "eth0" || i.Mode != "native" {
			t.Errorf("attached to %s in %s mode, want eth0 in native mode", i.Interface, i.Mode)
		}
	}
	before := sentSegments(t, l.client)
	for i, c := range combinations() {
		for _, vip := range []netip.Addr{vip4(i + 1), vip6(i + 1)} {
			t.Run(fmt.Sprintf("%s/%s", c.label(), vip), func(t *testing.T) {
				l.fetchAndSend(t, vip)
				l.curl(t, vip)
			})
		}
	}
	if t.Failed() {
		return
	}
	// The last packets of the last connection may still be on their way.
	testutil.WaitFor(t, patience, func() error { return a.counted(sentSegments(t, l.client) - before) })
}

// fetchAndSend fetches a large page until every backend has shown it, and has
// each send back what it was sent.
func (l *lab) fetchAndSend(t *testing.T, vip netip.Addr) {
	client := httpClient(l.client)
	large, upload := largeBody(), bytes.Repeat([]byte("0123456789"), 100)
	showed, echoed := make(map[string]bool), make(map[string]bool)
	const most = 200
	for range most {
		who, body, err := get(client, url(vip, webPort, "/large"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(body, large) {
			t.Fatalf("%s showed %d bytes that are not the %d of the page", who, len(body), len(large))
		}
		showed[who] = true
		if who, body, err = post(client, url(vip, webPort, "/echo"), upload); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(body, upload) {
			t.Fatalf("%s got %d bytes that are not the %d that were sent", who, len(body), len(upload))
		}
		echoed[who] = true
		if len(showed) == len(l.backends) && len(echoed) == len(l.backends) {
			return
		}
	}
	t.Errorf("of %d requests only %v were answered", most, showed)
}

// curl fetches the large page and sends a body with curl.
func (l *lab) curl(t *testing.T, vip netip.Addr) {
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Log("there is no curl here: Go's client alone is tested")
		return
	}
	curl := []string{
		path, "--silent", "--show-error", "--fail", "--globoff", "--noproxy", "*",
		"--max-time", strconv.Itoa(int(requestTimeout.Seconds())),
	}
	got := run(t, l.client.Namespace, nil, append(curl, url(vip, webPort, "/large"))...).succeeds(t)
	if got != string(largeBody()) {
		t.Errorf("curl got %d bytes that are not the page", len(got))
	}
	upload := strings.Repeat("0123456789", 100)
	got = run(t, l.client.Namespace, nil, append(curl, "--data-binary", upload, url(vip, webPort, "/echo"))...).succeeds(t)
	if got != upload {
		t.Errorf("curl sent %d bytes and got back %d others", len(upload), len(got))
	}
}

// counted says whether the kernel's counters agree with each other, and with a
// number of packets that were sent to the balancers.
func (a *agent) counted(sent uint64) error {
	var all dataplane.Traffic
	for _, listener := range decode[[]control.ListenerRow](a, "listeners") {
		if listener.Forwarded.Packets == 0 || listener.Dropped.Packets != 0 {
			return fmt.Errorf("listener %s forwarded %d packets and dropped %d", listener.Key(), listener.Forwarded.Packets,
				listener.Dropped.Packets)
		}
		var pool dataplane.Traffic
		for _, backend := range decode[[]control.BackendRow](a, "backends", listener.Key().String()) {
			if backend.Forwarded.Packets == 0 {
				return fmt.Errorf("backend %s of %s got no packet", backend.Label, listener.Key())
			}
			pool = pool.Add(backend.Forwarded)
		}
		if pool != listener.Forwarded {
			return fmt.Errorf("listener %s forwarded %+v and its backends got %+v", listener.Key(), listener.Forwarded, pool)
		}
		all = all.Add(listener.Forwarded)
	}
	if forwarded := a.reasons()["forwarded"]; all.Packets != forwarded || all.Packets != sent {
		return fmt.Errorf("the client sent %d packets, %d left for the reason forwarded, and the listeners forwarded %d",
			sent, forwarded, all.Packets)
	}
	return nil
}

// sentSegments returns how many TCP segments a host has sent, repetitions
// included.
func sentSegments(t testing.TB, host *testutil.Host) (sent uint64) {
	t.Helper()
	err := host.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		var names []string
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if fields[0] != "Tcp:" {
				continue
			}
			if names == nil {
				names = fields
				continue
			}
			for i, name := range names {
				if name == "OutSegs" || name == "RetransSegs" {
					n, err := strconv.ParseUint(fields[i], 10, 64)
					if err != nil {
						return err
					}
					sent += n
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sent
}

// TestSourceAlgorithm sees each client address served by one backend, and the
// addresses spread over all.
func TestSourceAlgorithm(t *testing.T) {
	const addresses, requests = 24, 5
	l := newServingLab(t, 3)
	var sources []netip.Prefix
	for n := range addresses {
		sources = append(sources,
			netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + n)}), 24),
			netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%d", 100+n)), 64))
	}
	for _, source := range sources {
		l.must(l.client.AddAddress("eth0", source))
	}
	l.startAgent(balancerYAML("web", []netip.Addr{vip4(1), vip6(1)},
		listenerYAML(webPort, "ipip", []string{"algorithm: source", slowCheck}, l.allYAML(4, webPort)...)))

	served := map[bool]map[string]int{false: {}, true: {}}
	for _, source := range sources {
		vip, six := vip4(1), source.Addr().Is6()
		if six {
			vip = vip6(1)
		}
		by := l.answers(httpClientFrom(l.client, source.Addr()), vip, requests)
		if len(by) != 1 {
			t.Errorf("the requests of %s were answered by %v, want one backend", source, by)
		}
		for who := range by {
			served[six][who]++
		}
	}
	for six, by := range served {
		if len(by) != len(l.backends) {
			t.Errorf("IPv6 %t: %d client addresses were served by %v, want all of %d", six, addresses, by, len(l.backends))
		}
	}
}
