// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"runtime"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// tables is what the collector reads of the kernel; dataplane.Tables is the
// one that packets see.
type tables interface {
	Snapshot() (*dataplane.Snapshot, error)
	ReasonCounters() ([]dataplane.Traffic, error)
	MapsOf(dataplane.FlowCounts) ([]dataplane.MapInfo, error)
	Writes() uint64
}

// agentCollector makes the metrics of an agent anew for each scrape.
type agentCollector struct {
	source  Source
	tables  tables
	reasons func() ([]string, error)
	metrics agentMetrics
	steady  steadyPackets
}

func newAgentCollector(source Source, tables tables) *agentCollector {
	return &agentCollector{
		source: source, tables: tables, metrics: newAgentMetrics(),
		reasons: sync.OnceValues(dataplane.Reasons), // from BTF, which takes milliseconds to read
	}
}

// Describe sends the descriptions of all metrics.
func (c *agentCollector) Describe(out chan<- *prometheus.Desc) { c.metrics.describe(out) }

// Collect sends all metrics. What cannot be read fails the scrape, so that
// nobody takes a part for the whole.
func (c *agentCollector) Collect(out chan<- prometheus.Metric) {
	s := sink(out)
	m := &c.metrics
	if err := c.collect(s); err != nil {
		out <- prometheus.NewInvalidMetric(m.packets, err)
	}
}

func (c *agentCollector) collect(s sink) error {
	status := c.source.Status()
	c.collectStatus(s, status)
	snapshot, err := c.tables.Snapshot()
	if err != nil {
		return err
	}
	reasons, err := c.tables.ReasonCounters()
	if err != nil {
		return err
	}
	names, err := c.reasons()
	if err != nil {
		return err
	}
	maps, err := c.tables.MapsOf(flowCounts(status.Tracking))
	if err != nil {
		return err
	}
	collectReasons(s, c.metrics.packets, c.metrics.bytes, names, reasons)
	c.collectListeners(s, snapshot)
	c.collectListenerTracking(s, snapshot.Listeners)
	c.collectTracking(s, status.Tracking)
	conditions := c.source.Conditions()
	configured := control.Configured(snapshot, status, conditions)
	c.collectBackends(s, control.BackendRows(configured, conditions))
	c.collectMaps(s, maps)
	return nil
}

// flowCounts returns what the agent's last scan found of records.
func flowCounts(t control.TrackingStatus) dataplane.FlowCounts {
	return dataplane.FlowCounts{Flows4: uint32(t.Records4), Flows6: uint32(t.Records6), Embryonic: uint32(t.Embryonic)}
}

func (c *agentCollector) collectStatus(s sink, status control.Status) {
	m := &c.metrics
	s.gauge(m.build, 1, status.Version, runtime.Version())
	s.gauge(m.ready, truth(status.Ready))
	s.gauge(m.configHash, 1, status.Config.Hash)
	s.gauge(m.reloadOK, truth(status.Config.ReloadOK))
	if !status.Config.LastReload.IsZero() {
		s.gauge(m.reloadTime, float64(status.Config.LastReload.UnixMilli())/1000)
	}
	for _, i := range status.Interfaces {
		s.gauge(m.attached, truth(i.Mode != ""), i.Name, string(i.Mode))
	}
}

// collectReasons sends the traffic of all reasons, also of those that have
// none: an alert on a metric that is absent does not fire.
func collectReasons(s sink, packets, bytes *prometheus.Desc, names []string, traffic []dataplane.Traffic) {
	for i := 1; i < min(len(names), len(traffic)); i++ { // 0 is no reason
		s.counter(packets, traffic[i].Packets, names[i])
		s.counter(bytes, traffic[i].Bytes, names[i])
	}
}

func (c *agentCollector) collectListeners(s sink, snapshot *dataplane.Snapshot) {
	m := &c.metrics
	for _, l := range snapshot.Listeners {
		labels := listenerLabels(l.ListenerKey)
		s.counter(m.listenerPackets, l.Forwarded.Packets, labels...)
		s.counter(m.listenerBytes, l.Forwarded.Bytes, labels...)
		s.counter(m.listenerDroppedPackets, l.Dropped.Packets, labels...)
		s.counter(m.listenerDroppedBytes, l.Dropped.Bytes, labels...)
		s.gauge(m.listenerSlots, float64(l.Entry.TableSize), labels...)
	}
}

func (c *agentCollector) collectBackends(s sink, rows []control.BackendRow) {
	m := &c.metrics
	for _, b := range merged(rows) {
		labels := append(listenerLabels(b.Key()), b.Label, b.Address.String())
		s.counter(m.backendPackets, b.Forwarded.Packets, labels...)
		s.counter(m.backendBytes, b.Forwarded.Bytes, labels...)
		s.gauge(m.backendUp, truth(b.Health == lb.HealthUp), labels...)
		s.gauge(m.backendSlots, float64(b.Slots), labels...)
		s.gauge(m.backendMode, 1, append(labels, b.Mode.String(), setBy(b))...)
		if b.Check == nil {
			continue
		}
		s.gauge(m.checkDuration, b.Check.Duration.Seconds(), labels...)
		s.counter(m.checks, b.Check.Successes, append(labels, "success")...)
		s.counter(m.checks, b.Check.Failures, append(labels, "failure")...)
	}
}

// setBy says what set the mode of a backend.
func setBy(b control.BackendRow) string {
	if b.Mode != b.Configured {
		return byCommand
	}
	return byConfiguration
}

// merged makes one row of those that have the same labels: a pool holds an
// address twice while the way of forwarding to it changes.
func merged(rows []control.BackendRow) []control.BackendRow {
	var out []control.BackendRow
	for _, row := range rows {
		if n := len(out); n > 0 && out[n-1].Key() == row.Key() && out[n-1].Label == row.Label && out[n-1].Address == row.Address {
			out[n-1].Slots += row.Slots
			out[n-1].Forwarded = out[n-1].Forwarded.Add(row.Forwarded)
			continue
		}
		out = append(out, row)
	}
	return out
}

func (c *agentCollector) collectMaps(s sink, maps []dataplane.MapInfo) {
	m := &c.metrics
	for _, info := range maps {
		s.gauge(m.mapEntries, float64(info.Entries), info.Name)
		s.gauge(m.mapMaxEntries, float64(info.MaxEntries), info.Name)
		s.gauge(m.mapMemory, float64(info.Memory), info.Name)
	}
	s.counter(m.mapWrites, c.tables.Writes())
}

func listenerLabels(k lb.ListenerKey) []string {
	return []string{k.Balancer, strconv.Itoa(int(k.Port)), k.Protocol.String()}
}
