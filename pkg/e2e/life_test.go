// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/testutil"
)

// life is a balancer web, a crowd at its addresses, and the backends between
// them, which have more of a life than others.
type life struct {
	*lab
	t     testing.TB
	keys  []string // of the listener
	agent *agent
	crowd *crowd
}

// newLife makes a balancer with n backends, with these keys of its listener.
func newLife(t testing.TB, n int, keys ...string) *life {
	t.Helper()
	f := &life{lab: newTalkingLab(t, n), t: t, keys: append(keys, smallTable, "idle_timeout: 5s")}
	for _, b := range f.backends {
		b.serve()
	}
	f.agent = f.startAgent(f.web())
	f.crowd = f.newCrowd()
	return f
}

// join adds clients: some that stay, and some that come again and again.
func (f *life) join(stay, come int) {
	f.t.Helper()
	for _, vip := range []netip.Addr{vip4(1), vip6(1)} {
		to := netip.AddrPortFrom(vip, talkPort)
		f.crowd.join(stay/2, member{balancer: "web", to: to})
		f.crowd.join(come/2, member{balancer: "web", to: to, turnover: 4})
	}
	f.crowd.awaitTalking()
}

// web returns the balancer. Each of more has the label of a backend and then
// keys of it.
func (f *life) web(more ...[2]string) string {
	var backends []string
	for i, b := range f.backends {
		var keys []string
		for _, m := range more {
			if m[0] == b.Label {
				keys = append(keys, m[1])
			}
		}
		backends = append(backends, b.yaml(4+i%2*2, talkPort, keys...))
	}
	return balancerYAML("web", []netip.Addr{vip4(1), vip6(1)}, listenerYAML(talkPort, "ipip", f.keys, backends...))
}

// setMode sets the mode of a backend by command.
func (f *life) setMode(backend string, mode lb.Mode) control.ModeReport {
	f.t.Helper()
	report, err := f.agent.client().SetMode(context.Background(), modeChange(backend, mode))
	f.must(err)
	return report
}

func modeChange(backend string, mode lb.Mode) control.ModeChange {
	return control.ModeChange{Balancer: "web", Port: talkPort, Protocol: lb.TCP, Backend: backend, Mode: mode}
}

// mustBe sees a backend in a mode, which is by command if it is not that of the
// configuration.
func (f *life) mustBe(backend string, mode, configured lb.Mode) {
	f.t.Helper()
	row := f.agent.backend(fmt.Sprintf("web/%d/tcp/%s", talkPort, backend))
	if row.Mode != mode || row.Configured != configured {
		f.t.Errorf("%s is in mode %s (configured: %s), want %s (%s)", backend, row.Mode, row.Configured, mode, configured)
	}
	byCommand := slices.ContainsFunc(f.agent.status(f.t).Modes, func(m control.ModeStatus) bool {
		return m.Backend == backend && m.Mode == mode && m.Configured == configured
	})
	if byCommand != (mode != configured) {
		f.t.Errorf("weir status shows %s by command: %v", backend, byCommand)
	}
}

// mustKeep lets the crowd go on for a moment, and sees a backend keep its n
// connections.
func (f *life) mustKeep(backend string, n int) {
	f.t.Helper()
	f.crowd.awaitRounds()
	if got := f.crowd.staying(place{"web", backend}); got != n {
		f.t.Errorf("%s has %d of its %d connections", backend, got, n)
	}
}

// awaitNew waits until a backend has got a new connection.
func (f *life) awaitNew(backend string) {
	f.t.Helper()
	at := place{"web", backend}
	before := f.crowd.born(at)
	testutil.WaitFor(f.t, patience, func() error {
		f.crowd.check()
		if f.crowd.born(at) == before {
			return fmt.Errorf("%s gets no new connections", backend)
		}
		return nil
	})
}

// TestDrainByCommand drains a backend by command: it lasts, whatever becomes of
// the agent, until the configuration wants another mode of that backend.
func TestDrainByCommand(t *testing.T) {
	f := newLife(t, 3, noCheck)
	f.join(48, 12)
	at := place{"web", "web-2"}
	kept := f.crowd.staying(at)
	report := f.setMode("web-2", lb.ModeDrain)
	f.crowd.close(at)
	if report.Before != lb.ModeAccept || report.Configured != lb.ModeAccept || report.Slots == 0 || report.Warnings != nil {
		t.Errorf("the command reports %+v", report)
	}
	stays := func() {
		t.Helper()
		f.mustBe("web-2", lb.ModeDrain, lb.ModeAccept)
		f.mustKeep("web-2", kept)
	}
	stays()
	f.agent.kill()
	if _, err := f.agent.client().SetMode(t.Context(), modeChange("web-2", lb.ModeAccept)); !errors.Is(err, control.ErrNoAgent) {
		t.Errorf("a command without an agent: %v, want %v", err, control.ErrNoAgent)
	}
	f.agent.start()
	stays()
	f.agent.change(t, "apply", f.web())
	stays()
	f.agent.change(t, "SIGHUP", f.web([2]string{"web-1", "weight: 50"}, [2]string{"web-2", "weight: 200"}))
	stays()

	f.agent.change(t, "apply", f.web([2]string{"web-2", "mode: drain"}))
	f.mustBe("web-2", lb.ModeDrain, lb.ModeDrain)
	f.mustKeep("web-2", kept)
	f.crowd.open(at)
	f.agent.change(t, "apply", f.web())
	f.mustBe("web-2", lb.ModeAccept, lb.ModeAccept)
	f.awaitNew("web-2")

	// The configuration changes while no agent runs.
	f.setMode("web-2", lb.ModeDrain)
	f.agent.kill()
	f.agent.configure(f.web([2]string{"web-2", "mode: backup"}))
	f.agent.start()
	f.crowd.close(at)
	f.mustBe("web-2", lb.ModeBackup, lb.ModeBackup)
	f.mustKeep("web-2", kept)
	f.finish()
}

// finish ends the crowd, and sees that what it lost is what was counted.
func (f *life) finish() {
	f.t.Helper()
	f.crowd.awaitTalking()
	result := f.crowd.end()
	f.crowd.check()
	got := f.agent.tracking("web")
	for _, why := range dataplane.Unusables() {
		if got.Broken[why] != result.broken[why] {
			f.t.Errorf("%d packets are counted as broken (%s), and %d connections were", got.Broken[why], why, result.broken[why])
		}
	}
	f.t.Log(&result)
}

// TestDrainTimeout sees a draining backend keep its connections for
// drain_timeout, also while no agent runs to end it, and lose them then.
func TestDrainTimeout(t *testing.T) {
	const timeout = 5 * time.Second
	for _, by := range []string{"the agent", "the next agent"} {
		t.Run("by "+by, func(t *testing.T) {
			f := newLife(t, 3, noCheck, fmt.Sprintf("drain_timeout: %v", timeout))
			f.join(48, 12)
			at := place{"web", "web-2"}
			began := time.Now()
			f.setMode("web-2", lb.ModeDrain)
			f.crowd.close(at)
			kept := f.crowd.staying(at)
			f.mustKeep("web-2", kept)
			if by == "the next agent" {
				f.agent.kill()
				for time.Since(began) < timeout+time.Second {
					f.mustKeep("web-2", kept)
				}
			}
			f.crowd.doom(at, dataplane.Drained)
			if by == "the next agent" {
				f.agent.start()
			}
			f.crowd.awaitEmpty(at)
			f.crowd.spare(at)
			if took := time.Since(began); took < timeout {
				t.Errorf("the connections were lost after %v, want %v at least", took, timeout)
			}
			f.mustBe("web-2", lb.ModeDrain, lb.ModeAccept)
			f.finish()
			if f.crowd.result.broken[dataplane.Drained] == 0 {
				t.Error("no connection was lost")
			}
		})
	}
}

// TestRejectByConfiguration sees a backend lose its connections at once, which
// is not checked any more.
func TestRejectByConfiguration(t *testing.T) {
	f := newLife(t, 3, talkCheck)
	f.join(48, 12)
	at := place{"web", "web-2"}
	f.crowd.doom(at, dataplane.Rejected)
	f.agent.change(t, "apply", f.web([2]string{"web-2", "mode: reject"}))
	f.crowd.close(at)
	f.crowd.awaitEmpty(at)
	f.backends[1].talks.abort(vip4(1), vip6(1))
	f.crowd.spare(at)
	f.mustBe("web-2", lb.ModeReject, lb.ModeReject)
	checks := f.backends[1].checks.Load()
	f.awaitChecked(f.backends[0], 4)
	if n := f.backends[1].checks.Load() - checks; n > 1 { // one may have been under way
		t.Errorf("web-2 was checked %d times while it rejects", n)
	}
	f.crowd.open(at)
	f.agent.change(t, "apply", f.web())
	f.awaitNew("web-2")
	f.finish()
}

// talkCheck is fastCheck, of the web port beside the service.
const talkCheck = "check: {type: http, port: 80, path: /healthz, interval: 400ms, timeout: 400ms, fall: 3, rise: 2}"

// awaitChecked waits until a backend has been checked n times more.
func (f *life) awaitChecked(b *backend, n uint64) {
	f.t.Helper()
	before := b.checks.Load()
	testutil.WaitFor(f.t, patience, func() error {
		if got := b.checks.Load() - before; got < n {
			return fmt.Errorf("%s was checked %d times more", b.Label, got)
		}
		return nil
	})
}

// setHealth has backends fail their checks, or pass them again, and waits until
// they get new connections no more, or again. Their services go on.
func (f *life) setHealth(status int, backends ...*backend) {
	f.t.Helper()
	for _, b := range backends {
		b.health.Store(&answer{status, http.StatusText(status)})
	}
	for _, b := range backends {
		f.awaitSlots(b.Label, status == http.StatusOK)
	}
}

// awaitSlots waits until slots lead to a backend, or none do any more.
func (f *life) awaitSlots(backend string, some bool) {
	f.t.Helper()
	f.agent.awaitBackends("web", func(r control.BackendRow) error {
		if r.Label == backend && r.Slots > 0 != some {
			return fmt.Errorf("is to have slots: %v", some)
		}
		return nil
	})
}

// TestOnDown has a backend fail its checks while its service goes on: with
// persist its connections stay, with rebalance they are lost. It gets no new
// ones in both cases, until it is up again.
func TestOnDown(t *testing.T) {
	for _, policy := range []string{"persist", "rebalance"} {
		t.Run(policy, func(t *testing.T) {
			f := newLife(t, 3, talkCheck, "on_down: "+policy)
			f.join(48, 12)
			at := place{"web", "web-2"}
			kept := f.crowd.staying(at)
			if policy == "rebalance" {
				f.crowd.doom(at, dataplane.Down)
			}
			f.setHealth(http.StatusServiceUnavailable, f.backends[1])
			f.crowd.close(at)
			if policy == "rebalance" {
				f.crowd.awaitEmpty(at)
				f.backends[1].talks.abort(vip4(1), vip6(1))
				f.crowd.spare(at)
			} else {
				f.mustKeep("web-2", kept)
				f.agent.kill()
				f.agent.start()
				f.mustKeep("web-2", kept)
			}
			f.crowd.open(at)
			f.setHealth(http.StatusOK, f.backends[1])
			f.awaitNew("web-2")
			f.finish()
		})
	}
}

// TestBackup sees a backup take new connections only while no other backend is
// healthy, and keep those that it has.
func TestBackup(t *testing.T) {
	f := newLife(t, 3, talkCheck, "on_down: persist")
	backup := [2]string{"web-3", "mode: backup"}
	at := place{"web", "web-3"}
	f.agent.change(t, "apply", f.web(backup))
	f.join(48, 12)
	f.crowd.close(at)
	f.setHealth(http.StatusServiceUnavailable, f.backends[0])
	f.awaitNew("web-2")

	f.crowd.open(at)
	f.setHealth(http.StatusServiceUnavailable, f.backends[:2]...)
	for _, b := range f.backends[:2] {
		f.crowd.close(place{"web", b.Label})
	}
	f.awaitNew("web-3")
	f.crowd.sendAway(place{"web", "web-1"}) // they come to the backup, and stay
	f.crowd.awaitEmpty(place{"web", "web-1"})
	f.crowd.awaitTalking()
	kept := f.crowd.staying(at)

	f.crowd.open(place{"web", "web-1"})
	f.setHealth(http.StatusOK, f.backends[0])
	f.awaitSlots("web-3", false)
	f.crowd.close(at)
	f.awaitNew("web-1")
	f.mustKeep("web-3", kept)
	if kept == 0 {
		t.Error("the backup has got no connection that stays")
	}
	f.finish()
}
