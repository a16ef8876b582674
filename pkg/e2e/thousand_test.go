// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/testutil"
)

// TestThousandConnections changes balancers a hundred times and kills the agent
// ten times, while a thousand connections are in use. None ends but on backends
// that are taken away, and none stalls.
func TestThousandConnections(t *testing.T) {
	const killOneIn, straight = 10, 40
	connections, changes := 1000, 100
	if testing.Short() { // for an emulated processor
		connections, changes = 100, 50
	}
	l := newTalkingLab(t, 6)
	c := l.newChurn()
	before := c.agent.reasons()

	for _, p := range c.pools {
		share := connections / len(c.pools) / len(p.vips)
		for _, vip := range p.vips {
			to := netip.AddrPortFrom(vip, talkPort)
			c.crowd.join(share*9/10, member{balancer: p.balancer, to: to})
			c.crowd.join(share/10, member{balancer: p.balancer, to: to, turnover: 20})
		}
	}
	for i := range straight {
		b := l.backends[i%2]
		c.crowd.join(1, member{to: netip.AddrPortFrom(b.address(4+i/2%2*2), talkPort)})
	}
	c.crowd.awaitTalking()

	began, length := time.Now(), testutil.Soak(t)
	made := 0
	for ; made < changes || time.Since(began) < length; made++ {
		c.strike = made%killOneIn == killOneIn/2
		c.pauseUpTo(400 * time.Millisecond)
		c.change()
		switch {
		case made%changes == changes/2:
			c.awaitSettled()
		case made > changes && made%killOneIn == 0: // some slots settle, others do not
			c.pauseUpTo(3 * churnIdle)
			c.kill()
		}
	}
	took := time.Since(began)
	c.crowd.awaitTalking()
	result := c.crowd.end()
	c.crowd.check()
	t.Logf("%d changes in %v (%v), %d kills: %v", made, took.Round(time.Second), c.done, c.kills, &result)
	result.mustBeSmooth(t)
	if result.through <= straight {
		t.Error("no connection lasted throughout")
	}
	mustLoseNothing(t, before, c.agent.reasons())
	c.mustCountBroken(&result)
	c.mustConverge(length > 0)
}

// newTalkingLab makes a network with n backends that serve connections which
// stay open.
func newTalkingLab(t testing.TB, n int, more ...string) *lab {
	t.Helper()
	l := newLab(t, n, more...)
	l.addSources()
	for i, b := range l.backends {
		b.startNode()
		b.startTalking(uint64(i + 1))
	}
	return l
}

// newChurn starts an agent with two balancers, and a crowd without members.
// Half of the backends stay in their pools, the others come and go.
func (l *lab) newChurn() *churn {
	l.t.Helper()
	seed := uint64(time.Now().UnixNano())
	l.t.Logf("random changes from seed %d", seed)
	c := &churn{
		lab: l, random: rand.New(rand.NewPCG(seed, seed)), done: make(map[string]int),
		pools: []*churnPool{
			{balancer: "near", vips: []netip.Addr{vip4(2), vip6(2)}, forward: "dsr", algorithm: "maglev", tableSize: 1021},
			{balancer: "web", vips: []netip.Addr{vip4(1), vip6(1)}, forward: "ipip", algorithm: "maglev", tableSize: 4093},
		},
	}
	for _, p := range c.pools {
		for i, b := range l.backends {
			s := &seat{pool: p, backend: b, family: 4 + i%2*2, host: i == 0, guest: i >= len(l.backends)/2, weight: 100}
			s.in = !s.guest || i%2 == 0
			p.seats = append(p.seats, s)
		}
	}
	c.agent = l.startAgent(c.yaml()...)
	c.crowd = l.newCrowd() // after the agent, so that it ends before
	return c
}

// awaitSettled waits until no slot leads its unknown flows to another backend
// than new ones, as if nothing had changed for long.
func (c *churn) awaitSettled() {
	c.agent.t.Helper()
	testutil.WaitFor(c.agent.t, patience, func() error {
		c.crowd.check()
		return c.agent.settled()
	})
}

// settled says which listener has slots that have not settled.
func (a *agent) settled() (err error) {
	a.tables(func(tables *dataplane.Tables, snapshot *dataplane.Snapshot) {
		for _, l := range snapshot.Listeners {
			slots := make([]dataplane.Slot, l.Entry.TableSize)
			if readErr := tables.ReadSlots(l.Entry.Slots, slots); readErr != nil {
				a.t.Fatal(readErr)
			}
			moving := 0
			for _, s := range slots {
				if s.Previous != s.Current {
					moving++
				}
			}
			if moving > 0 || l.Entry.OldTable {
				err = fmt.Errorf("%d slots of %s are still moving (old table: %v)", moving, l.ListenerKey, l.Entry.OldTable)
			}
		}
	})
	return err
}

// mustCountBroken compares what the data plane counted as broken with what the
// crowd saw.
func (c *churn) mustCountBroken(result *crowdResult) {
	c.agent.t.Helper()
	got := c.agent.tracking("")
	for _, why := range dataplane.Unusables() {
		if got.Broken[why] != result.broken[why] {
			c.agent.t.Errorf("%d packets are counted as broken (%s), and %d connections were",
				got.Broken[why], why, result.broken[why])
		}
	}
	if got.Overflow != 0 {
		c.agent.t.Errorf("%d records found no room", got.Overflow)
	}
	if result.broken[dataplane.Removed] == 0 {
		c.agent.t.Errorf("no connection was broken by a backend removed: %v", result.broken)
	}
}

// tracking returns what became of the packets of one balancer's slots that were
// not steady, or of all for "".
func (a *agent) tracking(balancer string) (sum control.TrackingRow) {
	a.t.Helper()
	rows, err := a.client().Listeners(context.Background())
	if err != nil {
		a.t.Fatal(err)
	}
	sum.Broken = make(map[dataplane.Unusable]uint64)
	for _, r := range rows {
		if balancer != "" && balancer != r.Balancer {
			continue
		}
		sum.New += r.Tracking.New
		sum.Record += r.Tracking.Record
		sum.Previous += r.Tracking.Previous
		sum.Current += r.Tracking.Current
		sum.Overflow += r.Tracking.Overflow
		for why, n := range r.Tracking.Broken {
			sum.Broken[why] += n
		}
	}
	return sum
}

// mustConverge waits until nothing is tracked any more. The records of SYNs that
// nothing followed are kept for a minute.
func (c *churn) mustConverge(embryonic bool) {
	c.agent.t.Helper()
	testutil.WaitFor(c.agent.t, 2*patience, func() error {
		s := c.agent.status(c.agent.t).Tracking
		if s.Unsteady > 0 || s.Records4+s.Records6 > 0 || embryonic && s.Embryonic > 0 {
			return fmt.Errorf("connections have ended, and %d slots are not steady, with %d+%d records and %d embryonic",
				s.Unsteady, s.Records4, s.Records6, s.Embryonic)
		}
		return nil
	})
}
