// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package manual

import (
	"strings"
	"testing"

	"github.com/weirlb/weir/pkg/testutil"
)

// TestReadmeOneMachine pastes the quick start for one machine into a shell, as
// it is written, and compares what it prints with what the README says.
func TestReadmeOneMachine(t *testing.T) {
	requireTools(t, "bash", "timeout", "mount", "nsenter", "ip", "ethtool", "curl", "python3")
	blocks := readPage(t, "README.md").blocks("one machine")
	if len(blocks) < 5 {
		t.Fatalf("README.md has only %d blocks of the quick start", len(blocks))
	}
	machine := openTerminal(t, weirBinary(t), "this machine", nil)
	for _, b := range blocks {
		machine.runBlock(b)
	}
	// The kernel has files of its own in every BPF file system.
	left := machine.run("ip netns list; ls /sys/fs/bpf | grep -v debug || true; ip -o link show | grep lab0 || true; jobs")
	if len(left) != 0 {
		t.Errorf("the quick start leaves behind: %q", left)
	}
}

// TestReadmeTwoHosts does what the quick start for two hosts says on two hosts
// and a client, on one switch.
func TestReadmeTwoHosts(t *testing.T) {
	requireTools(t, "bash", "timeout", "mount", "ip", "curl", "python3")
	blocks := readPage(t, "README.md").blocks("client", "balancer", "backend")
	if len(blocks) < 7 {
		t.Fatalf("README.md has only %d blocks of the quick start", len(blocks))
	}
	network := testutil.NewTopology(t)
	hosts := network.LAN("client", "balancer", "backend")
	weir, terminals := weirBinary(t), make(map[string]*terminal)
	for _, h := range hosts {
		terminals[h.Label] = openTerminal(t, weir, h.Label, h.Namespace)
		terminals[h.Label].run("echo 'Hello from the backend.' > index.html")
	}
	client, balancer, backend := terminals["client"], terminals["balancer"], terminals["backend"]

	var answers []string
	for _, b := range blocks {
		label, _, _ := strings.Cut(b.label, ",")
		switch {
		case b.label == "client" && strings.HasPrefix(b.text, "curl"):
			awaitBackend(balancer)
			answers = client.run(b.text)
		default:
			terminals[label].runBlock(b)
		}
	}
	if got := strings.Join(answers, "\n"); got != "Hello from the backend.\nHello from the backend." {
		t.Errorf("the client got %q", got)
	}
	t.Run("VIPs on the interface", func(t *testing.T) { vipsOnInterface(t, client, balancer) })
	t.Run("node killed", func(t *testing.T) { nodeKilled(t, client, backend) })
}

// awaitBackend waits until the balancer has found the backend up.
func awaitBackend(balancer *terminal) {
	balancer.t.Helper()
	balancer.run("until weir status > status.log 2>&1; do sleep 0.1; done")
	balancer.run("until weir backends | grep -q ' up '; do sleep 0.1; done")
}

// vipsOnInterface tells the network of the VIPs in the other way of step 4.
func vipsOnInterface(t *testing.T, client, balancer *terminal) {
	for _, vip := range []struct{ address, length, url string }{
		{"203.0.113.10", "/32", "http://203.0.113.10/"},
		{"2001:db8:a::10", "/128", "http://[2001:db8:a::10]/"},
	} {
		balancer.run("ip address add " + vip.address + vip.length + " dev eth0")
		client.run("ip route replace " + vip.address + " dev eth0")
		if got := client.run("curl -sS --max-time 5 '" + vip.url + "'"); len(got) != 1 || got[0] != "Hello from the backend." {
			t.Errorf("%s answered %q", vip.url, got)
		}
	}
}

// nodeKilled looks at what the README says of a node that is killed.
func nodeKilled(t *testing.T, client, backend *terminal) {
	const curl = "curl -sS --max-time 5 http://203.0.113.10/"
	backend.run("kill -KILL $!; wait $! || true") // the node was the last that was left running
	if got := client.run(curl); len(got) != 1 || got[0] != "Hello from the backend." {
		t.Errorf("with the node killed, the client got %q", got)
	}
	backend.leaveRunning("weir node --interface eth0 --vip 203.0.113.10 --vip 2001:db8:a::10 --metrics 127.0.0.1:9418")
	backend.run("until curl -sSf http://127.0.0.1:9418/readyz > ready.log 2>&1; do sleep 0.1; done")
	if got := client.run(curl); len(got) != 1 || got[0] != "Hello from the backend." {
		t.Errorf("with the node started again, the client got %q", got)
	}
}
