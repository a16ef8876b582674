// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// mapView is how one map is shown.
type mapView struct {
	name    string
	what    string // it holds
	key     string // syntax of a key
	example string // of a key

	dump   func(*inspection) (listing, error)
	lookup func(key string) (func(*inspection) (listing, error), error)
}

// mapViews returns the views of all maps, sorted by name.
func mapViews() []mapView {
	views := slices.Concat(steadyViews(), trackingViews())
	slices.SortFunc(views, func(a, b mapView) int { return strings.Compare(a.name, b.name) })
	return views
}

// steadyViews are those of the maps that any packet may meet.
func steadyViews() []mapView {
	return []mapView{
		{
			name: "backend_counters", what: "packets and bytes by backend",
			key: "COUNTER of weir maps dump backends", example: "7",
			dump: dumpBackendCounters, lookup: lookupNumber("backend_counters", "7", findBackendCounter),
		},
		{
			name: "backends", what: "the pools: address, way of forwarding, next hop",
			key: "INDEX", example: "17",
			dump: dumpBackends, lookup: lookupNumber("backends", "17", findBackend),
		},
		{
			name: "listener_cache4", what: "what each CPU keeps of listeners4",
			key: "ADDRESS:PORT/PROTO", example: "203.0.113.10:443/tcp",
			dump: dumpCache4, lookup: lookupCache("listener_cache4", dataplane.IPv4, "203.0.113.10:443/tcp"),
		},
		{
			name: "listener_cache6", what: "what each CPU keeps of listeners6",
			key: "[ADDRESS]:PORT/PROTO", example: "[2001:db8::10]:443/tcp",
			dump: dumpCache6, lookup: lookupCache("listener_cache6", dataplane.IPv6, "[2001:db8::10]:443/tcp"),
		},
		{
			name: "listener_counters", what: "packets and bytes by listener, forwarded and dropped",
			key: "BALANCER/PORT/PROTO", example: "web/443/tcp",
			dump: dumpListenerCounters, lookup: lookupListenerCounter,
		},
		{
			name: "listener_generation", what: "a number that goes up with each change of listeners",
			key: "0", example: "0",
			dump: dumpGeneration, lookup: lookupNumber("listener_generation", "0", findGeneration),
		},
		{
			name: "listeners4", what: "listeners by IPv4 address, port and protocol",
			key: "ADDRESS:PORT/PROTO", example: "203.0.113.10:443/tcp",
			dump: dumpListeners4, lookup: lookupListener("listeners4", "203.0.113.10:443/tcp"),
		},
		{
			name: "listeners6", what: "listeners by IPv6 address, port and protocol",
			key: "[ADDRESS]:PORT/PROTO", example: "[2001:db8::10]:443/tcp",
			dump: dumpListeners6, lookup: lookupListener("listeners6", "[2001:db8::10]:443/tcp"),
		},
		{
			name: "names", what: "labels of balancers and backends",
			key: "balancer/ID or backend/COUNTER", example: "balancer/1",
			dump: dumpNames, lookup: lookupName,
		},
		{
			name: "reason_counters", what: "packets and bytes by what became of them",
			key: "REASON", example: "drop_no_backend",
			dump: dumpReasonCounters, lookup: lookupReason,
		},
		{
			name: "reject_bucket", what: "how many packets each CPU may still answer",
			key: "0", example: "0",
			dump: dumpRejectBucket, lookup: lookupNumber("reject_bucket", "0", findRejectBucket),
		},
		{
			name: "slots", what: "the consistent-hash tables",
			key: "BALANCER/PORT/PROTO/SLOT", example: "web/443/tcp/17",
			dump: dumpSlots, lookup: lookupSlot,
		},
		{
			name: "vips", what: "addresses of balancers",
			key: "ADDRESS", example: "203.0.113.10",
			dump: dumpVIPs, lookup: lookupVIP,
		},
	}
}

// trackingViews are those of the maps that only packets in slots meet that are
// not steady.
func trackingViews() []mapView {
	return []mapView{
		{
			name: "embryonic", what: "backends of flows of which only SYNs were seen, by a hash of the flow",
			key: "INDEX", example: "17",
			dump: dumpEmbryonic, lookup: lookupNumber("embryonic", "17", findEmbryonic),
		},
		{
			name: "flow_cache", what: "what each CPU keeps of flows4 and flows6",
			key: "CLIENT:PORT,ADDRESS:PORT/PROTO", example: flow4Example,
			dump: dumpFlowCache, lookup: lookupFlowCache,
		},
		{
			name: "flow_clock", what: "milliseconds during which there was an agent: the clock of flows",
			key: "0", example: "0",
			dump: dumpFlowClock, lookup: lookupNumber("flow_clock", "0", findFlowClock),
		},
		{
			name: "flow_generation", what: "a number that goes up with each change of a record, and with the clock",
			key: "0", example: "0",
			dump: dumpFlowGeneration, lookup: lookupNumber("flow_generation", "0", findFlowGeneration),
		},
		{
			name: "flows4", what: "backends of the IPv4 flows that a change puts at risk",
			key: "CLIENT:PORT,ADDRESS:PORT/PROTO", example: flow4Example,
			dump: dumpFlows4, lookup: lookupFlow("flows4", dataplane.IPv4, flow4Example),
		},
		{
			name: "flows6", what: "backends of the IPv6 flows that a change puts at risk",
			key: "[CLIENT]:PORT,[ADDRESS]:PORT/PROTO", example: flow6Example,
			dump: dumpFlows6, lookup: lookupFlow("flows6", dataplane.IPv6, flow6Example),
		},
		{
			name: "old_tables", what: "the tables that listeners had before, while flows may go by them",
			key: "BALANCER/PORT/PROTO", example: "web/443/tcp",
			dump: dumpOldTables, lookup: lookupOldTable,
		},
		{
			name: "tracking_counters", what: "packets of slots that are not steady, by what decided on them",
			key: "BALANCER/PORT/PROTO", example: "web/443/tcp",
			dump: dumpTrackingCounters, lookup: lookupTrackingCounter,
		},
	}
}

// findView returns the view of a map.
func findView(name string) (mapView, error) {
	var names []string
	for _, v := range mapViews() {
		if v.name == name {
			return v, nil
		}
		names = append(names, v.name)
	}
	if near, ok := nearest(name, names); ok {
		return mapView{}, usagef("no map %q, did you mean %q?", name, near)
	}
	return mapView{}, usagef("no map %q: there are %s", name, strings.Join(names, ", "))
}

// mapHelp returns a line about each map for a help text.
func mapHelp(text func(mapView) string) string {
	var lines []string
	for _, v := range mapViews() {
		lines = append(lines, fmt.Sprintf("%-19s %s", v.name, text(v)))
	}
	return strings.Join(lines, "\n  ")
}

// badKey says what a key of a map looks like.
func badKey(name, key, example string) error {
	return usagef("%q is no key of %s, whose keys look like %s", key, name, example)
}

// one makes a listing of the one entry that a lookup found, if it did.
func one[T any](name, key string, ok bool, err error, row T, columns []column, cells func(T) []string) (listing, error) {
	if err != nil {
		return listing{}, err
	}
	if !ok {
		return listing{}, fmt.Errorf("%s has no entry %s", name, key)
	}
	l := listOf([]T{row}, columns, cells)
	l.value = row
	return l, nil
}

// parseListener reads the name of a listener.
func parseListener(text string) (lb.ListenerKey, error) {
	filters, err := parseFilters([]string{text}, 3)
	if err != nil {
		return lb.ListenerKey{}, err
	}
	if len(filters[0].parts) != 3 {
		return lb.ListenerKey{}, usagef("%q is no listener: want BALANCER/PORT/PROTO, such as web/443/tcp", text)
	}
	return filters[0].listener()
}

// restrict leaves one listener in an inspection.
func (in *inspection) restrict(key lb.ListenerKey) error {
	i, err := in.find(key)
	if err != nil {
		return err
	}
	in.Listeners = in.Listeners[i : i+1]
	return nil
}

// find returns where in Listeners a listener is.
func (in *inspection) find(key lb.ListenerKey) (int, error) {
	var names []string
	for i, l := range in.Listeners {
		if l.ListenerKey == key {
			return i, nil
		}
		names = append(names, l.ListenerKey.String())
	}
	return 0, notFound("listener", []filter{{text: key.String()}}, names)
}
