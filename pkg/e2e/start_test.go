// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/testutil"
)

// runs starts an agent that cannot start, and returns how it ended.
func (a *agent) runs(prepare func(*exec.Cmd), before ...string) result {
	a.t.Helper()
	argv := append(before, weirBinary(a.t), "agent", "--config", a.file)
	return run(a.t, a.host.Namespace, prepare, argv...)
}

// simple returns a balancer of the lab's backends.
func (l *lab) simple() string {
	return balancerYAML("web", []netip.Addr{vip4(1), vip6(1)},
		listenerYAML(webPort, "ipip", []string{slowCheck, smallTable}, l.allYAML(4, webPort)...))
}

// leavesNothing sees that an agent that did not start left no program and no
// socket.
func (a *agent) leavesNothing(t *testing.T) {
	t.Helper()
	if _, mode, ok := xdpOn(t, a.host, "eth0"); ok {
		t.Errorf("eth0 has a program in %s mode", mode)
	}
	if _, err := os.Lstat(a.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket %s is there: %v", a.socket, err)
	}
}

// TestSecondAgent starts an agent where another one is in the way, which must
// not notice.
func TestSecondAgent(t *testing.T) {
	l := newServingLab(t, 2)
	a := l.startAgent(l.simple())
	holder := fmt.Sprintf("process %d (%s agent --config %s)", a.cmd.Process.Pid, weirBinary(t), a.file)
	for _, c := range []struct {
		name string
		same func(b *agent)
		says string
	}{
		{"the same pin path", func(b *agent) { b.pins = a.pins }, a.pins},
		{"the same socket", func(b *agent) { b.socket = a.socket }, a.socket},
		{"the same file", func(b *agent) { b.pins, b.socket = a.pins, a.socket }, a.socket},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := l.newAgent(agentOptions{label: "second"})
			c.same(b)
			b.head = b.headYAML("[eth0]")
			b.configure(l.simple())
			a.unchanged(t, func() { b.runs(nil).fails(t, 1, c.says, "in use", holder) })
		})
	}
	t.Run("the same interface", func(t *testing.T) {
		b := l.newAgent(agentOptions{label: "second"})
		b.configure(l.simple())
		a.unchanged(t, func() { b.runs(nil).fails(t, 1, "eth0", "another XDP program") })
	})
	l.awaitAnswers(httpClient(l.client), vip4(1), "web-1", "web-2")
	a.stop()
}

// TestCannotStart starts agents that lack something.
func TestCannotStart(t *testing.T) {
	l := newLab(t, 1)
	web := l.simple()
	taken, err := l.balancer.Listen("tcp", "127.0.0.1:0")
	l.must(err)
	defer taken.Close()
	for _, c := range []struct {
		name       string
		interfaces string
		key        string
		code       int
		says       []string
	}{
		{"interface", "[eth0, eth7]", "xdp_mode: auto", 1, []string{"agent.interfaces", `"eth7"`, "does not exist", "eth0, lo"}},
		{"metrics", "[eth0]", "metrics: " + taken.Addr().String(), 1,
			[]string{"agent.metrics", taken.Addr().String(), "address already in use"}},
		{"limit", "[eth0]", "limits: {listeners: 1}", 2, []string{":5:23: agent.limits.listeners: 1 is too low"}},
		{"no object", "[eth0]", "bpf_object: /nowhere/weir.o", 1, []string{"agent.bpf_object", "/nowhere/weir.o"}},
		{"no BPF object", "[eth0]", "bpf_object: /proc/self/exe", 1, []string{"agent.bpf_object", "/proc/self/exe"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := l.newAgent(agentOptions{interfaces: c.interfaces, keys: []string{c.key}})
			a.configure(web)
			a.runs(nil).fails(t, c.code, c.says...)
			a.leavesNothing(t)
		})
	}
	t.Run("pins are on no bpffs", func(t *testing.T) {
		a := l.newAgent(agentOptions{})
		a.pins = filepath.Join(l.dir, "pins")
		a.head = a.headYAML("[eth0]")
		a.configure(web)
		a.runs(nil).fails(t, 1, "agent.pin_path", a.pins, "not on a bpffs", "mount -t bpf")
		a.leavesNothing(t)
	})
	t.Run("socket is a file", func(t *testing.T) {
		a := l.newAgent(agentOptions{})
		a.configure(web)
		l.write("weir.sock", "precious")
		a.runs(nil).fails(t, 1, "agent.socket", a.socket, "is not a socket")
		if text, err := os.ReadFile(a.socket); err != nil || string(text) != "precious" {
			t.Errorf("the file in the way of the socket has now %q, %v", text, err)
		}
	})
	t.Run("no configuration", func(t *testing.T) {
		a := l.newAgent(agentOptions{label: "none"})
		a.runs(nil).fails(t, 2, a.file)
	})
}

// TestNotRoot has nobody start an agent and a node, and give orders to the agent
// of root.
func TestNotRoot(t *testing.T) {
	l := newLab(t, 1)
	root := l.startAgent(l.simple())
	other := l.newAgent(agentOptions{label: "other", interfaces: "[lo]"})
	other.configure(l.simple())
	nobody := func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	root.unchanged(t, func() {
		other.runs(nobody).fails(t, 1, "run as root")
		run(t, l.backends[0].Namespace, nobody, weirBinary(t), "node", "--interface", "eth0", "--vip", vip4(1).String(),
			"--pin-path", other.pins, "--state-dir", l.dir).fails(t, 1, "run as root")
		for _, command := range []string{"status", "backends", "maps", "unload", "apply"} {
			argv := []string{weirBinary(t), command, "--config", root.file}
			if command == "apply" {
				argv = append(argv, root.file)
			}
			run(t, l.balancer.Namespace, nobody, argv...).fails(t, 1, "permission denied", "run as root")
		}
	})
	for _, iface := range []string{"eth0", "lo"} {
		if _, _, ok := xdpOn(t, l.backends[0].Host, iface); ok {
			t.Errorf("%s of the node has a program", iface)
		}
	}
}

// TestNoBPFFS starts an agent where no BPF file system is mounted, and where one
// that it mounted would be gone with it.
func TestNoBPFFS(t *testing.T) {
	l := newServingLab(t, 1)
	a := l.newAgent(agentOptions{})
	a.configure(l.simple())
	self, err := os.Executable()
	l.must(err)
	private := func(cmd *exec.Cmd) {
		cmd.Env = append(os.Environ(), envReexec+"="+reexecPrivate)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Cloneflags: syscall.CLONE_NEWPID}
	}
	run(t, l.balancer.Namespace, private, self, weirBinary(t), "agent", "--config", a.file).
		fails(t, 1, "no bpffs at /sys/fs/bpf", "would vanish", "nsenter --net=/run/netns/NAME", "mount -t bpf bpf /sys/fs/bpf")
	a.leavesNothing(t)
}

// TestInterfaceComesBack takes the cable of the balancer away and connects it
// again, while the agent runs and while it does not.
func TestInterfaceComesBack(t *testing.T) {
	l := newServingLab(t, 2)
	a := l.startAgent(l.simple())
	l.awaitAnswers(httpClient(l.client), vip4(1), "web-1", "web-2")
	slots := a.slots("")
	t.Run("while the agent runs", func(t *testing.T) {
		l.unplug(l.balancer)
		a.awaitInterface("", "does not exist")
		l.replug(l.balancer)
		a.awaitInterface("native", "")
		l.worksAgain(t, a, slots)
	})
	t.Run("while no agent runs", func(t *testing.T) {
		a.kill()
		l.unplug(l.balancer)
		a.runs(nil).fails(t, 1, "agent.interfaces", `"eth0"`, "does not exist")
		l.replug(l.balancer)
		a.start()
		l.worksAgain(t, a, slots)
	})
}

// worksAgain sees traffic flow after an interface came back, by the same slots
// as before.
func (l *lab) worksAgain(t *testing.T, a *agent, slots string) {
	t.Helper()
	a.awaitBackends("web", func(r control.BackendRow) error {
		if r.Slots == 0 || r.NextHop == nil {
			return errors.New("want slots and a next hop")
		}
		return nil
	})
	for _, vip := range []netip.Addr{vip4(1), vip6(1)} {
		l.awaitAnswers(httpClient(l.client), vip, "web-1", "web-2")
	}
	if diff := cmp.Diff(slots, a.slots("")); diff != "" {
		t.Errorf("slots differ from those before the interface went away:\n%s", diff)
	}
}

// awaitInterface waits until weir status shows the one interface so.
func (a *agent) awaitInterface(mode, problem string) {
	a.t.Helper()
	a.await(func(s control.Status) error {
		if len(s.Interfaces) != 1 || string(s.Interfaces[0].Mode) != mode || !strings.Contains(s.Interfaces[0].Problem, problem) {
			return fmt.Errorf("the interfaces are %+v, want one in mode %q with problem %q", s.Interfaces, mode, problem)
		}
		return nil
	})
}

// unplug removes the first interface of a host.
func (l *lab) unplug(host *testutil.Host) {
	l.t.Helper()
	l.must(host.DeleteInterface(host.Ports[0].Name))
}

// replug connects the first interface of a host to the switch again, in the
// steps in which the name of a network card and its addresses come.
func (l *lab) replug(host *testutil.Host) {
	l.t.Helper()
	const name = "spare"
	p := host.Ports[0]
	l.must(netdev.Connect(
		netdev.Port{Namespace: host.Namespace, Name: name, MAC: p.MAC},
		netdev.Port{Namespace: l.network.Switch(), Name: p.SwitchPort}))
	l.must(l.network.Switch().AddBridgePort("lan1", p.SwitchPort))
	testutil.PassAll(l.t, l.network.Switch(), p.SwitchPort)
	l.must(host.SetDown(name))
	l.must(host.Rename(name, p.Name))
	l.must(host.SetUp(p.Name))
	l.must(host.AddAddress(p.Name, p.IPv4))
	l.must(host.AddAddress(p.Name, p.IPv6))
}

// TestCompile has the agent compile the program itself, and say what it needs
// where it cannot.
func TestCompile(t *testing.T) {
	l := newServingLab(t, 2)
	a := l.newAgent(agentOptions{keys: []string{"bpf_object: compile"}})
	a.configure(l.simple())
	t.Run("without clang", func(t *testing.T) {
		a.runs(func(cmd *exec.Cmd) { cmd.Env = []string{"PATH=" + l.dir} }).
			fails(t, 1, "agent.bpf_object: compile", "apt install clang libbpf-dev", "bpf_object: embedded")
		a.leavesNothing(t)
	})
	t.Run("with clang", func(t *testing.T) {
		for _, needed := range []string{"/usr/include/bpf/bpf_helpers.h", "/usr/include/linux/bpf.h"} {
			if _, err := os.Stat(needed); err != nil {
				t.Skip(err)
			}
		}
		if _, err := exec.LookPath("clang-19"); err != nil {
			if _, err := exec.LookPath("clang"); err != nil {
				t.Skip("there is no clang here")
			}
		}
		a.start()
		l.awaitAnswers(httpClient(l.client), vip4(1), "web-1", "web-2")
		l.awaitAnswers(httpClient(l.client), vip6(1), "web-1", "web-2")
	})
}
