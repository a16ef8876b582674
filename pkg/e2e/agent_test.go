// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/testutil"
)

// agent is a weir agent, whether it runs or not: its configuration, and the
// commands that speak to it.
type agent struct {
	t      testing.TB
	host   *testutil.Host
	file   string // its configuration
	socket string
	pins   string
	head   string // of the configuration: the part agent
	*process
}

// agentOptions are the keys of agent in a configuration that tests vary.
type agentOptions struct {
	label      string // for the names of files, if a lab has several
	host       *testutil.Host
	interfaces string // as YAML; default: [eth0]
	keys       []string
}

// newAgent returns an agent that does not run yet.
func (l *lab) newAgent(o agentOptions) *agent {
	l.t.Helper()
	if o.host == nil {
		o.host = l.balancer
	}
	if o.interfaces == "" {
		o.interfaces = "[eth0]"
	}
	if o.label == "" {
		o.label = "weir"
	}
	a := &agent{
		t: l.t, host: o.host, pins: testutil.PinPath(l.t),
		file:   filepath.Join(l.dir, o.label+".yaml"),
		socket: filepath.Join(l.dir, o.label+".sock"),
	}
	a.head = a.headYAML(o.interfaces, o.keys...)
	return a
}

// headYAML returns the part agent of a configuration.
func (a *agent) headYAML(interfaces string, keys ...string) string {
	head := fmt.Sprintf("agent:\n  interfaces: %s\n  socket: %s\n  pin_path: %s\n", interfaces, a.socket, a.pins)
	metrics := "metrics: \"off\""
	for _, key := range keys {
		if len(key) > 8 && key[:8] == "metrics:" {
			metrics = ""
		}
		head += "  " + key + "\n"
	}
	if metrics != "" {
		head += "  " + metrics + "\n"
	}
	return head
}

// configure writes the configuration that the agent starts with.
func (a *agent) configure(balancers ...string) {
	a.t.Helper()
	if err := os.WriteFile(a.file, []byte(a.yaml(balancers...)), 0o644); err != nil {
		a.t.Fatal(err)
	}
}

// yaml returns a configuration of the agent.
func (a *agent) yaml(balancers ...string) string {
	text := a.head
	if len(balancers) > 0 {
		text += "balancers:\n"
	}
	for _, b := range balancers {
		text += b
	}
	return text
}

// startAgent starts an agent on the balancer's host and waits until it serves.
func (l *lab) startAgent(balancers ...string) *agent {
	l.t.Helper()
	a := l.newAgent(agentOptions{})
	a.configure(balancers...)
	a.start()
	return a
}

// start starts the agent and waits until it serves.
func (a *agent) start() {
	a.t.Helper()
	a.startWith(weirBinary(a.t), nil)
}

// startWith starts a program that is, or becomes, the agent.
func (a *agent) startWith(binary string, prepare func(*exec.Cmd)) {
	a.t.Helper()
	a.process = start(a.t, a.host.Namespace, "weir agent on "+a.host.Label, prepare,
		binary, "agent", "--config", a.file)
	a.awaitReady()
}

// awaitReady waits until the agent that was started last serves.
func (a *agent) awaitReady() {
	a.t.Helper()
	a.await(func(s control.Status) error {
		if s.PID != a.cmd.Process.Pid {
			return fmt.Errorf("process %d answers, not %d", s.PID, a.cmd.Process.Pid)
		}
		if !s.Ready {
			return errors.New(s.NotReady)
		}
		return nil
	})
}

// client returns a client of the agent's socket, for what is asked many times.
func (a *agent) client() *control.Client {
	return control.NewClient(a.socket, func(ctx context.Context, path string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	})
}

// status asks for the status as weir status does.
func (a *agent) status(t testing.TB) control.Status {
	t.Helper()
	s, err := a.client().Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// await waits until the status of the agent is as check wants it.
func (a *agent) await(check func(control.Status) error) {
	a.t.Helper()
	testutil.WaitFor(a.t, patience, func() error {
		if !a.running() {
			a.t.Fatalf("the agent has ended:\n%s", a.output.String())
		}
		s, err := a.client().Status(context.Background())
		if err != nil {
			return err
		}
		return check(s)
	})
}

// awaitBackends waits until the rows of all backends of a balancer are as check
// wants them.
func (a *agent) awaitBackends(balancer string, check func(control.BackendRow) error) {
	a.t.Helper()
	testutil.WaitFor(a.t, patience, func() error {
		rows, err := a.client().Backends(context.Background())
		if err != nil {
			return err
		}
		found := false
		for _, r := range rows {
			if r.Balancer != balancer {
				continue
			}
			found = true
			if err := check(r); err != nil {
				return fmt.Errorf("backend %s is %s with %d slots (%s): %w", r.Label, r.Health, r.Slots, r.Problem, err)
			}
		}
		if !found {
			return fmt.Errorf("no backend of %s is listed", balancer)
		}
		return nil
	})
}

// awaitHealth waits until the named backends of a balancer are seen so, and the
// others up.
func (a *agent) awaitHealth(balancer string, want lb.Health, labels ...string) {
	a.t.Helper()
	a.awaitBackends(balancer, func(r control.BackendRow) error {
		expected := lb.HealthUp
		for _, label := range labels {
			if label == r.Label {
				expected = want
			}
		}
		if r.Health != expected {
			return fmt.Errorf("want %s", expected)
		}
		return nil
	})
}

// weir runs a command that speaks to the agent, on its host.
func (a *agent) weir(args ...string) result {
	a.t.Helper()
	argv := append([]string{weirBinary(a.t)}, args...)
	return run(a.t, a.host.Namespace, nil, append(argv, "--socket", a.socket, "--pin-path", a.pins)...)
}

// decode runs a listing and reads its JSON.
func decode[T any](a *agent, args ...string) (value T) {
	a.t.Helper()
	out := a.weir(append(args, "-o", "json")...).succeeds(a.t)
	if err := json.Unmarshal([]byte(out), &value); err != nil {
		a.t.Fatalf("weir %v: %v:\n%s", args, err, out)
	}
	return value
}

// report is what weir status says.
type report struct {
	Agent    *control.Status `json:"agent"`
	Attached []struct {
		Interface string `json:"interface"`
		Mode      string `json:"mode"`
	} `json:"attached"`
	Balancers []control.BalancerRow `json:"balancers"`
}

// backend returns the row of one backend.
func (a *agent) backend(name string) control.BackendRow {
	a.t.Helper()
	rows := decode[[]control.BackendRow](a, "backends", name)
	if len(rows) != 1 {
		a.t.Fatalf("weir backends %s lists %d", name, len(rows))
	}
	return rows[0]
}

// reasons returns how many packets left for each reason.
func (a *agent) reasons() map[string]uint64 {
	a.t.Helper()
	packets := make(map[string]uint64)
	for _, r := range decode[[]struct {
		Reason  string
		Packets uint64
	}](a, "maps", "dump", "reason_counters") {
		packets[r.Reason] = r.Packets
	}
	return packets
}
