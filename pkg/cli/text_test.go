// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

func TestArrange(t *testing.T) {
	app := newApp(&Environment{})
	for line, want := range map[string]string{
		"weir":                                  "weir --",
		"weir backends":                         "weir backends --",
		"weir backends web -o json":             "weir backends -o json -- web",
		"weir backends web --output=json dns":   "weir backends --output=json -- web dns",
		"weir -o json backends web":             "weir backends -o json -- web",
		"weir check -":                          "weir check -- -",
		"weir check -- --odd-name":              "weir check -- --odd-name",
		"weir maps -o yaml dump slots":          "weir maps dump -o yaml -- slots",
		"weir maps lookup slots web/443/tcp/1":  "weir maps lookup -- slots web/443/tcp/1",
		"weir maps dump dump":                   "weir maps dump -- dump",
		"weir help maps dump":                   "weir help -- maps dump",
		"weir backends web --help -o json":      "weir backends --help",
		"weir nonsense --help":                  "weir nonsense",
		"weir --help":                           "weir --help",
		"weir backends web -o":                  "weir backends -o",
		"weir backends --nonsense web":          "weir backends --nonsense -- web",
		"weir node --vip 203.0.113.10 2001:db8": "weir node --vip 203.0.113.10 -- 2001:db8",
	} {
		if got := strings.Join(arrange(app, strings.Fields(line)), " "); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", line, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"agent", "apply", "status", "backends", "balancers"}
	for name, want := range map[string]string{
		"stauts": "status", "backend": "backends", "balancer": "balancers", "bal": "balancers", "aply": "apply",
		"frobnicate": "", "": "", "x": "",
	} {
		if got, _ := nearest(name, words); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestListenerProblems(t *testing.T) {
	listeners := []control.ListenerRow{
		{Balancer: "all-down", OnAllDown: lb.AllDownOpen}, {Balancer: "closed", OnAllDown: lb.AllDownDrop},
		{Balancer: "empty"}, {Balancer: "well"},
	}
	backends := []control.BackendRow{
		{Balancer: "all-down", Slots: 100, Health: lb.HealthDown}, {Balancer: "all-down", Slots: 99, Health: lb.HealthDown},
		{Balancer: "closed", Health: lb.HealthDown},
		{Balancer: "well", Slots: 251, Health: lb.HealthUp}, {Balancer: "well", Health: lb.HealthDown},
	}
	for i := range listeners {
		listeners[i].Port, listeners[i].Protocol = 80, lb.TCP
	}
	for i := range backends {
		backends[i].Port, backends[i].Protocol = 80, lb.TCP
	}
	want := []string{
		"listener all-down/80/tcp: no backend is up; on_all_down: open sends to all of them",
		"listener closed/80/tcp: no backend takes new flows", "listener empty/80/tcp: no backend takes new flows",
	}
	if diff := cmp.Diff(want, listenerProblems(listeners, backends)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 30: "5.0 GiB", 1<<64 - 1: "16.0 EiB",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		-time.Second: "less than a minute", 59 * time.Second: "less than a minute", 61 * time.Second: "1m",
		3*time.Hour + 12*time.Minute: "3h12m", 49 * time.Hour: "2d1h",
	} {
		if got := uptimeText(d); got != want {
			t.Errorf("uptimeText(%v) = %q, want %q", d, got, want)
		}
	}
	if got := percentText(1, 3) + percentText(0, 0); got != "33.3%0.0%" {
		t.Errorf("percentText: %q", got)
	}
}

func TestTableProblems(t *testing.T) {
	listener := func(port uint16, overflow uint64) control.ListenerRow {
		return control.ListenerRow{Balancer: "web", Port: port, Protocol: lb.TCP, Tracking: control.TrackingRow{Overflow: overflow}}
	}
	const remedy = "what is not recorded may break when slots settle: raise agent.flow_table_size, see docs/tracking.md"
	status := control.TrackingStatus{
		TableSize: 1024, Records4: 1023, Records6: 1024, OverflowBefore: map[string]uint64{"web/1/tcp": 5, "web/2/tcp": 5, "web/3/tcp": 5},
	}
	got := tableProblems(status, []control.ListenerRow{listener(1, 5), listener(2, 6), listener(3, 2), listener(4, 3), listener(5, 0)})
	want := []string{
		"listener web/2/tcp: 1 packet found no room for a record since the agent started; " + remedy,
		"listener web/3/tcp: 2 packets found no room for a record since the agent started; " + remedy,
		"listener web/4/tcp: 3 packets found no room for a record since the agent started; " + remedy,
		"the flow table is full, with 1024 records of 1024; " + remedy,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := tableProblems(control.TrackingStatus{}, nil); got != nil {
		t.Errorf("of an agent that does not say: %q", got)
	}
}

func TestModeText(t *testing.T) {
	report := control.ModeReport{
		Balancer: "web", Port: 443, Protocol: lb.TCP, Backend: "web-2", Address: netip.MustParseAddrPort("10.0.0.12:8443"),
		Before: lb.ModeReject, Mode: lb.ModeBackup, Configured: lb.ModeBackup,
	}
	const want = "web/443/tcp/web-2 (10.0.0.12:8443): was reject, is backup now; 0 slots changed; " +
		"a backup as the configuration says, which weir accept gives back as one\n"
	if got := modeText(report); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestTrackingText(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	env := &Environment{Now: func() time.Time { return now }}
	for want, status := range map[string]control.TrackingStatus{
		"all slots steady; records: 0 IPv4, 0 IPv6, of 1000 each; 0 embryonic; not scanned yet": {TableSize: 1000},
		"1 slot unsteady; records: 3 IPv4, 2 IPv6, of 1000 each; 4 embryonic; last scan 2m ago, in less than 1ms": {
			Unsteady: 1, Records4: 3, Records6: 2, TableSize: 1000, Embryonic: 4,
			Scanned: now.Add(-2 * time.Minute), Scan: 40 * time.Microsecond,
		},
	} {
		if got := env.trackingText(status); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestTable(t *testing.T) {
	table := table{
		columns: []column{{name: "NAME"}, {name: "N", right: true}, {name: "HEALTH", colour: healthColour}, {name: "LAST"}},
		rows:    [][]string{{"a", "1", "up", ""}, {"größer", "1000", "down", "x"}},
	}
	want := "NAME       N  HEALTH  LAST\n" +
		"a          1  up\n" +
		"größer  1000  down    x\n"
	if diff := cmp.Diff(want, table.text(false)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	coloured := strings.NewReplacer("up", "\x1b[32mup\x1b[0m", "down", "\x1b[31mdown\x1b[0m").Replace(want)
	if diff := cmp.Diff(coloured, table.text(true)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Strings that look like something else stay strings in YAML.
func TestYAML(t *testing.T) {
	got, err := yamlText(struct {
		A string   `json:"a"`
		B string   `json:"b"`
		C string   `json:"c"`
		D uint64   `json:"d"`
		E []string `json:"e"`
		F *int     `json:"f"`
		G string   `json:"g"`
	}{A: "true", B: "12", C: "2026-01-02T03:04:05Z", D: 1<<64 - 1, E: []string{}, G: "a: b # c"})
	if err != nil {
		t.Fatal(err)
	}
	want := "a: \"true\"\nb: \"12\"\nc: \"2026-01-02T03:04:05Z\"\nd: 18446744073709551615\ne: []\nf: null\ng: 'a: b # c'\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What a dump shows as a key is one for a lookup.
func TestEntryKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var addr netip.Addr
		if rapid.Bool().Draw(t, "ipv4") {
			addr = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")))
		} else {
			addr = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address"))).Unmap()
		}
		want := dataplane.ListenerKey{
			Address: addr, Port: rapid.Uint16().Draw(t, "port"),
			Protocol: rapid.SampledFrom([]lb.Protocol{lb.TCP, lb.UDP}).Draw(t, "protocol"),
		}
		got, ok := parseEntryKey(entryKeyText(want))
		if !ok || got != want {
			t.Fatalf("%s is read as %+v, %t; want %+v", entryKeyText(want), got, ok, want)
		}
	})
}
