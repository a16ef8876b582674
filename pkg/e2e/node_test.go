// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/testutil"
)

// hostState is what weir node changes of a host.
func hostState(t *testing.T, b *backend) map[string]string {
	t.Helper()
	state := make(map[string]string)
	err := b.Do(func() error {
		lo, err := net.InterfaceByName("lo")
		if err != nil {
			return err
		}
		addrs, err := lo.Addrs()
		for _, a := range addrs {
			state["address "+a.String()] = "lo"
		}
		return err
	})
	for _, iface := range []string{"all", "eth0", "lo"} {
		for _, name := range []string{"arp_ignore", "arp_announce", "rp_filter"} {
			key := "net/ipv4/conf/" + iface + "/" + name
			value, e := b.Sysctl(key)
			state[key], err = value, errors.Join(err, e)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, mode, ok := b.xdp("eth0"); ok {
		state["program"] = mode
	}
	if _, err := os.Stat(b.pins); !errors.Is(err, os.ErrNotExist) {
		state["pins"] = fmt.Sprint(err)
	}
	if files, err := filepath.Glob(filepath.Join(b.lab.dir, b.Label, "*")); err != nil || len(files) > 0 {
		state["state files"] = fmt.Sprint(files, err)
	}
	return state
}

// TestNode starts, kills, starts again and stops a node: traffic flows from the
// first to the last of these, and then nothing is left.
func TestNode(t *testing.T) {
	l := newServingLab(t, 1)
	b := l.backends[0]
	b.node.stop()
	// As strict as distributions have it.
	l.must(b.SetSysctl("net/ipv4/conf/all/rp_filter", "0"))
	l.must(b.SetSysctl("net/ipv4/conf/eth0/rp_filter", "1"))
	original := hostState(t, b)

	b.startNode()
	a := l.startAgent(
		balancerYAML("tunnel", []netip.Addr{vip4(1), vip6(1)},
			listenerYAML(webPort, "ipip", []string{noCheck, smallTable}, b.yaml(4, webPort)),
			listenerYAML(echoPort, "ipip", []string{noCheck, smallTable}, b.yaml(6, echoPort))),
		balancerYAML("direct", []netip.Addr{vip4(2), vip6(2)},
			listenerYAML(webPort, "dsr", []string{noCheck, smallTable}, b.yaml(6, webPort)),
			listenerYAML(echoPort, "dsr", []string{noCheck, smallTable}, b.yaml(4, echoPort))))
	changed := hostState(t, b)
	for n := 1; n <= vipCount; n++ {
		if changed[fmt.Sprintf("address %s/32", vip4(n))] == "" || changed[fmt.Sprintf("address %s/128", vip6(n))] == "" {
			t.Errorf("lo has not all of the balancers' addresses: %v", changed)
		}
	}
	if changed["program"] != "native" {
		t.Errorf("the program of the node is on eth0 in mode %q", changed["program"])
	}

	w := l.startLoad(true, vip4(1), vip6(1), vip4(2), vip6(2))
	before := a.reasons()
	for range 3 {
		b.node.kill()
		w.awaitMore()
		if diff := cmp.Diff(changed, hostState(t, b)); diff != "" {
			t.Errorf("without its process the host of the node is different (-before +after):\n%s", diff)
		}
		b.startNode()
		w.awaitMore()
		if diff := cmp.Diff(changed, hostState(t, b)); diff != "" {
			t.Errorf("the next process changed the host of the node (-before +after):\n%s", diff)
		}
	}
	w.stop()
	mustLoseNothing(t, before, a.reasons())

	b.node.stop()
	if diff := cmp.Diff(original, hostState(t, b)); diff != "" {
		t.Errorf("weir node left something behind (-before +after):\n%s", diff)
	}
	_ = l.nobodyAnswers(vip4(1)) // why not is the host's to say
}

// TestNodeMisuse starts nodes that cannot do their work, which leave the host as
// it was.
func TestNodeMisuse(t *testing.T) {
	l := newLab(t, 1)
	b := l.backends[0]
	b.pins = testutil.PinPath(t)
	node := func(args ...string) result {
		argv := []string{weirBinary(t), "node", "--pin-path", b.pins, "--state-dir", filepath.Join(l.dir, b.Label)}
		return run(t, b.Namespace, nil, append(argv, args...)...)
	}
	original := hostState(t, b)
	vip := vip4(1).String()
	taken, err := b.Listen("tcp", "127.0.0.1:0")
	l.must(err)
	defer taken.Close()
	for _, c := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"no address", []string{"--interface", "eth0"}, 2, []string{"--vip"}},
		{"no interface", []string{"--vip", vip}, 2, []string{"--interface"}},
		{"not an address", []string{"--interface", "eth0", "--vip", "web"}, 2, []string{"--vip", "web"}},
		{"another interface", []string{"--interface", "eth7", "--vip", vip}, 1, []string{`"eth7"`, "does not exist", "eth0, lo"}},
		{"loopback address", []string{"--interface", "eth0", "--vip", "127.0.0.1"}, 2, []string{"127.0.0.1"}},
		{"its own address", []string{"--interface", "eth0", "--vip", b.IPv4().String()}, 1, []string{b.IPv4().String(), "eth0", "ip addr del"}},
		{"metrics", []string{"--interface", "eth0", "--vip", vip, "--metrics", taken.Addr().String()}, 1,
			[]string{"--metrics", "address already in use"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			node(c.args...).fails(t, c.code, c.says...)
			if diff := cmp.Diff(original, hostState(t, b)); diff != "" {
				t.Errorf("the host is different (-before +after):\n%s", diff)
			}
		})
	}
	t.Run("twice", func(t *testing.T) {
		b.startNode()
		defer b.node.stop()
		running := hostState(t, b)
		node("--interface", "eth0", "--vip", vip).fails(t, 1, b.pins, "in use", weirBinary(t)+" node")
		if diff := cmp.Diff(running, hostState(t, b)); diff != "" {
			t.Errorf("the host of the first node is different (-before +after):\n%s", diff)
		}
	})
	if left := hostState(t, b); !maps.Equal(left, original) {
		t.Errorf("in the end the host is different (-before +after):\n%s", cmp.Diff(original, left))
	}
}
