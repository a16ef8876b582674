// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/reconcile"
)

// configuration is one whose only backend needs no check and has a next hop
// that is known at once not to be one.
func configuration(t *testing.T, interfaces string, seed int, forward string) *config.File {
	t.Helper()
	file := parse(t, fmt.Sprintf(`
agent: {interfaces: %s, hash_seed: %d}
balancers:
- label: web
  addresses: [203.0.113.10]
  listeners:
  - port: 80
    protocol: tcp
    forward: %s
    check: {type: none}
    backends: [{address: "192.0.2.1:80"}]
`, interfaces, seed, forward))
	file.Balancers[0].Listeners[0].Backends[0].Address = netip.MustParseAddrPort("127.0.0.9:80")
	return file
}

func (r *rig) started(t *testing.T, file *config.File) {
	t.Helper()
	if err := r.startFrom(t.Context(), file, &dataplane.Snapshot{}); err != nil {
		t.Fatal(err)
	}
	r.kernel.take()
}

func (r *rig) notes(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, r.kernel.take()); diff != "" {
		t.Errorf("what was done (-want +got):\n%s", diff)
	}
}

// A new seed reaches the program when the tables change, and not before; what
// is to be attached comes before, what is to be detached after.
func TestReplaceInOrder(t *testing.T) {
	r := newRig(t)
	r.kernel.knobs = knobs(configuration(t, "[eth0]", 1, "ipip"))
	r.started(t, configuration(t, "[eth0]", 1, "ipip"))
	if _, err := r.replace(t.Context(), configuration(t, "[eth1]", 2, "dsr")); err != nil {
		t.Fatal(err)
	}
	r.notes(t, "program seed 1 dsr true", "attach eth1", "program seed 2 dsr true", "tables seed 2",
		"detach eth0", "program seed 2 dsr true") // the last without ipip
}

func TestRefusedReplaceLeavesProgram(t *testing.T) {
	for _, test := range []struct {
		name string
		set  func(*rig)
	}{
		{"tables", func(r *rig) {
			r.kernel.failApply = func(d reconcile.Desired) error {
				if d.Seed == 2 {
					return errBroken
				}
				return nil
			}
		}},
		{"program", func(r *rig) {
			r.kernel.failKnobs = func(k dataplane.Knobs) error {
				if k.Seed == 2 {
					return errBroken
				}
				return nil
			}
		}},
		{"and an old interface is missing", func(r *rig) {
			delete(r.interfaces, "eth0")
			r.kernel.failApply = func(d reconcile.Desired) error {
				if d.Seed == 2 {
					return errBroken
				}
				return nil
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			old := configuration(t, "[eth0]", 1, "ipip")
			r.kernel.knobs = knobs(old)
			r.started(t, old)
			test.set(r)
			if _, err := r.replace(t.Context(), configuration(t, "[eth1]", 2, "dsr")); !errors.Is(err, errBroken) {
				t.Fatalf("replace: %v, want %v", err, errBroken)
			} else if strings.Contains(err.Error(), "going back") {
				t.Errorf("replace: %v, want that going back works", err)
			}
			if r.kernel.knobs != knobs(old) {
				t.Errorf("the program has %+v, want %+v", r.kernel.knobs, knobs(old))
			}
			if _, ok := r.kernel.attached["eth1"]; ok {
				t.Error("the program stays on eth1")
			}
			if _, ok := r.kernel.attached["eth0"]; !ok {
				t.Error("the program is no longer on eth0")
			}
			if r.state.file != old {
				t.Error("the refused configuration runs")
			}
		})
	}
}

// The program fits the tables whenever something else may write to them.
func TestFailedWriteSetsSeedBack(t *testing.T) {
	r := newRig(t)
	old, file := configuration(t, "[eth0]", 1, "ipip"), configuration(t, "[eth0]", 2, "ipip")
	r.kernel.knobs = knobs(old)
	r.started(t, old)
	r.kernel.failApply = func(reconcile.Desired) error { return errBroken }
	if _, err := r.write(t.Context(), file, newIndex(file.Balancers, nil)); !errors.Is(err, errBroken) {
		t.Errorf("write: %v, want %v", err, errBroken)
	}
	r.notes(t, "program seed 2 dsr false", "tables seed 2", "program seed 1 dsr false")
}

func TestMissingInterfaceChangesNothing(t *testing.T) {
	r := newRig(t)
	r.started(t, configuration(t, "[eth0]", 1, "ipip"))
	_, err := r.replace(t.Context(), configuration(t, "[eth1, eth7]", 2, "dsr"))
	if err == nil || !strings.Contains(err.Error(), `agent.interfaces: interface "eth7" does not exist`) {
		t.Errorf("replace: %v, want that eth7 does not exist", err)
	}
	r.notes(t)
}

// The tables of an earlier agent are read by its own program until they change.
func TestTakeOverInOrder(t *testing.T) {
	r := newRig(t)
	file := configuration(t, "[eth0, eth1]", 2, "ipip")
	r.kernel.existing, r.kernel.knobs = true, knobs(file)
	r.kernel.attached["eth0"] = dataplane.Attachment{Interface: dataplane.Interface{Name: "eth0", Index: 1000}}
	before := &dataplane.Snapshot{Backends: []dataplane.BackendState{{Backend: dataplane.Backend{Forward: lb.DSR}}}}
	if err := r.startFrom(t.Context(), file, before); err != nil {
		t.Fatal(err)
	}
	r.notes(t, "attach eth1", "program seed 2 dsr true", "attach eth0", "attach eth1", "tables seed 2",
		"program seed 2 dsr false")
}

// A change that could not be written is made up for, although the reconciler
// knows nothing of it.
func TestFailedUpdateIsTriedAgain(t *testing.T) {
	r := newRig(t)
	r.started(t, configuration(t, "[eth0]", 1, "ipip"))
	r.kernel.failUpdate = errBroken
	r.interfacesChanged()
	r.applyChanges(t.Context())
	r.notes(t, "update 1")
	r.tidy(t.Context())
	r.notes(t, "tables seed 1")
	r.tidy(t.Context())
	r.notes(t, "update 0")
}

// unchecked returns a configuration whose check never ends, as nobody runs it.
func unchecked(t *testing.T, seed int) *config.File {
	t.Helper()
	file := configuration(t, "[eth0]", seed, "ipip")
	file.Balancers[0].Listeners[0].Check = lb.Check{Type: lb.CheckConnection}
	return file
}

func TestStopDuringApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		old := configuration(t, "[eth0]", 1, "ipip")
		r.kernel.knobs = knobs(old)
		r.started(t, old)
		done := make(chan error)
		go func() {
			_, err := r.replace(context.WithoutCancel(t.Context()), unchecked(t, 2))
			done <- err
		}()
		synctest.Wait()
		r.stop()
		go r.close() // while the configuration is being applied
		if err := <-done; !errors.Is(err, errStopping) {
			t.Errorf("replace: %v, want %v", err, errStopping)
		}
		synctest.Wait()
		if r.kernel.knobs != knobs(old) {
			t.Errorf("the program has %+v, want %+v", r.kernel.knobs, knobs(old))
		}
		notes := r.kernel.take()
		if notes[len(notes)-1] != "close" {
			t.Errorf("closed before the change was taken back: %q", notes)
		}
		if logged := r.logged.String(); strings.Contains(logged, "waited=") || strings.Contains(logged, "level=ERROR") {
			t.Errorf("log of a good end:\n%s", logged)
		}
		if _, err := r.replace(t.Context(), old); !errors.Is(err, errStopping) {
			t.Errorf("replace of a stopped agent: %v, want %v", err, errStopping)
		}
		r.notes(t)
	})
}

func TestStopDuringStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		done := make(chan error)
		go func() { done <- r.startFrom(r.running, unchecked(t, 1), &dataplane.Snapshot{}) }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r.stop()
		if err := stopped(ctx, <-done); err != nil {
			t.Errorf("start: %v, want a good end", err)
		}
		if strings.Contains(r.logged.String(), "waited=") {
			t.Errorf("log of a good end:\n%s", r.logged)
		}
		r.notes(t, "attach eth0")
	})
}

func TestStoppedKeepsRealErrors(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	if err := stopped(ctx, context.Canceled); err == nil {
		t.Error("an agent that was not told to stop ends well")
	}
	cancel()
	if err := stopped(ctx, errBroken); !errors.Is(err, errBroken) {
		t.Errorf("the end is %v, want %v", err, errBroken)
	}
}

func TestSendsTo(t *testing.T) {
	for _, test := range []struct {
		eth0, eth1 dataplane.Mode
		index      int
		want       string
	}{
		{dataplane.Native, dataplane.Native, 1001, ""},
		{dataplane.Generic, dataplane.Generic, 1001, ""},
		{dataplane.Native, dataplane.Generic, 1000, ""},
		{dataplane.Native, dataplane.Generic, 1001, "eth1, which is in generic mode, to which packets of native " +
			"interfaces cannot be sent; set agent.xdp_mode: generic"},
		{dataplane.Native, dataplane.Native, 1 << 30, "interface 1073741824, which is not attached; add it to agent.interfaces"},
	} {
		r := newRig(t)
		r.kernel.modes = map[string]dataplane.Mode{"eth0": test.eth0, "eth1": test.eth1}
		r.started(t, configuration(t, "[eth0, eth1]", 1, "ipip"))
		got := ""
		if err := r.links.sendsTo(test.index); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("eth0 %s, eth1 %s, to %d: %q, want %q", test.eth0, test.eth1, test.index, got, test.want)
		}
	}
}

// A configuration that leaves nobody for new flows is applied, and whoever reads
// the report or the log is told.
func TestWriteWarns(t *testing.T) {
	r := newRig(t)
	file := configuration(t, "[eth0]", 1, "ipip")
	report, err := r.write(t.Context(), file, newIndex(file.Balancers, nil))
	if err != nil {
		t.Fatal(err)
	}
	const want = "no healthy backend of web/80/tcp is left: new flows are dropped"
	if diff := cmp.Diff([]string{want}, report.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if !strings.Contains(r.logged.String(), `level=WARN msg="`+want+`"`) {
		t.Errorf("not logged:\n%s", r.logged)
	}
}
