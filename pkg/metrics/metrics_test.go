// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// fakeAgent is the agent and its tables.
type fakeAgent struct {
	status      control.Status
	conditions  map[control.BackendKey]control.Condition
	snapshot    *dataplane.Snapshot
	reasons     []dataplane.Traffic
	maps        []dataplane.MapInfo
	counted     []dataplane.FlowCounts // that maps were asked for with
	snapshotErr error
}

func (a *fakeAgent) Status() control.Status { return a.status }

func (a *fakeAgent) Conditions() map[control.BackendKey]control.Condition { return a.conditions }

func (a *fakeAgent) Tables() *dataplane.Tables { return nil }

func (a *fakeAgent) Snapshot() (*dataplane.Snapshot, error) { return a.snapshot, a.snapshotErr }

func (a *fakeAgent) ReasonCounters() ([]dataplane.Traffic, error) { return a.reasons, nil }

func (a *fakeAgent) MapsOf(flows dataplane.FlowCounts) ([]dataplane.MapInfo, error) {
	a.counted = append(a.counted, flows)
	return a.maps, nil
}

func (a *fakeAgent) Writes() uint64 { return 1234 }

func (a *fakeAgent) handler() http.Handler {
	return newHandler(newAgentCollector(a, a), func() (bool, string) { return a.status.Ready, a.status.NotReady })
}

func webAgent() *fakeAgent {
	key := lb.ListenerKey{Balancer: "web", Port: 443, Protocol: lb.TCP}
	first, second := netip.MustParseAddrPort("10.0.0.11:8443"), netip.MustParseAddrPort("[2001:db8:1::12]:8443")
	gone := netip.MustParseAddrPort("10.0.0.10:8443") // no longer configured, and still in the tables
	return &fakeAgent{
		status: control.Status{
			Version: "v1", Ready: true,
			Config: control.ConfigStatus{Hash: "0123456789ab", LastReload: time.UnixMilli(1_700_000_000_500), ReloadOK: true},
			Interfaces: []control.InterfaceStatus{
				{Name: "eth0", Index: 2, Mode: dataplane.Native}, {Name: "eth1"},
			},
			Tracking: control.TrackingStatus{
				Records4: 17, Records6: 6, TableSize: 1000, Embryonic: 5,
				Scanned: time.UnixMilli(1_700_000_001_250), Scan: 12 * time.Millisecond,
			},
		},
		conditions: map[control.BackendKey]control.Condition{
			{Listener: key, Address: first.String()}:  {Health: lb.HealthUp, Check: 1500 * time.Microsecond, Successes: 7, Failures: 2},
			{Listener: key, Address: second.String()}: {Health: lb.HealthDown, Check: 2500 * time.Microsecond, Failures: 3},
		},
		snapshot: &dataplane.Snapshot{
			Listeners: []dataplane.ListenerState{{
				ListenerKey: key, Entry: dataplane.Listener{TableSize: 251}, Unsteady: 40,
				Forwarded: dataplane.Traffic{Packets: 12, Bytes: 3456}, Dropped: dataplane.Traffic{Packets: 1, Bytes: 60},
				Tracking: dataplane.TrackingTraffic{
					New: 4, Record: 3, Previous: 2, Current: 1, Overflow: 6, Broken: [8]uint64{dataplane.Down: 1},
				},
			}},
			Backends: []dataplane.BackendState{
				{Listener: key, Label: "web-1", Slots: 200, Traffic: dataplane.Traffic{Packets: 10, Bytes: 3000},
					Backend: dataplane.Backend{Address: first, Forward: lb.IPIP, Health: lb.HealthUp}},
				{Listener: key, Label: "web-1", Slots: 51, Traffic: dataplane.Traffic{Packets: 2, Bytes: 456},
					Backend: dataplane.Backend{Address: first, Forward: lb.DSR, Health: lb.HealthUp, Unusable: dataplane.Removed}},
				{Listener: key, Label: "gone", Backend: dataplane.Backend{Address: gone, Forward: lb.DSR, Health: lb.HealthDown}},
				{Listener: key, Label: "web-2", Backend: dataplane.Backend{
					Address: second, Forward: lb.DSR, Health: lb.HealthDown, Mode: lb.ModeDrain,
				}},
			},
		},
		reasons: []dataplane.Traffic{7: {Packets: 12, Bytes: 3456}, 13: {}},
		maps:    []dataplane.MapInfo{{Name: "slots", Entries: 256, MaxEntries: 1024, Memory: 4096}},
	}
}

// fakeNode is a node that has decapsulated one packet.
type fakeNode struct{ why string }

func (fakeNode) Version() string { return "v1" }

func (n fakeNode) Ready() (bool, string) { return n.why == "", n.why }

func (fakeNode) Counters() ([]dataplane.Traffic, error) {
	return []dataplane.Traffic{4: {Packets: 1, Bytes: 118}, 7: {}}, nil
}

// get returns the answer to a request as status and text.
func get(t *testing.T, h http.Handler, method, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code, w.Body.String()
}

// ours returns the samples of Weir's own metrics.
func ours(text string) (samples []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "weir_") && !strings.HasPrefix(line, "weir_build_info") {
			samples = append(samples, strings.TrimSpace(line))
		}
	}
	return samples
}

// reasonSamples are those of reasons: webAgent has forwarded packets, and has
// all other reasons with 0.
func reasonSamples() []string {
	var reasons []string
	for name, want := range map[string][2]string{"weir_packets_total": {"12", "0"}, "weir_bytes_total": {"3456", "0"}} {
		for _, reason := range []string{
			"pass_not_ip", "pass_malformed", "pass_not_ours", "pass_no_listener", "pass_icmp", "echo_reply", "forwarded",
			"drop_fragment", "drop_no_backend", "drop_no_nexthop", "drop_too_big", "aborted_headroom", "aborted_bad_table",
		} {
			value := want[1]
			if reason == "forwarded" {
				value = want[0]
			}
			reasons = append(reasons, name+`{reason="`+reason+`"} `+value)
		}
	}
	return reasons
}

func TestAgentMetrics(t *testing.T) {
	agent := webAgent()
	code, text := get(t, agent.handler(), http.MethodGet, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("status %d: %s", code, text)
	}
	const listener, backend = `balancer="web",port="443",protocol="tcp"`, `address="10.0.0.11:8443",backend="web-1",`
	const down = `address="[2001:db8:1::12]:8443",backend="web-2",`
	want := append(reasonSamples(),
		"weir_listener_packets_total{"+listener+"} 12", "weir_listener_bytes_total{"+listener+"} 3456",
		"weir_listener_dropped_packets_total{"+listener+"} 1", "weir_listener_dropped_bytes_total{"+listener+"} 60",
		"weir_listener_slots{"+listener+"} 251", "weir_listener_slots_unsteady{"+listener+"} 40",
		`weir_listener_decided_packets_total{balancer="web",by="steady",port="443",protocol="tcp"} 3`, // 13 packets without the others
		`weir_listener_decided_packets_total{balancer="web",by="new",port="443",protocol="tcp"} 4`,
		`weir_listener_decided_packets_total{balancer="web",by="record",port="443",protocol="tcp"} 3`,
		`weir_listener_decided_packets_total{balancer="web",by="previous",port="443",protocol="tcp"} 2`,
		`weir_listener_decided_packets_total{balancer="web",by="current",port="443",protocol="tcp"} 1`,
		"weir_broken_packets_total{"+listener+`,reason="down"} 1`, "weir_broken_packets_total{"+listener+`,reason="drained"} 0`,
		"weir_broken_packets_total{"+listener+`,reason="rejected"} 0`, "weir_broken_packets_total{"+listener+`,reason="removed"} 0`,
		"weir_broken_packets_total{"+listener+`,reason="unreachable"} 0`,
		"weir_flow_overflow_total{"+listener+"} 6", "weir_flow_table_size 1000",
		`weir_flow_records{family="ipv4"} 17`, `weir_flow_records{family="ipv6"} 6`,
		`weir_flow_last_scan_duration_seconds 0.012`, `weir_flow_last_scan_timestamp_seconds 1.70000000125e+09`,
		"weir_backend_packets_total{"+backend+listener+"} 12", "weir_backend_bytes_total{"+backend+listener+"} 3456",
		`weir_backend_mode{address="10.0.0.11:8443",backend="web-1",balancer="web",by="configuration",mode="accept",port="443",protocol="tcp"} 1`,
		`weir_backend_mode{address="[2001:db8:1::12]:8443",backend="web-2",balancer="web",by="command",mode="drain",port="443",protocol="tcp"} 1`,
		"weir_backend_up{"+backend+listener+"} 1", "weir_backend_slots{"+backend+listener+"} 251",
		"weir_backend_check_duration_seconds{"+backend+listener+"} 0.0015",
		"weir_backend_checks_total{"+backend+listener+`,result="success"} 7`,
		"weir_backend_checks_total{"+backend+listener+`,result="failure"} 2`,
		"weir_backend_packets_total{"+down+listener+"} 0", "weir_backend_bytes_total{"+down+listener+"} 0",
		"weir_backend_check_duration_seconds{"+down+listener+"} 0.0025",
		"weir_backend_checks_total{"+down+listener+`,result="success"} 0`,
		"weir_backend_checks_total{"+down+listener+`,result="failure"} 3`,
		"weir_backend_up{"+down+listener+"} 0", "weir_backend_slots{"+down+listener+"} 0",
		`weir_map_entries{map="slots"} 256`, `weir_map_max_entries{map="slots"} 1024`,
		`weir_map_memory_bytes{map="slots"} 4096`, `weir_map_writes_total 1234`,
		`weir_ready 1`, `weir_config_hash_info{hash="0123456789ab"} 1`,
		`weir_config_last_reload_successful 1`, `weir_config_last_reload_timestamp_seconds 1.7000000005e+09`,
		`weir_interface_attached{interface="eth0",mode="native"} 1`, `weir_interface_attached{interface="eth1",mode=""} 0`,
	)
	got := ours(text)
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A scrape counts no records: there may be a million.
	if diff := cmp.Diff([]dataplane.FlowCounts{{Flows4: 17, Flows6: 6, Embryonic: 5}}, agent.counted); diff != "" {
		t.Errorf("maps were asked for with (-want +got):\n%s", diff)
	}
}

// Before the first scan there is none to tell of.
func TestNotScannedYet(t *testing.T) {
	agent := webAgent()
	agent.status.Tracking = control.TrackingStatus{TableSize: 1000}
	_, text := get(t, agent.handler(), http.MethodGet, "/metrics")
	if strings.Contains(text, "weir_flow_last_scan") || !strings.Contains(text, "\nweir_flow_records{family=\"ipv4\"} 0\n") {
		t.Errorf("want records and no scan, got:\n%s", text)
	}
}

func TestNodeMetrics(t *testing.T) {
	_, text := get(t, NewNodeHandler(fakeNode{}), http.MethodGet, "/metrics")
	for _, want := range []string{
		`weir_node_packets_total{reason="decapsulated"} 1`, `weir_node_bytes_total{reason="decapsulated"} 118`,
		`weir_node_packets_total{reason="pass_not_ours"} 0`, `weir_ready 1`,
	} {
		if !slices.Contains(ours(text), want) {
			t.Errorf("no %s in:\n%s", want, text)
		}
	}
}

// A metric that cannot be read fails the scrape, and not the agent.
func TestScrapeFails(t *testing.T) {
	unreadable, badLabel := webAgent(), webAgent()
	unreadable.snapshotErr = errors.New("reading slots: bad file descriptor")
	badLabel.snapshot.Listeners[0].Balancer = "\xff"
	for want, agent := range map[string]*fakeAgent{"bad file descriptor": unreadable, "not valid UTF-8": badLabel} {
		code, text := get(t, agent.handler(), http.MethodGet, "/metrics")
		if code != http.StatusInternalServerError || !strings.Contains(text, want) {
			t.Errorf("status %d: %q, want 500 and %q", code, text, want)
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	agent := webAgent()
	waiting := webAgent()
	waiting.status.Ready, waiting.status.NotReady = false, "waiting for the first checks of 3 of 4 targets"
	for _, test := range []struct {
		handler      http.Handler
		method, path string
		code         int
		want         string
	}{
		{agent.handler(), "GET", "/healthz", 200, "alive\n"},
		{agent.handler(), "GET", "/readyz", 200, "ready\n"},
		{waiting.handler(), "GET", "/healthz", 200, "alive\n"},
		{waiting.handler(), "GET", "/readyz", 503, "not ready: waiting for the first checks of 3 of 4 targets\n"},
		{NewNodeHandler(fakeNode{why: "eth0 does not exist"}), "GET", "/readyz", 503, "not ready: eth0 does not exist\n"},
		{agent.handler(), "POST", "/metrics", 405, "Method Not Allowed\n"},
		{agent.handler(), "GET", "/", 404, "404 page not found\n"},
	} {
		if code, text := get(t, test.handler, test.method, test.path); code != test.code || text != test.want {
			t.Errorf("%s %s: %d %q, want %d %q", test.method, test.path, code, text, test.code, test.want)
		}
	}
}

// Names, help and units follow Prometheus' conventions.
func TestLint(t *testing.T) {
	for _, h := range []http.Handler{webAgent().handler(), NewNodeHandler(fakeNode{})} {
		_, text := get(t, h, http.MethodGet, "/metrics")
		problems, err := promlint.New(strings.NewReader(text)).Lint()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// docs/metrics.md names each metric with its labels, and no other.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(weir_[^`]*)` \\|").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, m[1])
	}
	exported := make(map[string]bool)
	for _, h := range []http.Handler{webAgent().handler(), NewNodeHandler(fakeNode{})} {
		_, text := get(t, h, http.MethodGet, "/metrics")
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "weir_") {
				exported[withoutValues(line)] = true
			}
		}
	}
	for _, name := range documented {
		if !exported[name] {
			t.Errorf("docs/metrics.md has %s, which is not exported", name)
		}
		delete(exported, name)
	}
	for name := range exported {
		t.Errorf("docs/metrics.md lacks %s", name)
	}
}

// withoutValues returns a sample's name and the sorted names of its labels.
func withoutValues(sample string) string {
	name, _, _ := strings.Cut(strings.TrimSpace(sample), " ")
	name = regexp.MustCompile(`="[^"]*"`).ReplaceAllString(name, "")
	before, labels, ok := strings.Cut(name, "{")
	if !ok {
		return name
	}
	list := strings.Split(strings.TrimSuffix(labels, "}"), ",")
	slices.Sort(list)
	return before + "{" + strings.Join(list, ",") + "}"
}
