// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"net/http"
	"runtime"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirlb/weir/pkg/dataplane"
)

// NodeSource is the node that metrics tell of.
type NodeSource interface {
	// Version is that of this binary.
	Version() string
	// Ready says whether the program is on its interface, or why not.
	Ready() (ok bool, why string)
	// Counters returns the traffic of each reason, by the reason's number.
	Counters() ([]dataplane.Traffic, error)
}

// NewNodeHandler serves the same paths as NewHandler for a node.
func NewNodeHandler(source NodeSource) http.Handler {
	return newHandler(newNodeCollector(source), source.Ready)
}

// nodeMetrics describes every metric of a node. Each field is a
// *prometheus.Desc.
type nodeMetrics struct {
	packets, bytes, build, ready *prometheus.Desc
}

// nodeCollector makes the metrics of a node anew for each scrape.
type nodeCollector struct {
	source  NodeSource
	reasons func() ([]string, error)
	metrics nodeMetrics
}

func newNodeCollector(source NodeSource) *nodeCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("weir_"+name, help, labels, nil)
	}
	return &nodeCollector{source: source, reasons: sync.OnceValues(dataplane.NodeReasons), metrics: nodeMetrics{
		packets: desc("node_packets_total", "Packets that reached a node, by what became of them.", "reason"),
		bytes:   desc("node_bytes_total", "Bytes that reached a node, as received, by what became of them.", "reason"),
		build:   desc("build_info", "Version of Weir and of Go.", "version", "goversion"),
		ready:   desc("ready", "Whether the node takes packets out of their tunnel."),
	}}
}

// Describe sends the descriptions of all metrics.
func (c *nodeCollector) Describe(out chan<- *prometheus.Desc) { describe(&c.metrics, out) }

// Collect sends all metrics.
func (c *nodeCollector) Collect(out chan<- prometheus.Metric) {
	s, m := sink(out), &c.metrics
	ok, _ := c.source.Ready()
	s.gauge(m.build, 1, c.source.Version(), runtime.Version())
	s.gauge(m.ready, truth(ok))
	traffic, err := c.source.Counters()
	if err != nil {
		out <- prometheus.NewInvalidMetric(m.packets, err)
		return
	}
	names, err := c.reasons()
	if err != nil {
		out <- prometheus.NewInvalidMetric(m.packets, err)
		return
	}
	collectReasons(s, m.packets, m.bytes, names, traffic)
}
