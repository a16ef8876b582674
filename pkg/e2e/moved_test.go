// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/testutil"
)

// pair is two balancers with one configuration, and a client whose route leads
// to one of them, or to the other.
type pair struct {
	*lab
	t        testing.TB
	one, two *agent
}

// TestConnectionsBetweenBalancers moves connections from one balancer to another
// and back, where nothing changes, and through a change of both.
func TestConnectionsBetweenBalancers(t *testing.T) {
	const connections, moves = 200, 12
	p := newPair(t, 2)
	w := p.newCrowd()
	for _, vip := range []netip.Addr{vip4(1), vip6(1)} {
		w.join(connections/2, member{balancer: "web", to: netip.AddrPortFrom(vip, talkPort)})
	}
	w.join(2, member{to: netip.AddrPortFrom(p.backends[0].IPv4(), talkPort)})
	w.awaitTalking()
	move := func(i int) {
		p.route([]int{4, 6}, []*agent{p.one, p.two}[i%2])
		w.awaitRounds()
	}

	for i := range moves {
		move(i)
	}
	for _, a := range []*agent{p.one, p.two} {
		a.mustHaveNoRecords(t)
		if n := a.reasons()["forwarded"]; n < connections {
			t.Errorf("only %d packets went by %s", n, a.host.Label)
		}
	}

	p.apply(p.web(3))
	for i := 0; p.one.settled() != nil || p.two.settled() != nil; i++ {
		move(i)
	}
	for i := range moves {
		move(i)
	}
	p.apply(p.web(4)) // and again, while records keep some where they are
	for i := range moves {
		move(i)
	}
	result := w.end()
	w.check()
	for _, a := range []*agent{p.one, p.two} {
		row := a.tracking("web")
		if row.Record == 0 || sumBroken(row.Broken) != 0 || row.Overflow != 0 {
			t.Errorf("%s has by records %d, broken %v, overflow %d", a.host.Label, row.Record, row.Broken, row.Overflow)
		}
	}
	t.Log(&result)
	result.mustBeSmooth(t)
}

// TestConnectionsThatOneBalancerKnows shows which connections do not survive to
// be moved: those that nothing but a record of their balancer keeps where they
// are. They are there to be counted before.
func TestConnectionsThatOneBalancerKnows(t *testing.T) {
	const connections = 120 // of each kind and family
	p := newPair(t, 3)
	old4, old6 := p.dial(connections, vip4(1)), p.dial(connections, vip6(1))
	p.apply(p.web(4))
	young4, young6 := p.dial(connections, vip4(1)), p.dial(connections, vip6(1))

	// Before the change has settled: connections that came with it.
	kept := p.one.keeps(young4)
	if n := len(p.one.keeps(old4)); n > 0 {
		t.Errorf("%d connections are older than the change and do not go by the old table", n)
	}
	p.route([]int{4}, p.two)
	p.mustLose(append(young4, old4...), kept)
	if p.two.settled() == nil || len(kept) == 0 {
		t.Errorf("the change has settled too early: %d connections needed their records", len(kept))
	}
	t.Logf("moved before the change had settled: %d of %d that began after it are broken, and of the older none", len(kept), connections)

	// Once it has settled: connections that it left behind. What is used through
	// the other balancer meanwhile is known there too.
	all6 := append(young6, old6...)
	testutil.WaitFor(t, patience, func() error {
		p.mustLose(all6, nil)
		p.mustLose(old4, nil)
		return errors.Join(p.one.settled(), p.two.settled())
	})
	kept = p.one.keeps(old6)
	if n := len(p.one.keeps(young6)); n > 0 {
		t.Errorf("%d connections are younger than the change and do not go by the new table", n)
	}
	p.awaitRecords(p.one, len(kept))
	p.route([]int{6}, p.two)
	p.mustLose(all6, kept)
	p.mustLose(old4, nil)
	t.Logf("moved after the change had settled: %d of %d that began before it are broken, and of the younger none", len(kept), connections)
	if got := p.two.tracking("web"); sumBroken(got.Broken) != 0 {
		t.Errorf("the other balancer counts %v as broken, which it cannot know", got.Broken)
	}
}

// pairIdle is the idle_timeout of a pair: a change settles in a little more.
const pairIdle = 6 * time.Second

// newPair starts two balancers with n of four backends.
func newPair(t testing.TB, n int) *pair {
	p := &pair{lab: newTalkingLab(t, 4, "second"), t: t}
	p.one = p.startAgent(p.web(n))
	p.two = p.newAgent(agentOptions{label: "two", host: p.network.Host("second")})
	p.two.configure(p.web(n))
	p.two.start()
	return p
}

// web returns the balancer with the first n backends.
func (p *pair) web(n int) string {
	return balancerYAML("web", []netip.Addr{vip4(1), vip6(1)}, listenerYAML(talkPort, "ipip",
		[]string{noCheck, smallTable, fmt.Sprintf("idle_timeout: %v", pairIdle)}, p.allYAML(4, talkPort)[:n]...))
}

// apply makes a balancer the running one of both agents, at once.
func (p *pair) apply(balancer string) {
	p.t.Helper()
	var done sync.WaitGroup
	errs := make([]error, 2)
	for i, a := range []*agent{p.one, p.two} {
		a.configure(balancer)
		done.Go(func() {
			data, err := os.ReadFile(a.file)
			if err == nil {
				_, err = a.client().Apply(context.Background(), a.file, data)
			}
			errs[i] = err
		})
	}
	done.Wait()
	p.must(errors.Join(errs...))
}

// route has the client send packets of some families by the host of an agent.
func (p *pair) route(families []int, by *agent) {
	p.t.Helper()
	for _, family := range families {
		r := netdev.Route{Destination: netip.PrefixFrom(vip4(1), 32), Gateway: by.host.IPv4()}
		if family == 6 {
			r = netdev.Route{Destination: netip.PrefixFrom(vip6(1), 128), Gateway: by.host.IPv6()}
		}
		p.must(p.client.SetRoute(r))
	}
}

// dial opens n connections that are used once, and end with the test.
func (p *pair) dial(n int, vip netip.Addr) (talks []*talk) {
	p.t.Helper()
	for i := range n {
		sources := p.sources[vip.Is6()]
		c, err := dialTalk(p.client, sources[i%len(sources)], netip.AddrPortFrom(vip, talkPort))
		p.must(err)
		p.t.Cleanup(func() { _ = c.conn.Close() })
		p.must(c.round())
		talks = append(talks, c)
	}
	return talks
}

// mustLose uses connections, and sees that just those that are named are reset.
func (p *pair) mustLose(talks []*talk, named map[*talk]bool) {
	p.t.Helper()
	for _, c := range talks {
		if c.lost {
			continue
		}
		err := c.round()
		c.lost = errors.Is(err, syscall.ECONNRESET)
		if err != nil && !c.lost || c.lost != named[c] {
			p.t.Fatalf("the connection of %v: %v; it was to be reset: %v", c.flow(), err, named[c])
		}
	}
}

// keeps returns the connections that nothing but their record keeps where they
// are. As the tables of a pair are the same, where the other balancer sends them
// is where the slot does here.
func (a *agent) keeps(talks []*talk) map[*talk]bool {
	a.t.Helper()
	kept := make(map[*talk]bool)
	a.tables(func(tables *dataplane.Tables, snapshot *dataplane.Snapshot) {
		entry := snapshot.Listeners[0].Entry
		slots := make([]dataplane.Slot, entry.TableSize)
		err := tables.ReadSlots(entry.Slots, slots)
		for _, c := range talks {
			f := c.flow()
			record, ok, lookupErr := tables.LookupFlow(dataplane.NewFlowID(f.client, f.vip, lb.TCP))
			if err = errors.Join(err, lookupErr); err != nil {
				a.t.Fatal(err)
			}
			slot := slots[uint64(record.Hash)*uint64(entry.TableSize)>>32]
			if ok && record.Backend != slot.Previous {
				kept[c] = true
			}
		}
	})
	if len(kept) == len(talks) {
		a.t.Errorf("all of %d connections are where only their records keep them", len(talks))
	}
	return kept
}

// awaitRecords waits until weir status counts as many records over IPv6 as there
// are connections that need one.
func (p *pair) awaitRecords(a *agent, want int) {
	p.t.Helper()
	if want == 0 {
		p.t.Error("no connection needs its record")
	}
	a.await(func(s control.Status) error {
		if s.Tracking.Records6 != want {
			return fmt.Errorf("%d records over IPv6 are counted, %d are needed", s.Tracking.Records6, want)
		}
		return nil
	})
}
