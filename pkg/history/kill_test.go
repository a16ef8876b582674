// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/reconcile"
	"github.com/weirlb/weir/pkg/testutil"
)

// transition is a kind of change.
type transition struct {
	name          string
	before, after *state
	meanwhile     *state // applied between the two, and not yet settled; nil: none
}

// transitions are all kinds of changes.
func transitions() []transition {
	listeners := func(change func(*reconcile.Listener)) *state {
		l := newListener(web, serversTo(4)...)
		change(&l)
		return newState(l, newListener(secure, serversTo(3)...), newListener(dns, serversTo(3)...))
	}
	same := func(*reconcile.Listener) {}
	base := listeners(same)
	to := func(name string, change func(*reconcile.Listener)) transition {
		return transition{name, base, listeners(change), nil}
	}
	from := func(name string, change func(*reconcile.Listener)) transition {
		return transition{name, listeners(change), base, nil}
	}
	second := func(change func(*reconcile.Backend)) func(*reconcile.Listener) {
		return func(l *reconcile.Listener) { change(&l.Backends[1]) }
	}
	mode := func(m lb.Mode) func(*reconcile.Listener) {
		return second(func(b *reconcile.Backend) { b.Mode = m })
	}
	down := second(func(b *reconcile.Backend) { b.Health = lb.HealthDown })
	away := second(func(b *reconcile.Backend) { b.Reachable = false })
	resize := func(size uint32) func(*reconcile.Listener) {
		return func(l *reconcile.Listener) { l.TableSize = size }
	}
	all := func(changes ...func(*reconcile.Listener)) func(*reconcile.Listener) {
		return func(l *reconcile.Listener) {
			for _, change := range changes {
				change(l)
			}
		}
	}
	pool := func(p ...reconcile.Backend) func(*reconcile.Listener) {
		return func(l *reconcile.Listener) { l.Backends = p }
	}
	persist := func(l *reconcile.Listener) { l.OnDown = lb.DownPersist }
	algorithm := func(l *reconcile.Listener) { l.Algorithm = lb.Source }
	return []transition{
		{"from nothing", nothing(), base, nil},
		{"to nothing", base, nothing(), nil},
		{"listener added", newState(newListener(secure, serversTo(3)...)), base, nil},
		{"listener removed", base, newState(newListener(secure, serversTo(3)...)), nil},
		{"listener replaced", newState(newListener(web, serversTo(3)...)), newState(newListener(dns, serversTo(3)...)), nil},
		to("added", pool(serversTo(5)...)), to("removed", pool(serversTo(3)...)),
		to("replaced", pool(server(1), server(2), server(3), server(5))),
		to("pool emptied", pool()), from("pool filled", pool()), to("pool grows", pool(serversTo(17)...)),
		to("drained", mode(lb.ModeDrain)), from("accepted again", mode(lb.ModeDrain)), to("rejected", mode(lb.ModeReject)),
		to("backup", mode(lb.ModeBackup)), from("backup no more", mode(lb.ModeBackup)),
		to("weight", second(func(b *reconcile.Backend) { b.Weight = 7 })),
		to("down", down), from("up", down), to("unreachable", away), from("reachable", away), to("down, persist", all(down, persist)),
		to("table grows", resize(61)), to("table shrinks", resize(7)), to("algorithm", algorithm),
		to("all at once", all(pool(serversTo(17)...), resize(61), algorithm, mode(lb.ModeDrain))),
		{"drained, then removed", base, listeners(pool(server(1), server(3), server(4))), listeners(mode(lb.ModeDrain))},
		{"table grows twice", base, listeners(resize(127)), listeners(resize(61))},
		{"table grows, and back", base, base, listeners(resize(61))},
		{"table grows, then one is added", base, listeners(all(resize(61), pool(serversTo(5)...))), listeners(resize(61))},
		{"down, then up", base, base, listeners(down)},
	}
}

// TestKilled lets every single operation of every kind of change, and of all that
// comes after it until everything is steady, be the last that an agent does, as if
// it had not been done and as if it had. No connection breaks over it, those that
// begin while there is no agent do not either, and another agent finishes the
// change. In make test it is some of those that write, and before one is after the
// one before it; in make soak it is each.
func TestKilled(t *testing.T) {
	const flowLimit, stride = 1024, 3
	p, clients := openPlane(t, flowLimit), clientsOf(2*perTransition/6)
	for i, change := range transitions() {
		t.Run(change.name, func(t *testing.T) {
			run := func(fatal fault) (made []calls) {
				if wrong := caught(func(f failer) {
					r := killRun{world: newWorld(f, p, flowLimit, 0, clients), transition: change, fatal: fatal}
					made = r.run()
				}); wrong != "" {
					t.Fatal(wrong)
				}
				return made
			}
			ops, writes := 0, []int(nil)
			for _, call := range run(fault{}) {
				for _, at := range call.writes {
					writes = append(writes, ops+at)
				}
				ops += call.ops
			}
			if testutil.Soak(t) > 0 {
				for at := range ops {
					run(fault{at: at + 1})
					run(fault{at: at + 1, after: true})
				}
				return
			}
			for n := i % stride; n < len(writes); n += stride {
				run(fault{at: writes[n], after: true})
			}
		})
	}
}

// perTransition is how many clients have a connection before a change. As many
// connect while there is no agent.
const perTransition = 96

// killRun is one change over which an agent is killed.
type killRun struct {
	*world
	transition
	fatal  fault
	calls  []calls // of the agent so far
	rounds int
}

// run makes the change and returns the calls of the agent, unless it is killed.
func (r *killRun) run() []calls {
	r.Helper()
	r.say("%s%s", r.name, r.fatal)
	r.apply(r.before, fault{})
	r.connect(r.clients[:perTransition])
	if r.meanwhile != nil {
		r.apply(r.meanwhile, fault{})
		r.round(func() bool { return r.collect(fault{}) })
	}
	if !r.change() {
		return nil
	}
	if r.fatal.at > 0 {
		r.fail("the agent did not come to operation %d", r.fatal.at)
	}
	return r.calls
}

// change makes the change to its end. It reports whether the agent survived.
func (r *killRun) change() bool {
	r.Helper()
	if !r.call(func(f fault) bool { return r.apply(r.after, f) }) {
		r.recover()
		return false
	}
	for i := range talking + silent {
		if i == talking {
			r.say("all clients are gone")
			for _, c := range r.clients {
				c.end()
			}
		}
		if !r.round(func() bool { return r.call(r.collect) }) {
			r.recover()
			return false
		}
		if r.leftovers() == "" && i >= talking {
			return true
		}
	}
	r.fail("after %d rounds there is still %s", talking+silent, r.leftovers())
	return false
}

// Rounds after a change: in some all who have a connection talk, so long that
// slots are settled; in the others nobody does, until everything is steady.
const (
	talking = 9
	silent  = 12
)

// call is a call of the agent, which may be killed. It reports whether it
// survived.
func (r *killRun) call(fn func(fault) bool) bool {
	r.Helper()
	f := r.fatal
	for _, call := range r.calls {
		f.at -= call.ops
	}
	if f.at <= 0 {
		f = fault{}
	}
	alive := fn(f)
	r.calls = append(r.calls, r.store.last)
	return alive
}

// round is two seconds, in which all that have a connection talk who must. It
// reports whether the agent survived.
func (r *killRun) round(collect func() bool) bool {
	r.Helper()
	s := step{pause: 2 * time.Second, who: "all that must talk"}
	r.now = r.now.Add(s.pause)
	r.talk(s, r.rounds, true)
	alive := collect()
	r.talk(s, r.rounds, false)
	r.rounds++
	return alive
}

// talkAll lets all talk that have a connection.
func (r *killRun) talkAll() {
	r.Helper()
	for _, c := range r.clients {
		if c.lives() {
			r.send(c, c.next())
		}
	}
}

func (r *killRun) connect(clients []*client) {
	r.Helper()
	for _, c := range clients {
		r.speak(c, "connect")
	}
}

// recover is what follows when the agent was killed: time without one, in which
// connections go on and others begin; and another one, which first sees to what is
// due, and then applies what it finds configured.
func (r *killRun) recover() {
	r.Helper()
	r.say("killed")
	r.talkAll()
	r.connect(r.clients[perTransition:])
	r.now = r.now.Add(time.Second)
	r.say("restarted")
	r.open()
	r.talkAll()
	r.collect(fault{})
	r.apply(r.after, fault{})
	for range talking {
		r.round(func() bool { return r.collect(fault{}) })
	}
	r.converge()
}
