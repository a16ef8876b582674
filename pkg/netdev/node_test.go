// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/testutil"
)

// node is a backend host under test, with ApplyNode to be called in it.
type node struct {
	*testutil.Host
	t     *testing.T
	state string
}

var vips = []netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8:f::10")}

func newNode(t *testing.T) *node {
	t.Helper()
	return &node{
		Host: testutil.LAN(t, "node", "client")[0], t: t,
		state: filepath.Join(t.TempDir(), "run", "node.json"),
	}
}

func (n *node) apply(vips ...netip.Addr) (settings *netdev.NodeSettings, err error) {
	err = n.Do(func() error {
		settings, err = netdev.ApplyNode("eth0", vips, n.state, nil)
		return err
	})
	return settings, err
}

func (n *node) mustApply(vips ...netip.Addr) *netdev.NodeSettings {
	n.t.Helper()
	settings, err := n.apply(vips...)
	must(n.t, err)
	return settings
}

func (n *node) undo(s *netdev.NodeSettings) {
	n.t.Helper()
	must(n.t, n.Do(s.Undo))
	if _, err := os.Stat(n.state); !errors.Is(err, fs.ErrNotExist) {
		n.t.Errorf("the state file is still there: %v", err)
	}
	left, err := os.ReadDir(filepath.Dir(n.state))
	must(n.t, err)
	if len(left) > 0 {
		n.t.Errorf("files are left beside the state file: %v", left)
	}
}

const (
	allIgnore    = "net/ipv4/conf/all/arp_ignore"
	ethIgnore    = "net/ipv4/conf/eth0/arp_ignore"
	allAnnounce  = "net/ipv4/conf/all/arp_announce"
	ethAnnounce  = "net/ipv4/conf/eth0/arp_announce"
	allReverse   = "net/ipv4/conf/all/rp_filter"
	ethReverse   = "net/ipv4/conf/eth0/rp_filter"
	loAddress4   = "203.0.113.10/32 on lo"
	loAddress6   = "2001:db8:f::10/128 on lo"
	addressesKey = "addresses"
)

// look returns everything that ApplyNode may change.
func (n *node) look() map[string]string {
	n.t.Helper()
	seen := make(map[string]string)
	for _, key := range []string{allIgnore, ethIgnore, allAnnounce, ethAnnounce, allReverse, ethReverse} {
		value, err := n.Sysctl(key)
		must(n.t, err)
		seen[key] = value
	}
	lo, err := n.Interface("lo")
	must(n.t, err)
	seen["lo"] = fmt.Sprint("up: ", lo.Up)
	var addrs []string
	inside(n.t, n.Host, func(h *netlink.Handle) error {
		for _, name := range []string{"lo", "eth0"} {
			link, err := h.LinkByName(name)
			if err != nil {
				return err
			}
			list, err := h.AddrList(link, netlink.FAMILY_ALL)
			if err != nil {
				return err
			}
			for _, a := range list {
				if ip, _ := netip.AddrFromSlice(a.IP); !ip.IsLinkLocalUnicast() && !ip.IsLoopback() {
					addrs = append(addrs, fmt.Sprintf("%s on %s", a.IPNet, name))
				}
			}
		}
		return nil
	})
	slices.Sort(addrs)
	seen[addressesKey] = strings.Join(addrs, ", ")
	return seen
}

func (n *node) expect(want map[string]string) {
	n.t.Helper()
	if diff := cmp.Diff(want, n.look()); diff != "" {
		n.t.Errorf("the host's settings (-want +got):\n%s", diff)
	}
}

// with returns what was seen, with some of it changed.
func with(seen map[string]string, changes ...string) map[string]string {
	changed := make(map[string]string)
	for k, v := range seen {
		changed[k] = v
	}
	for i := 0; i < len(changes); i += 2 {
		changed[changes[i]] = changes[i+1]
	}
	return changed
}

// applied is what a host looks like after ApplyNode with both VIPs.
func applied(before map[string]string) map[string]string {
	return with(before, allIgnore, "1", ethIgnore, "1", allAnnounce, "2", ethAnnounce, "2",
		addressesKey, "192.0.2.1/24 on eth0, 2001:db8:1::1/64 on eth0, "+loAddress6+", "+loAddress4)
}

func TestApplyNodeAndUndo(t *testing.T) {
	n := newNode(t)
	must(t, n.SetDown("lo"))
	must(t, n.SetSysctl(allReverse, "1"))
	before := n.look()
	s := n.mustApply(vips...)
	n.expect(with(applied(before), ethReverse, "2", "lo", "up: true"))
	n.undo(s)
	n.expect(before)
}

func TestApplyNodeChangesOnlyWhatIsNeeded(t *testing.T) {
	n := newNode(t)
	must(t, n.SetSysctl(allIgnore, "2"))
	must(t, n.SetSysctl(ethAnnounce, "2"))
	must(t, n.SetSysctl(allReverse, "2"))
	must(t, n.SetSysctl(ethReverse, "1"))
	must(t, n.AddAddress("lo", netip.PrefixFrom(vips[0], 32)))
	before := n.look()
	s := n.mustApply(vips...)
	n.expect(with(applied(before), allIgnore, "2"))
	n.undo(s)
	n.expect(before)
}

func TestApplyNodeForIPv6LeavesIPv4Alone(t *testing.T) {
	n := newNode(t)
	before := n.look()
	s := n.mustApply(vips[1])
	n.expect(with(before, addressesKey, "192.0.2.1/24 on eth0, 2001:db8:1::1/64 on eth0, "+loAddress6))
	n.undo(s)
	n.expect(before)
}

func TestUndoLeavesWhatOthersChanged(t *testing.T) {
	n := newNode(t)
	before := n.look()
	s := n.mustApply(vips...)
	must(t, n.SetSysctl(allIgnore, "2"))
	must(t, n.DeleteAddress("lo", netip.PrefixFrom(vips[1], 128)))
	n.undo(s)
	n.expect(with(before, allIgnore, "2"))
}

func TestReapplyAfterInterfaceWasReplaced(t *testing.T) {
	n := newNode(t)
	must(t, n.SetSysctl("net/ipv4/conf/default/rp_filter", "1"))
	before := n.look()
	s := n.mustApply(vips...)
	must(t, n.DeleteInterface("eth0"))
	must(t, n.AddBridge("eth0"))
	must(t, n.Do(s.Reapply))
	const onLoopback = loAddress6 + ", " + loAddress4
	n.expect(with(applied(before), ethReverse, "2", addressesKey, onLoopback))
	n.undo(s)
	n.expect(with(before, ethReverse, "1", addressesKey, ""))
}

func TestApplyNodeRefusesVIPOfAnotherInterface(t *testing.T) {
	n := newNode(t)
	before := n.look()
	_, err := n.apply(vips[0], n.IPv4())
	want := `VIP 192.0.2.1 is an address of eth0, which would answer for it and take its traffic from the balancer; ` +
		`remove it there ("ip addr del 192.0.2.1/24 dev eth0") or do not name it as a VIP`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	n.expect(before)
	if _, err := os.Stat(n.state); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a state file was left: %v", err)
	}
}

func TestApplyNodeRefusesWhatIsNoVIP(t *testing.T) {
	n := newNode(t)
	for _, text := range []string{"127.0.0.1", "224.0.0.1", "0.0.0.0", "fe80::1", "ff02::1", "255.255.255.255"} {
		if _, err := n.apply(netip.MustParseAddr(text)); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("VIP %s: %v", text, err)
		}
	}
}

func TestApplyNodeNeedsItsInterface(t *testing.T) {
	n := newNode(t)
	must(t, n.DeleteInterface("eth0"))
	if _, err := n.apply(vips...); !errors.Is(err, netdev.ErrNoInterface) {
		t.Errorf("got %v, want ErrNoInterface", err)
	}
}

func TestNodeDoesNotAnswerForVIPs(t *testing.T) {
	// Whoever asks who has the VIP must be answered by the balancer alone.
	hosts := testutil.LAN(t, "node", "client")
	n := &node{Host: hosts[0], t: t, state: filepath.Join(t.TempDir(), "node.json")}
	n.mustApplyUntilEnd(vips...)
	client := hosts[1]
	for _, vip := range vips {
		must(t, client.SetRoute(netdev.Route{Destination: netip.PrefixFrom(vip, vip.BitLen()), Interface: "eth0"}))
	}
	hurry(t, client)
	r := startResolver(t, client, append(slices.Clone(vips), n.IPv4())...)
	r.awaitError(vips[0], "does not answer ARP")
	r.awaitError(vips[1], "does not answer neighbour discovery")
	r.await(n.IPv4(), r.nextHop("eth0", n.MAC()))
}

func (n *node) mustApplyUntilEnd(vips ...netip.Addr) {
	s := n.mustApply(vips...)
	n.t.Cleanup(func() { n.undo(s) })
}

// nodeHelper makes this test binary apply the settings and wait to be killed.
const nodeHelper = "WEIR_TEST_NODE_STATE"

func TestNodeHelper(t *testing.T) {
	state := os.Getenv(nodeHelper)
	if state == "" {
		return // it is for the process that applyAndDie starts
	}
	if _, err := netdev.ApplyNode("eth0", vips, state, nil); err != nil {
		t.Fatal(err)
	}
	fmt.Println("applied")
	_, _ = os.Stdin.Read(make([]byte, 1)) // never returns data
}

// applyAndDie applies the settings in another process, calls meanwhile and
// kills the process.
func (n *node) applyAndDie(meanwhile func()) {
	n.t.Helper()
	c := n.Command(n.t.Context(), os.Args[0], "-test.run=^TestNodeHelper$")
	c.Env = append(os.Environ(), nodeHelper+"="+n.state)
	stdin, err := c.StdinPipe()
	must(n.t, err)
	defer stdin.Close()
	stdout, err := c.StdoutPipe()
	must(n.t, err)
	must(n.t, c.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil && line == "applied\n" {
		meanwhile()
	} else {
		n.t.Errorf("the other process says %q, %v", line, err)
	}
	must(n.t, c.Process.Kill())
	_ = c.Wait() // killed
}

func TestApplyNodeTakesOverFromKilledProcess(t *testing.T) {
	for name, interrupted := range map[string]func(*node){
		"at the end":            func(*node) {},
		"before any change":     func(n *node) { n.revertByHand(allIgnore, ethIgnore, allAnnounce, ethAnnounce) },
		"after some changes":    func(n *node) { n.revertByHand(allAnnounce, ethAnnounce) },
		"before the first VIP":  func(n *node) { n.revertByHand() },
		"before the second VIP": func(n *node) { must(n.t, n.DeleteAddress("lo", netip.PrefixFrom(vips[1], 128))) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			before := n.look()
			n.applyAndDie(func() {
				n.expect(applied(before))
				if _, err := n.apply(vips...); err == nil || !strings.Contains(err.Error(), "in use by another process") {
					t.Errorf("applying beside a running process: %v", err)
				}
				n.expect(applied(before))
			})
			interrupted(n)
			s := n.mustApply(vips...)
			n.expect(applied(before))
			n.undo(s)
			n.expect(before)
		})
	}
}

// revertByHand makes the host look as if the process had been killed before
// it made these changes.
func (n *node) revertByHand(keys ...string) {
	for _, key := range keys {
		must(n.t, n.SetSysctl(key, "0"))
	}
	for _, vip := range vips {
		must(n.t, n.DeleteAddress("lo", netip.PrefixFrom(vip, vip.BitLen())))
	}
}

func TestApplyNodeTakesOverWithOtherVIPs(t *testing.T) {
	n := newNode(t)
	before := n.look()
	n.applyAndDie(func() {})
	other := netip.MustParseAddr("203.0.113.11")
	s := n.mustApply(vips[0], other)
	n.expect(with(applied(before), addressesKey,
		"192.0.2.1/24 on eth0, 2001:db8:1::1/64 on eth0, "+loAddress4+", 203.0.113.11/32 on lo"))
	n.undo(s)
	n.expect(before)
}

func TestApplyNodeThatFailsLeavesKilledProcessAsItWas(t *testing.T) {
	n := newNode(t)
	before := n.look()
	n.applyAndDie(func() {})
	if _, err := n.apply(vips[0], n.IPv4()); err == nil {
		t.Error("a VIP of eth0 was accepted")
	}
	n.expect(applied(before))
	n.undo(n.mustApply(vips...))
	n.expect(before)
}

func TestApplyNodeRefusesBrokenStateFile(t *testing.T) {
	n := newNode(t)
	must(t, os.MkdirAll(filepath.Dir(n.state), 0o755))
	must(t, os.WriteFile(n.state, []byte("{"), 0o600))
	before := n.look()
	if _, err := n.apply(vips...); err == nil || !strings.Contains(err.Error(), n.state+" cannot be understood") {
		t.Errorf("got %v", err)
	}
	n.expect(before)
}

func TestApplyNodeIgnoresStateOfAnotherBoot(t *testing.T) {
	n := newNode(t)
	must(t, os.MkdirAll(filepath.Dir(n.state), 0o755))
	must(t, os.WriteFile(n.state, []byte(`{"boot":"x","namespace":1,"settings":[{"key":"`+allIgnore+`","was":"7","now":"1"}]}`), 0o600))
	before := n.look()
	s := n.mustApply(vips...)
	n.expect(applied(before))
	n.undo(s)
	n.expect(before)
}
