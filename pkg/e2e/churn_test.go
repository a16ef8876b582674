// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/testutil"
)

// churn changes balancers again and again while a crowd uses them, and kills
// the agent in between.
type churn struct {
	lab    *lab
	agent  *agent
	crowd  *crowd
	random *rand.Rand
	pools  []*churnPool
	deck   []churnKind // what is next, from the end on
	done   map[string]int
	kills  int
	strike bool // the agent is to be killed during the next change
}

// churnPool is a balancer with one listener, as it should be now.
type churnPool struct {
	balancer  string
	vips      []netip.Addr
	forward   string
	algorithm string
	tableSize int
	seats     []*seat
}

// seat is a backend of a pool.
type seat struct {
	pool       *churnPool
	backend    *backend
	family     int  // of its address
	guest      bool // it comes and goes; the others stay
	host       bool // it always accepts, so that connections can last throughout
	in         bool // the configuration has it
	weight     int
	configured lb.Mode
	mode       lb.Mode // that is in force: by command if it differs from configured
}

func (s *seat) place() place { return place{s.pool.balancer, s.backend.Label} }

// churnKind is a kind of change. It reports whether there was anything to
// change.
type churnKind struct {
	name string
	do   func(*churn, *churnPool) bool
}

func churnKinds() []churnKind {
	return []churnKind{
		{"backend added", (*churn).add},
		{"backend added", (*churn).add},
		{"backend removed", (*churn).remove},
		{"backend removed", (*churn).remove},
		{"backend drained by the configuration", (*churn).drainByConfiguration},
		{"backend drained by command", (*churn).drainByCommand},
		{"backend rejected by command", (*churn).rejectByCommand},
		{"backend put back", (*churn).putBack},
		{"backend put back, emptied", (*churn).putBackEmpty},
		{"weight", (*churn).reweight},
		{"table_size", (*churn).resize},
		{"algorithm", (*churn).rehash},
	}
}

// change makes one change that is possible now, and sees that it did what it
// should to the connections.
func (c *churn) change() {
	c.agent.t.Helper()
	for {
		if len(c.deck) == 0 {
			c.deck = churnKinds()
			c.random.Shuffle(len(c.deck), func(i, j int) { c.deck[i], c.deck[j] = c.deck[j], c.deck[i] })
		}
		kind := c.deck[len(c.deck)-1]
		c.deck = c.deck[:len(c.deck)-1]
		if kind.do(c, c.pools[c.random.IntN(len(c.pools))]) {
			c.done[kind.name]++
			break
		}
	}
	c.strike = false
	c.check()
	c.crowd.check()
}

// pick returns one of the seats for which ok holds, or nil.
func (c *churn) pick(p *churnPool, ok func(*seat) bool) *seat {
	var found []*seat
	for _, s := range p.seats {
		if ok(s) {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found[c.random.IntN(len(found))]
}

// accepting counts the seats that take new connections.
func (p *churnPool) accepting() (n int) {
	for _, s := range p.seats {
		if s.in && s.mode == lb.ModeAccept {
			n++
		}
	}
	return n
}

// fewest is how many backends of a pool go on taking new connections.
const fewest = 2

func (c *churn) add(p *churnPool) bool {
	s := c.pick(p, func(s *seat) bool { return !s.in })
	if s == nil {
		return false
	}
	c.crowd.open(s.place())
	s.in, s.weight, s.configured, s.mode = true, 1+c.random.IntN(255), lb.ModeAccept, lb.ModeAccept
	c.apply()
	return true
}

func (c *churn) remove(p *churnPool) bool {
	s := c.pick(p, func(s *seat) bool {
		return s.guest && s.in && (s.mode != lb.ModeAccept || p.accepting() > fewest)
	})
	if s == nil {
		return false
	}
	c.crowd.doom(s.place(), dataplane.Removed)
	s.in = false
	c.apply()
	c.seeLeft(s)
	return true
}

// seeLeft sees all connections of a backend end that takes none any more.
func (c *churn) seeLeft(s *seat) {
	c.crowd.close(s.place())
	c.crowd.awaitEmpty(s.place())
	s.backend.talks.abort(s.pool.vips...)
	c.crowd.spare(s.place())
}

// drainable picks a seat that need not accept.
func (c *churn) drainable(p *churnPool, ok func(*seat) bool) *seat {
	return c.pick(p, func(s *seat) bool {
		return s.in && !s.host && s.mode == lb.ModeAccept && p.accepting() > fewest && ok(s)
	})
}

func (c *churn) drainByConfiguration(p *churnPool) bool {
	s := c.drainable(p, func(s *seat) bool { return s.configured == lb.ModeAccept })
	if s == nil {
		return false
	}
	s.configured, s.mode = lb.ModeDrain, lb.ModeDrain
	c.apply()
	c.crowd.close(s.place())
	return true
}

func (c *churn) drainByCommand(p *churnPool) bool {
	s := c.drainable(p, func(*seat) bool { return true })
	if s == nil {
		return false
	}
	c.command(s, lb.ModeDrain)
	c.crowd.close(s.place())
	return true
}

func (c *churn) rejectByCommand(p *churnPool) bool {
	s := c.drainable(p, func(s *seat) bool { return s.guest })
	if s == nil {
		return false
	}
	c.crowd.doom(s.place(), dataplane.Rejected)
	c.command(s, lb.ModeReject)
	c.seeLeft(s)
	return true
}

// putBack has a backend accept again, in the way in which it ceased to, with
// what connections it still has.
func (c *churn) putBack(p *churnPool) bool {
	s := c.pick(p, func(s *seat) bool { return s.in && s.mode != lb.ModeAccept })
	if s == nil {
		return false
	}
	c.crowd.open(s.place())
	if s.configured != s.mode {
		c.command(s, lb.ModeAccept)
	} else {
		s.configured, s.mode = lb.ModeAccept, lb.ModeAccept
		c.apply()
	}
	return true
}

// putBackEmpty has the clients of a draining backend finish, and sees that then
// it has no connection left, before it accepts again.
func (c *churn) putBackEmpty(p *churnPool) bool {
	s := c.pick(p, func(s *seat) bool { return s.in && s.mode == lb.ModeDrain })
	if s == nil {
		return false
	}
	c.crowd.sendAway(s.place())
	c.crowd.awaitEmpty(s.place())
	testutil.WaitFor(c.agent.t, patience, func() error {
		if n := s.backend.talks.count(p.vips...); n > 0 {
			return fmt.Errorf("%v has drained and its clients have finished, and it has %d connections", s.place(), n)
		}
		return nil
	})
	c.crowd.open(s.place())
	if s.configured != s.mode {
		c.command(s, lb.ModeAccept)
	} else {
		s.configured, s.mode = lb.ModeAccept, lb.ModeAccept
		c.apply()
	}
	return true
}

func (c *churn) reweight(p *churnPool) bool {
	s := c.pick(p, func(s *seat) bool { return s.in })
	s.weight = 1 + (s.weight+c.random.IntN(254))%255
	c.apply()
	return true
}

func (c *churn) resize(p *churnPool) bool {
	sizes := []int{1021, 2039, 4093, 8191}
	for before := p.tableSize; p.tableSize == before; {
		p.tableSize = sizes[c.random.IntN(len(sizes))]
	}
	c.apply()
	return true
}

func (c *churn) rehash(p *churnPool) bool {
	p.algorithm = map[string]string{"maglev": "source", "source": "maglev"}[p.algorithm]
	c.apply()
	return true
}

// yaml returns the pools as the configuration has them.
func (c *churn) yaml() (balancers []string) {
	for _, p := range c.pools {
		var backends []string
		for _, s := range p.seats {
			if s.in {
				backends = append(backends, s.backend.yaml(s.family, talkPort,
					fmt.Sprintf("weight: %d", s.weight), "mode: "+s.configured.String()))
			}
		}
		keys := []string{
			noCheck, fmt.Sprintf("table_size: %d", p.tableSize), "algorithm: " + p.algorithm,
			fmt.Sprintf("idle_timeout: %v", churnIdle),
		}
		balancers = append(balancers, balancerYAML(p.balancer, p.vips, listenerYAML(talkPort, p.forward, keys, backends...)))
	}
	return balancers
}

// churnIdle is the idle_timeout of the pools: many times longer than any
// connection is silent.
const churnIdle = 5 * time.Second

// apply makes the pools the running configuration.
func (c *churn) apply() {
	c.agent.t.Helper()
	c.agent.configure(c.yaml()...)
	data, err := os.ReadFile(c.agent.file)
	c.lab.must(err)
	c.perform(func() error {
		_, err := c.agent.client().Apply(context.Background(), c.agent.file, data)
		return err
	})
}

// command sets the mode of a backend. What an agent that is killed was told is
// told the next one again.
func (c *churn) command(s *seat, mode lb.Mode) {
	c.agent.t.Helper()
	command := func() error {
		_, err := c.agent.client().SetMode(context.Background(), control.ModeChange{
			Balancer: s.pool.balancer, Port: talkPort, Protocol: lb.TCP, Backend: s.backend.Label, Mode: mode,
		})
		return err
	}
	if c.perform(command) {
		c.lab.must(command())
	}
	s.mode = mode
}

// perform makes a change. It reports whether the agent was killed meanwhile, of
// which the next one takes up what the file says.
func (c *churn) perform(fn func() error) (killed bool) {
	c.agent.t.Helper()
	if !c.strike {
		c.lab.must(fn())
		return false
	}
	c.strike = false
	done := make(chan error, 1)
	go func() { done <- fn() }()
	const about = 20 * time.Millisecond // as long as a change takes
	c.pauseUpTo(2 * about)
	c.kill()
	<-done // whether it came to its end in time does not matter
	return true
}

// pauseUpTo lets a random time pass, at most d.
func (c *churn) pauseUpTo(d time.Duration) { <-time.After(time.Duration(c.random.Int64N(int64(d)))) }

// kill kills the agent, and starts another when the crowd has gone on without
// one for a moment.
func (c *churn) kill() {
	c.agent.t.Helper()
	c.agent.kill()
	c.kills++
	c.crowd.awaitRounds()
	c.agent.start()
}

// check compares the backends that the agent lists with what they should be.
func (c *churn) check() {
	c.agent.t.Helper()
	rows, err := c.agent.client().Backends(context.Background())
	c.lab.must(err)
	var got, want strings.Builder
	for _, r := range rows {
		fmt.Fprintln(&got, r.Balancer, r.Label, r.Weight, r.Configured, r.Mode)
	}
	for _, p := range c.pools {
		for _, s := range p.seats {
			if s.in {
				fmt.Fprintln(&want, p.balancer, s.backend.Label, s.weight, s.configured, s.mode)
			}
		}
	}
	if got.String() != want.String() {
		c.agent.t.Fatalf("the agent lists\n%swant\n%s", &got, &want)
	}
}
