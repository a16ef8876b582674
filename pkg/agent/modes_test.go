// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/reconcile"
)

const twoBackends = `
agent:
  interfaces: [eth0]
balancers:
- label: web
  addresses: [203.0.113.10]
  listeners:
  - port: 80
    forward: ipip
    on_all_down: drop
    backends:
    - {label: web-1, address: "192.0.2.1:80"}
    - {label: web-2, address: "192.0.2.2:80", mode: MODE}
`

// runningRig is a rig that runs twoBackends, the second in a mode.
func runningRig(t *testing.T, mode string) *rig {
	t.Helper()
	r := newRig(t)
	file := parse(t, strings.Replace(twoBackends, "MODE", mode, 1))
	if _, err := r.write(t.Context(), file, newIndex(file.Balancers, nil)); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) setMode(backend string, mode lb.Mode) (control.ModeReport, error) {
	return r.SetMode(context.Background(), control.ModeChange{
		Balancer: "web", Port: 80, Protocol: lb.TCP, Backend: backend, Mode: mode,
	})
}

// written returns the modes and configured modes that the last update wrote.
func (r *rig) written() (out [][2]lb.Mode) {
	for _, c := range r.kernel.updated {
		for _, b := range c.Listener.Backends {
			out = append(out, [2]lb.Mode{b.Mode, b.Configured})
		}
	}
	return out
}

func TestSetMode(t *testing.T) {
	const accept, drain, reject = lb.ModeAccept, lb.ModeDrain, lb.ModeReject
	r := runningRig(t, "accept")
	for _, test := range []struct {
		backend  string
		mode     lb.Mode
		want     control.ModeReport
		written  [][2]lb.Mode
		byHand   int  // modes that commands have set
		checked  bool // the backend is
		warnings int
	}{
		{
			"web-1", drain, control.ModeReport{Backend: "web-1", Before: accept, Mode: drain},
			[][2]lb.Mode{{drain, accept}, {accept, accept}}, 1, true, 1, // the other has not been checked
		},
		{
			"192.0.2.2:80", reject, control.ModeReport{Backend: "web-2", Before: accept, Mode: reject},
			[][2]lb.Mode{{drain, accept}, {reject, accept}}, 2, false, 1,
		},
		{
			"web-2", drain, control.ModeReport{Backend: "web-2", Before: reject, Mode: drain},
			[][2]lb.Mode{{drain, accept}, {drain, accept}}, 2, true, 1,
		},
		{
			"web-1", accept, control.ModeReport{Backend: "web-1", Before: drain, Mode: accept},
			[][2]lb.Mode{{accept, accept}, {drain, accept}}, 1, true, 0,
		},
		{
			"web-1", accept, control.ModeReport{Backend: "web-1", Before: accept, Mode: accept},
			[][2]lb.Mode{{accept, accept}, {drain, accept}}, 1, true, 0,
		},
	} {
		got, err := r.setMode(test.backend, test.mode)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Warnings) != test.warnings {
			t.Errorf("%s %s: warnings %q, want %d", test.mode, test.backend, got.Warnings, test.warnings)
		}
		test.want.Balancer, test.want.Port, test.want.Protocol = "web", 80, lb.TCP
		if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(got, "Warnings", "Address", "Until")); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", test.mode, test.backend, diff)
		}
		if left := time.Until(got.Until).Round(time.Minute); test.mode == drain && left != 5*time.Minute || test.mode != drain && !got.Until.IsZero() {
			t.Errorf("%s %s: its flows may stay until %v, %v from now", test.mode, test.backend, got.Until, left)
		}
		if diff := cmp.Diff(test.written, r.written()); diff != "" {
			t.Errorf("%s %s: written (-want +got):\n%s", test.mode, test.backend, diff)
		}
		if modes := r.Status().Modes; len(modes) != test.byHand {
			t.Errorf("%s %s: modes by command are %+v, want %d", test.mode, test.backend, modes, test.byHand)
		}
		l := r.state.index.listeners[key(80)]
		for _, b := range l.Backends {
			if _, ok := r.checker.Status(l.Check.Target(b)); b.Label == got.Backend && ok != test.checked {
				t.Errorf("%s %s: checked %t, want %t", test.mode, test.backend, ok, test.checked)
			}
		}
	}
}

// TestSetModeLasts has modes by command meet configurations: one that says of the
// backend what it said leaves them, one that says something else ends them.
func TestSetModeLasts(t *testing.T) {
	r := runningRig(t, "accept")
	if _, err := r.setMode("web-2", lb.ModeDrain); err != nil {
		t.Fatal(err)
	}
	load := func(text string) lb.Mode {
		t.Helper()
		file := parse(t, text)
		if _, err := r.write(t.Context(), file, newIndex(file.Balancers, r.modesFor(file))); err != nil {
			t.Fatal(err)
		}
		l := r.desired(file).Balancers[0].Listeners[0]
		return l.Backends[len(l.Backends)-1].Mode
	}
	same := strings.Replace(twoBackends, "MODE", "accept", 1)
	for _, step := range []struct {
		name, text string
		want       lb.Mode
	}{
		{"the same", same, lb.ModeDrain},
		{"another weight and label", strings.Replace(same, "{label: web-2,", "{label: other, weight: 7,", 1), lb.ModeDrain},
		{"another label of the balancer", strings.Replace(same, "label: web\n", "label: shop\n", 1), lb.ModeDrain},
		{"the first label again", same, lb.ModeDrain},
		{"another mode", strings.Replace(twoBackends, "MODE", "backup", 1), lb.ModeBackup},
		{"the first mode again", same, lb.ModeAccept},
	} {
		if got := load(step.text); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
	if _, err := r.setMode("web-2", lb.ModeDrain); err != nil {
		t.Fatal(err)
	}
	load(strings.Replace(same, `    - {label: web-2, address: "192.0.2.2:80", mode: accept}`+"\n", "", 1))
	if got := load(same); got != lb.ModeAccept {
		t.Errorf("a backend that was away is in mode %s, want accept", got)
	}
}

// TestSetModeAgain sets a mode that is in force: nothing is written, logged or
// forgotten of when it began.
func TestSetModeAgain(t *testing.T) {
	r := runningRig(t, "accept")
	if _, err := r.setMode("web-2", lb.ModeDrain); err != nil {
		t.Fatal(err)
	}
	at := control.BackendKey{Listener: key(80), Address: "192.0.2.2:80"}
	set := r.state.modes[at]
	set.since = set.since.Add(-time.Minute)
	r.state.modes[at] = set
	r.kernel.take()
	r.logged.Reset()
	report, err := r.setMode("web-2", lb.ModeDrain)
	if err != nil {
		t.Fatal(err)
	}
	if report.Before != lb.ModeDrain || !report.Until.Equal(set.since.Add(5*time.Minute)) || len(report.Warnings) != 1 {
		t.Errorf("got %+v, want that it drains since %v, and a warning", report, set.since)
	}
	if r.state.modes[at] != set || r.kernel.take() != nil || r.logged.Len() > 0 {
		t.Errorf("something was done: %+v, log %q", r.state.modes[at], r.logged)
	}
}

// TestAcceptBackup gives a backup back as what the configuration says.
func TestAcceptBackup(t *testing.T) {
	r := runningRig(t, "backup")
	for _, step := range []struct{ set, want lb.Mode }{
		{lb.ModeAccept, lb.ModeBackup}, {lb.ModeReject, lb.ModeReject}, {lb.ModeAccept, lb.ModeBackup},
	} {
		report, err := r.setMode("web-2", step.set)
		if err != nil {
			t.Fatal(err)
		}
		if report.Mode != step.want || report.Configured != lb.ModeBackup {
			t.Errorf("%s: is %s, configured %s; want %s", step.set, report.Mode, report.Configured, step.want)
		}
	}
	if modes := r.Status().Modes; len(modes) != 0 {
		t.Errorf("modes by command: %+v, want none", modes)
	}
}

// TestModesBefore takes modes by command over from the tables.
func TestModesBefore(t *testing.T) {
	entry := func(address string, mode, configured lb.Mode, unusable dataplane.Unusable) dataplane.BackendState {
		return dataplane.BackendState{Listener: key(80), Backend: dataplane.Backend{
			Address: netip.MustParseAddrPort(address), Mode: mode, Configured: configured, Unusable: unusable, ModeSince: 60,
		}}
	}
	m := modesBefore(&dataplane.Snapshot{Backends: []dataplane.BackendState{
		entry("192.0.2.1:80", lb.ModeDrain, lb.ModeAccept, dataplane.Usable),
		entry("192.0.2.2:80", lb.ModeDrain, lb.ModeDrain, dataplane.Usable),
		entry("192.0.2.3:80", lb.ModeReject, lb.ModeAccept, dataplane.Removed),
	}})
	backend := func(address string, mode lb.Mode) lb.Backend {
		return lb.Backend{Address: netip.MustParseAddrPort(address), Mode: mode}
	}
	for _, test := range []struct {
		backend lb.Backend
		want    lb.Mode
	}{
		{backend("192.0.2.1:80", lb.ModeAccept), lb.ModeDrain},
		{backend("192.0.2.1:80", lb.ModeBackup), lb.ModeBackup}, // the file was changed meanwhile
		{backend("192.0.2.2:80", lb.ModeAccept), lb.ModeAccept},
		{backend("192.0.2.3:80", lb.ModeAccept), lb.ModeAccept},
	} {
		if got := m.of(key(80), test.backend); got != test.want {
			t.Errorf("%s, configured %s: %s, want %s", test.backend.Address, test.backend.Mode, got, test.want)
		}
	}
	shop := []lb.Balancer{{Label: "shop", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.10")}}}
	before := &dataplane.Snapshot{Balancers: []dataplane.BalancerState{{Label: "web", Addresses: shop[0].Addresses}}}
	shopKey := lb.ListenerKey{Balancer: "shop", Port: 80, Protocol: lb.TCP}
	if m.follow(labelsBefore(before, shop)).of(shopKey, backend("192.0.2.1:80", lb.ModeAccept)) != lb.ModeDrain {
		t.Error("a mode does not follow its balancer, which the file has under another label now")
	}
	if m.of(key(443), backend("192.0.2.1:80", lb.ModeAccept)) != lb.ModeAccept {
		t.Error("a mode is that of another listener")
	}
}

func TestSetModeRefused(t *testing.T) {
	r := newRig(t)
	if _, err := r.setMode("web-1", lb.ModeDrain); !errors.Is(err, errStarting) {
		t.Errorf("before there is a configuration: %v", err)
	}
	r = runningRig(t, "accept")
	if _, err := r.setMode("web-9", lb.ModeDrain); !errors.Is(err, control.ErrNoBackend) || !strings.Contains(err.Error(), "web/80/tcp has no backend web-9") {
		t.Errorf("of no backend: %v", err)
	}
	_, err := r.SetMode(t.Context(), control.ModeChange{Balancer: "web", Port: 81, Protocol: lb.TCP, Backend: "web-1"})
	if !errors.Is(err, control.ErrNoBackend) || !strings.Contains(err.Error(), "no listener web/81/tcp") {
		t.Errorf("of no listener: %v", err)
	}
	r.kernel.failUpdate = errBroken
	if _, err := r.setMode("web-1", lb.ModeReject); !errors.Is(err, errBroken) {
		t.Errorf("with broken tables: %v", err)
	}
	if modes := r.Status().Modes; len(modes) != 0 {
		t.Errorf("a mode that failed is in force: %+v", modes)
	}
	r.stop()
	if _, err := r.setMode("web-1", lb.ModeDrain); !errors.Is(err, errStopping) {
		t.Errorf("while stopping: %v", err)
	}
}

// TestSetModeTogether has commands come at once: each is done, one after the other.
func TestSetModeTogether(t *testing.T) {
	r := runningRig(t, "accept")
	var group sync.WaitGroup
	for _, backend := range []string{"web-1", "web-2"} {
		for range 20 {
			group.Go(func() {
				if _, err := r.setMode(backend, lb.ModeDrain); err != nil {
					t.Error(err)
				}
			})
		}
	}
	group.Wait()
	if diff := cmp.Diff([][2]lb.Mode{{lb.ModeDrain, lb.ModeAccept}, {lb.ModeDrain, lb.ModeAccept}}, r.written()); diff != "" {
		t.Errorf("written last (-want +got):\n%s", diff)
	}
}

func TestPlan(t *testing.T) {
	r := runningRig(t, "accept")
	r.kernel.previews = []reconcile.Preview{
		{Key: key(80), Changed: true, BackendsRemoved: []string{"web-1"}, TableSize: 16381, Slots: 9000, Flows: 10, Moved: 4, Lost: []string{"web-1"}, Reasons: []string{"table_size 8191 -> 16381"}},
		{Key: key(443), Added: true, Changed: true},
		{Key: key(81), Removed: true, Changed: true},
		{Key: key(82)},
	}
	text := strings.Replace(strings.Replace(twoBackends, "MODE", "drain", 1), "192.0.2.1:80", "192.0.2.3:80", 1)
	text = strings.Replace(text, "{label: web-1,", "{label: web-3, mode: drain,", 1)
	got, err := r.Plan(t.Context(), "weir.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var changes []string
	for _, l := range got.Listeners {
		changes = append(changes, l.Change)
	}
	if diff := cmp.Diff([]string{control.PlanChanged, control.PlanAdded, control.PlanRemoved, control.PlanUnchanged}, changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"table_size 8191 -> 16381"}, got.Listeners[0].Reasons); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	warnings := []string{
		"no backend of web/80/tcp would take new flows: they would be dropped",
		"web-1 of web/80/tcp would lose all its flows, also those that are not recorded: drain it first",
		"listener web/80/tcp: 4 of 10 recorded flows would lose their backend",
	}
	if diff := cmp.Diff(warnings, got.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	backends := r.kernel.previewed.Balancers[0].Listeners[0].Backends
	if !backends[0].Reachable || backends[0].Health != lb.HealthUp || backends[1].Reachable {
		t.Errorf("a new backend is to count as healthy, one that is known as it is: %+v", backends)
	}
	if len(r.kernel.updated) > 0 || r.state.file.Hash == got.Hash {
		t.Error("a plan has changed something")
	}

	var mistakes config.Errors
	if _, err := r.Plan(t.Context(), "weir.yaml", []byte("x: 1")); !errors.As(err, &mistakes) {
		t.Errorf("of a configuration with mistakes: %v", err)
	}
	other := strings.Replace(text, "agent:", "agent:\n  flow_table_size: 4096", 1)
	if _, err := r.Plan(t.Context(), "weir.yaml", []byte(other)); !errors.Is(err, ErrResize) {
		t.Errorf("of maps of another size: %v", err)
	}
}
