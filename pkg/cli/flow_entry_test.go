// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

func drawAddrPort(t *rapid.T, ipv4 bool, what string) netip.AddrPort {
	n := 16
	if ipv4 {
		n = 4
	}
	addr, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, what))
	return netip.AddrPortFrom(addr, rapid.Uint16().Draw(t, "port"))
}

// What a dump shows as a key of flows4 or flows6 is one for a lookup.
func TestFlowKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ipv4 := rapid.Bool().Draw(t, "ipv4")
		client, vip := drawAddrPort(t, ipv4, "client"), drawAddrPort(t, ipv4, "vip")
		if client.Addr().Is4In6() || vip.Addr().Is4In6() {
			t.Skip("no packet of IPv6 has such an address")
		}
		protocol := rapid.SampledFrom([]lb.Protocol{lb.TCP, lb.UDP}).Draw(t, "protocol")
		text := flowKeyText(client, vip, protocol)
		id, ok := parseFlowKey(text)
		if want := dataplane.NewFlowID(client, vip, protocol); !ok || id != want {
			t.Fatalf("%s is read as %+v, %t; want %+v", text, id, ok, want)
		}
	})
}

// Whatever the limit and the order in which records are found, the same are
// listed in the same order.
func TestFirstFlows(t *testing.T) {
	places := []*flowPlace{{rank: 2}, {rank: 0}, {rank: 1}}
	rapid.Check(t, func(t *rapid.T) {
		flows := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) flowEntry {
			addr := netip.AddrFrom4([4]byte{192, 0, 2, rapid.Byte().Draw(t, "client")})
			return flowEntry{
				client: netip.AddrPortFrom(addr, rapid.Uint16Range(1, 3).Draw(t, "port")),
				vip:    netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, rapid.ByteRange(1, 2).Draw(t, "vip")}), 80),
				place:  rapid.SampledFrom(places).Draw(t, "place"), protocol: lb.TCP,
			}
		}), 0, 60).Draw(t, "flows")
		limit := rapid.IntRange(0, 70).Draw(t, "limit")

		want := slices.Clone(flows)
		slices.SortFunc(want, flowEntry.compare)
		if limit > 0 {
			want = want[:min(limit, len(want))]
		}
		got := firstFlows{limit: limit, compare: flowEntry.compare}
		for _, f := range flows {
			got.add(f)
		}
		got.cut()
		if !slices.Equal(got.kept, want) || got.seen != len(flows) {
			t.Fatalf("kept %v of %d, want %v of %d", got.kept, got.seen, want, len(flows))
		}
	})
}

func TestIdle(t *testing.T) {
	for _, test := range []struct {
		seen, now uint32
		want      time.Duration
	}{
		{1000, 3500, 2500 * time.Millisecond},
		{3500, 3500, 0},
		{3600, 3500, 0},                         // a packet came since the clock was read
		{1<<32 - 500, 500, time.Second},         // the clock begins anew after 49 days
		{500, 1<<32 - 500, 0},                   // and a packet came just after that
		{0, 1<<31 - 1, (1<<31 - 1) * 1_000_000}, // the longest
	} {
		if got := (flowEntry{seen: test.seen}).idle(test.now); got != test.want {
			t.Errorf("seen at %d, %d now: idle for %v, want %v", test.seen, test.now, got, test.want)
		}
	}
}

// Of many names those are shown that somebody who misspelt one may have meant.
func TestNotFoundNamesNearOnes(t *testing.T) {
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("web/443/tcp/web-%02d", i))
	}
	err := notFound("backend", []filter{{text: "web/443/tcp/web-7x"}}, names)
	want := "no backend web/443/tcp/web-7x: there are web/443/tcp/web-70, web/443/tcp/web-71, web/443/tcp/web-72, " +
		"web/443/tcp/web-73, web/443/tcp/web-74, web/443/tcp/web-75, web/443/tcp/web-76, web/443/tcp/web-77, " +
		"web/443/tcp/web-78, web/443/tcp/web-79, ..."
	if err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// A person gets the first of many flows, a program all of them.
func TestFlowLimit(t *testing.T) {
	for line, want := range map[string]int{
		"weir flows":                   defaultFlowLimit,
		"weir flows -o json":           0,
		"weir flows -o yaml":           0,
		"weir flows -o json --limit 7": 7,
		"weir flows --limit 0":         0,
	} {
		app := newApp(&Environment{})
		got := -1
		app.Command("flows").Action = func(c *cli.Context) error {
			q, err := flowQueryOf(c)
			got = q.limit
			return err
		}
		if err := app.Run(arrange(app, strings.Fields(line))); err != nil || got != want {
			t.Errorf("%s: at most %d flows, %v; want %d", line, got, err, want)
		}
	}
}
