// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"reflect"

	"github.com/prometheus/client_golang/prometheus"
)

// agentMetrics describes every metric of an agent. Each field is a
// *prometheus.Desc.
type agentMetrics struct {
	packets, bytes *prometheus.Desc

	listenerPackets, listenerBytes               *prometheus.Desc
	listenerDroppedPackets, listenerDroppedBytes *prometheus.Desc
	listenerSlots, listenerUnsteady              *prometheus.Desc

	decided, broken, overflow  *prometheus.Desc
	flowRecords, flowTableSize *prometheus.Desc
	scanDuration, scanTime     *prometheus.Desc

	backendPackets, backendBytes         *prometheus.Desc
	backendUp, backendSlots, backendMode *prometheus.Desc
	checkDuration, checks                *prometheus.Desc

	mapEntries, mapMaxEntries, mapMemory, mapWrites *prometheus.Desc

	build, ready, configHash, reloadOK, reloadTime, attached *prometheus.Desc
}

func newAgentMetrics() agentMetrics {
	listener := []string{"balancer", "port", "protocol"}
	backend := append(listener, "backend", "address")
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("weir_"+name, help, labels, nil)
	}
	return agentMetrics{
		packets: desc("packets_total", "Packets by what became of them.", "reason"),
		bytes:   desc("bytes_total", "Bytes, from the Ethernet header on as received, by what became of them.", "reason"),

		listenerPackets:        desc("listener_packets_total", "Packets that a listener forwarded.", listener...),
		listenerBytes:          desc("listener_bytes_total", "Bytes that a listener forwarded, as received.", listener...),
		listenerDroppedPackets: desc("listener_dropped_packets_total", "Packets that a listener dropped.", listener...),
		listenerDroppedBytes:   desc("listener_dropped_bytes_total", "Bytes that a listener dropped, as received.", listener...),
		listenerSlots:          desc("listener_slots", "Slots of a listener's consistent-hash table.", listener...),
		listenerUnsteady:       desc("listener_slots_unsteady", "Slots of a listener whose flows are looked up.", listener...),

		decided: desc("listener_decided_packets_total", "Packets of a listener by what decided on their backend.",
			append(listener, "by")...),
		broken: desc("broken_packets_total", "Packets of known flows that had to change backends, by why they had to leave.",
			append(listener, "reason")...),
		overflow:      desc("flow_overflow_total", "Packets of a listener that needed a record of their flow and found no room.", listener...),
		flowRecords:   desc("flow_records", "Records of flows at the agent's last scan.", "family"),
		flowTableSize: desc("flow_table_size", "Records of flows of each family that fit."),
		scanDuration:  desc("flow_last_scan_duration_seconds", "How long the last scan of the records took."),
		scanTime:      desc("flow_last_scan_timestamp_seconds", "When the last scan of the records ended."),

		backendPackets: desc("backend_packets_total", "Packets forwarded to a backend.", backend...),
		backendBytes:   desc("backend_bytes_total", "Bytes forwarded to a backend, as received.", backend...),
		backendUp:      desc("backend_up", "Whether the checks of a backend say that it is up.", backend...),
		backendSlots:   desc("backend_slots", "Slots of the listener that lead to a backend.", backend...),
		backendMode: desc("backend_mode", "The mode that a backend is in, and what set it.",
			append(backend, "mode", "by")...),
		checkDuration: desc("backend_check_duration_seconds", "How long the last check of a backend took.", backend...),
		checks:        desc("backend_checks_total", "Checks of a backend by result.", append(backend, "result")...),

		mapEntries:    desc("map_entries", "Entries of a BPF map that are in use.", "map"),
		mapMaxEntries: desc("map_max_entries", "Entries that a BPF map can hold.", "map"),
		mapMemory:     desc("map_memory_bytes", "Memory that the kernel has for a BPF map.", "map"),
		mapWrites:     desc("map_writes_total", "Entries and slots of BPF maps written by this agent."),

		build:      desc("build_info", "Version of Weir and of Go.", "version", "goversion"),
		ready:      desc("ready", "Whether the agent serves traffic."),
		configHash: desc("config_hash_info", "Hash of the running configuration.", "hash"),
		reloadOK:   desc("config_last_reload_successful", "Whether the last change of the configuration was made."),
		reloadTime: desc("config_last_reload_timestamp_seconds", "When the configuration was last changed, or was to be."),
		attached:   desc("interface_attached", "Whether the program is on an interface, and in which mode.", "interface", "mode"),
	}
}

func (m *agentMetrics) describe(out chan<- *prometheus.Desc) { describe(m, out) }

// describe sends the fields of a struct of descriptions.
func describe(metrics any, out chan<- *prometheus.Desc) {
	fields := reflect.ValueOf(metrics).Elem()
	for i := range fields.NumField() {
		out <- (*prometheus.Desc)(fields.Field(i).UnsafePointer())
	}
}

// sink is where metrics go.
type sink chan<- prometheus.Metric

func (s sink) counter(d *prometheus.Desc, value uint64, labels ...string) {
	s.send(d, prometheus.CounterValue, float64(value), labels)
}

func (s sink) gauge(d *prometheus.Desc, value float64, labels ...string) {
	s.send(d, prometheus.GaugeValue, value, labels)
}

// send fails the scrape where a label is no text that Prometheus takes.
func (s sink) send(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels []string) {
	m, err := prometheus.NewConstMetric(d, kind, value, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	s <- m
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
