// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

const (
	flagClient = "client"
	flagCount  = "count"
	flagLimit  = "limit"

	defaultFlowLimit = 1000
)

func flowsCommand(env *Environment) *cli.Command {
	return &cli.Command{
		Name:      "flows",
		Usage:     "list the flows that the kernel has recorded, or count them by backend",
		UsageText: "weir flows [FLAGS] [BALANCER[/PORT[/PROTO[/BACKEND]]]]...",
		Category:  groupLook,
		Description: `Often there are none, and that is well: flows are recorded only while a change
puts them at risk. As long as backends stay as they are, the table of a listener
says where a packet goes, and nothing is kept of it. When a backend comes, goes,
drains or changes its weight, the flows in the slots that move are recorded with
their next packet, until they end or the table leads to where they are anyhow.

BACKEND is where the packets of the flow go; of a backend that was removed the
record is all that is left to see. STATE is that of a TCP flow: established, or
closing once its client has said that it is done. IDLE is how long the flow has
been silent, by a clock that stands still while there is no agent. A #NUMBER is a
listener, or a place in its pool, that is no longer there.

The list is read from the pinned maps, also without an agent. With --count it has
how many flows there are on each backend, for instance on one that drains; these
are always all that are recorded. A backend that is named has a line also with 0
flows. A flow that was silent since the change is not recorded yet: a drained
backend is empty when its count is 0 and idle_timeout has passed.

Examples:
  weir flows web/443/tcp
  weir flows --client 192.0.2.0/24 -o json
  weir flows --count web/443/tcp/web-1`,
		Flags: append(listingFlags(),
			&cli.StringFlag{Name: flagClient, Usage: "`PREFIX` or address that clients must have"},
			&cli.BoolFlag{Name: flagCount, Usage: "count the flows by backend"},
			&cli.StringFlag{Name: flagLimit, Usage: "`N` flows at most, 0 for all (default: " + strconv.Itoa(defaultFlowLimit) + " in a table, else all)"},
		),
		Action: func(c *cli.Context) error {
			q, err := flowQueryOf(c)
			if err != nil {
				return err
			}
			return env.inspect(c, func(in *inspection) (listing, error) { return q.run(env, in) })
		},
	}
}

// flowQuery is what a command line asks of flows.
type flowQuery struct {
	filters []filter
	client  netip.Prefix // not valid: any
	count   bool
	limit   int // 0 for all
}

func flowQueryOf(c *cli.Context) (q flowQuery, err error) {
	q.count, q.limit = c.Bool(flagCount), defaultFlowLimit
	if q.filters, err = parseFilters(c.Args().Slice(), 4); err != nil {
		return q, err
	}
	if c.IsSet(flagClient) {
		if q.client, err = parsePrefix(c.String(flagClient)); err != nil {
			return q, err
		}
	}
	if !c.IsSet(flagLimit) {
		if c.String(flagOutput) != string(formatTable) {
			q.limit = 0 // a program must not take some for all
		}
		return q, nil
	}
	if q.count {
		return q, usagef("--count counts all flows: leave --limit out")
	}
	if q.limit, err = strconv.Atoi(c.String(flagLimit)); err != nil || q.limit < 0 {
		return q, usagef("--limit %s: want how many flows to list, such as 1000, or 0 for all", c.String(flagLimit))
	}
	return q, nil
}

// parsePrefix reads an address or the prefix of addresses.
func parsePrefix(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if addr, addrErr := netip.ParseAddr(text); addrErr == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil || prefix.Addr().Is4In6() {
		return prefix, usagef("--client %s: want an address or a prefix, such as 192.0.2.1 or 2001:db8::/32", text)
	}
	return prefix.Masked(), nil
}

// run reads the records that a query is about.
func (q flowQuery) run(env *Environment, in *inspection) (listing, error) {
	if err := checkPlaces(in, q.filters); err != nil {
		return listing{}, err
	}
	places := in.flowPlaces()
	chosen := make(map[*flowPlace]bool)
	first := firstFlows{limit: q.limit, compare: flowEntry.compare}
	counts := make(flowCounts)
	total := 0
	err := in.tables.ScanFlows(func(batch []dataplane.Flow) error {
		total += len(batch)
		for i := range batch {
			e := places.entry(&batch[i])
			matches, known := chosen[e.place]
			if !known {
				matches = q.names(e.place)
				chosen[e.place] = matches
			}
			switch {
			case !matches || q.client.IsValid() && !q.client.Contains(e.client.Addr()):
			case q.count:
				counts.add(e)
			default:
				first.add(e)
			}
		}
		return nil
	})
	if err != nil {
		return listing{}, err
	}
	silent := q.count && q.unsteady(in)
	switch {
	case silent:
		env.note("flows that have been silent since the change are not counted yet: they are within idle_timeout after it")
	case total == 0:
		env.note("no flow is recorded: that happens only while a change puts flows at risk")
	}
	if q.count {
		counts.addNamed(q, places)
		return counts.listing(), nil
	}
	now, err := in.tables.FlowClock() // after the records: none is younger than none
	if err != nil {
		return listing{}, err
	}
	first.cut()
	if more := first.seen - len(first.kept); more > 0 {
		env.note("%s more: --limit 0 lists all", plural(more, "flow"))
	}
	return flowListing(first.kept, now), nil
}

// names reports whether a query names a place.
func (q flowQuery) names(p *flowPlace) bool {
	return len(q.filters) == 0 || p.names != nil && slices.ContainsFunc(q.filters, func(f filter) bool {
		return f.matches(p.names, p.backend, p.address)
	})
}

// unsteady reports whether a change has put flows at risk that a query is about.
func (q flowQuery) unsteady(in *inspection) bool {
	return slices.ContainsFunc(in.Listeners, func(l dataplane.ListenerState) bool {
		return l.Unsteady > 0 && (len(q.filters) == 0 || slices.ContainsFunc(q.filters, func(f filter) bool {
			return f.ofListener(l.ListenerKey)
		}))
	})
}

// checkPlaces refuses filters that name nothing, which are likely misspelt. What
// they name may well have no flows.
func checkPlaces(in *inspection, filters []filter) error {
	var ofListeners, ofBackends []filter
	for _, f := range filters {
		if len(f.parts) == 4 {
			ofBackends = append(ofBackends, f)
		} else {
			ofListeners = append(ofListeners, f)
		}
	}
	var names []string
	for _, l := range in.Listeners {
		names = append(names, l.ListenerKey.String())
	}
	_, unused := choose(ofListeners, in.Listeners, func(f filter, l dataplane.ListenerState) bool {
		return f.matches(listenerName(l.ListenerKey))
	})
	if len(unused) > 0 {
		return notFound("listener", unused, names)
	}
	names = nil
	for _, b := range in.Backends {
		names = append(names, b.Listener.String()+"/"+b.Label)
	}
	_, unused = choose(ofBackends, in.Backends, func(f filter, b dataplane.BackendState) bool {
		return f.matches(listenerName(b.Listener), b.Label, b.Address.String())
	})
	if len(unused) > 0 {
		return notFound("backend", unused, names)
	}
	return nil
}

// flowRow is the record of a flow.
type flowRow struct {
	Client   netip.AddrPort `json:"client"`
	VIP      netip.AddrPort `json:"vip"`
	Protocol lb.Protocol    `json:"protocol"`
	Listener string         `json:"listener"`
	Backend  string         `json:"backend"`
	Address  string         `json:"address,omitempty"` // of the backend; absent if it is no longer there
	State    string         `json:"state,omitempty"`   // absent for udp
	Idle     int64          `json:"idle_ms"`
}

func (e flowEntry) state() string {
	switch {
	case e.protocol != lb.TCP:
		return ""
	case e.closing:
		return "closing"
	}
	return "established"
}

// flowListing lists records. now is the time by FlowClock.
func flowListing(flows []flowEntry, now uint32) listing {
	return listing{long: &longListing{
		rows: len(flows),
		columns: []column{
			{name: "CLIENT"}, {name: "VIP"}, {name: "PROTO"}, {name: "LISTENER"}, {name: "BACKEND"}, {name: "STATE"},
			{name: "IDLE", right: true},
		},
		cells: func(i int) []string {
			e := flows[i]
			return []string{
				e.client.String(), e.vip.String(), e.protocol.String(), e.place.listener, e.place.backend, orDash(e.state()),
				e.idle(now).Round(time.Second / 10).String(),
			}
		},
		value: func(i int) any {
			e := flows[i]
			return flowRow{
				Client: e.client, VIP: e.vip, Protocol: e.protocol, Listener: e.place.listener, Backend: e.place.backend,
				Address: e.place.address, State: e.state(), Idle: e.idle(now).Milliseconds(),
			}
		},
	}}
}

// flowCountRow is how many records name a backend.
type flowCountRow struct {
	Listener string `json:"listener"`
	Backend  string `json:"backend"`
	Address  string `json:"address,omitempty"` // absent if it is no longer there
	Flows    int    `json:"flows"`
	Closing  int    `json:"closing"` // of these, the ones whose client is done
}

// flowCounts counts records by place.
type flowCounts map[*flowPlace]*flowCountRow

func (c flowCounts) add(e flowEntry) {
	row := c[e.place]
	if row == nil {
		row = &flowCountRow{Listener: e.place.listener, Backend: e.place.backend, Address: e.place.address}
		c[e.place] = row
	}
	row.Flows++
	if e.state() == "closing" {
		row.Closing++
	}
}

// addNamed adds the backends that a query names one by one: that one of them has
// no flows is an answer too.
func (c flowCounts) addNamed(q flowQuery, places flowPlaces) {
	for _, p := range places {
		if p.address == "" || c[p] != nil {
			continue
		}
		if slices.ContainsFunc(q.filters, func(f filter) bool {
			return len(f.parts) == 4 && f.matches(p.names, p.backend, p.address)
		}) {
			c[p] = &flowCountRow{Listener: p.listener, Backend: p.backend, Address: p.address}
		}
	}
}

func (c flowCounts) listing() listing {
	var places []*flowPlace
	for place := range c {
		places = append(places, place)
	}
	slices.SortFunc(places, func(a, b *flowPlace) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), strings.Compare(a.backend, b.backend), strings.Compare(a.address, b.address),
			cmp.Compare(a.poolIndex, b.poolIndex))
	})
	var rows []flowCountRow
	for _, place := range places {
		row := c[place]
		// A pool has a backend twice while the way of forwarding to it changes.
		if n := len(rows) - 1; n >= 0 && row.Address != "" && rows[n].Listener == row.Listener &&
			rows[n].Backend == row.Backend && rows[n].Address == row.Address {
			rows[n].Flows += row.Flows
			rows[n].Closing += row.Closing
			continue
		}
		rows = append(rows, *row)
	}
	columns := []column{
		{name: "LISTENER"}, {name: "BACKEND"}, {name: "ADDRESS"}, {name: "FLOWS", right: true}, {name: "CLOSING", right: true},
	}
	return listOf(rows, columns, func(r flowCountRow) []string {
		return []string{r.Listener, r.Backend, orDash(r.Address), strconv.Itoa(r.Flows), strconv.Itoa(r.Closing)}
	})
}
