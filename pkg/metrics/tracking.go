// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"sync"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// What decided on the backend of a packet, as values of the label by.
const (
	bySteady   = "steady"
	byNew      = "new"
	byRecord   = "record"
	byPrevious = "previous"
	byCurrent  = "current"
)

// What set a mode, as values of the label by.
const (
	byConfiguration = "configuration"
	byCommand       = "command"
)

// collectTracking sends how many records of flows there are, as the agent's last
// scan found: a scrape does not read a million of them.
func (c *agentCollector) collectTracking(s sink, t control.TrackingStatus) {
	m := &c.metrics
	s.gauge(m.flowRecords, float64(t.Records4), "ipv4")
	s.gauge(m.flowRecords, float64(t.Records6), "ipv6")
	s.gauge(m.flowTableSize, float64(t.TableSize))
	if !t.Scanned.IsZero() {
		s.gauge(m.scanDuration, t.Scan.Seconds())
		s.gauge(m.scanTime, float64(t.Scanned.UnixMilli())/1000)
	}
}

// collectListenerTracking sends what decided on the packets of listeners, and
// which of them had to change backends; every reason, also those that have none.
func (c *agentCollector) collectListenerTracking(s sink, listeners []dataplane.ListenerState) {
	m := &c.metrics
	steady := c.steady.update(listeners)
	for i, l := range listeners {
		labels := listenerLabels(l.ListenerKey)
		s.gauge(m.listenerUnsteady, float64(l.Unsteady), labels...)
		s.counter(m.overflow, l.Tracking.Overflow, labels...)
		for by, packets := range map[string]uint64{
			bySteady: steady[i], byNew: l.Tracking.New, byRecord: l.Tracking.Record,
			byPrevious: l.Tracking.Previous, byCurrent: l.Tracking.Current,
		} {
			s.counter(m.decided, packets, append(labels, by)...)
		}
		for _, why := range dataplane.Unusables() {
			s.counter(m.broken, l.Tracking.Broken[why], append(labels, why.String())...)
		}
	}
}

// steadyPackets works out how many packets of each listener fell into steady
// slots. The program does not count them, for that would cost the steady path:
// they are those that are left of all when the others are taken off. The two
// counters are read one after the other, and a difference may go down a little
// where a counter must not, or Prometheus takes it for a restart from 0. So the
// last values are kept.
type steadyPackets struct {
	mu   sync.Mutex
	last map[lb.ListenerKey]steadyCount
}

type steadyCount struct{ all, steady uint64 }

// update returns the packets of steady slots for each of the listeners.
func (p *steadyPackets) update(listeners []dataplane.ListenerState) []uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := make(map[lb.ListenerKey]steadyCount, len(listeners))
	counts := make([]uint64, len(listeners))
	for i, l := range listeners {
		now := steadyCount{all: l.Forwarded.Packets + l.Dropped.Packets}
		others := l.Tracking.New + l.Tracking.Record + l.Tracking.Previous + l.Tracking.Current
		now.steady = now.all - min(now.all, others)
		// A listener that was removed and came back counts from 0.
		if last, ok := p.last[l.ListenerKey]; ok && now.all >= last.all {
			now.steady = max(now.steady, last.steady)
		}
		next[l.ListenerKey], counts[i] = now, now.steady
	}
	p.last = next
	return counts
}
