// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/testutil"
)

// TestMetrics compares what a scrape of agent and node shows with the listings.
func TestMetrics(t *testing.T) {
	l := newLab(t, 1)
	b := l.backends[0]
	const agentMetrics, nodeMetrics = "127.0.0.1:9417", "127.0.0.1:9418"
	b.startNode("--metrics", nodeMetrics)
	b.serve()
	a := l.newAgent(agentOptions{keys: []string{"metrics: " + agentMetrics}})
	a.configure(balancerYAML("web", []netip.Addr{vip4(1), vip6(1)},
		listenerYAML(webPort, "ipip", []string{slowCheck, smallTable}, b.yaml(6, webPort))))
	a.start()
	l.answers(httpClient(l.client), vip4(1), 10)

	for _, path := range []string{"/healthz", "/readyz"} {
		for host, address := range map[*testutil.Host]string{l.balancer: agentMetrics, b.Host: nodeMetrics} {
			if _, _, err := get(httpClient(host), "http://"+address+path); err != nil {
				t.Errorf("%s: %v", host.Label, err)
			}
		}
	}
	// The last packets of the last connection may still be on their way.
	testutil.WaitFor(t, patience, func() error {
		rows := decode[[]control.ListenerRow](a, "listeners")
		want := rows[0].Forwarded
		for _, line := range []string{
			fmt.Sprintf(`weir_listener_packets_total{balancer="web",port="80",protocol="tcp"} %d`, want.Packets),
			fmt.Sprintf(`weir_listener_bytes_total{balancer="web",port="80",protocol="tcp"} %d`, want.Bytes),
			fmt.Sprintf(`weir_packets_total{reason="forwarded"} %d`, want.Packets),
			`weir_backend_up{address="[2001:db8:1::3]:80",backend="web-1",balancer="web",port="80",protocol="tcp"} 1`,
			`weir_interface_attached{interface="eth0",mode="native"} 1`,
			`weir_ready 1`,
		} {
			if err := shows(t, l.balancer, agentMetrics, line); err != nil {
				return err
			}
		}
		return shows(t, b.Host, nodeMetrics, fmt.Sprintf(`weir_node_packets_total{reason="decapsulated"} %d`, want.Packets))
	})
}

// shows says if a scrape does not have a line.
func shows(t *testing.T, host *testutil.Host, address, line string) error {
	t.Helper()
	_, body, err := get(httpClient(host), "http://"+address+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains("\n"+string(body), "\n"+line+"\n") {
		return fmt.Errorf("the metrics of %s do not have %s", host.Label, line)
	}
	return nil
}
