// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// flowEntry is the record of a flow, as small as a million of them should be.
type flowEntry struct {
	client, vip netip.AddrPort
	place       *flowPlace
	seen, hash  uint32
	protocol    lb.Protocol
	closing     bool
}

// compare orders records by listener, client and VIP.
func (e flowEntry) compare(o flowEntry) int {
	if e.place != o.place {
		if c := cmp.Compare(e.place.rank, o.place.rank); c != 0 {
			return c
		}
	}
	return e.compareFlow(o)
}

// compareFlow orders records by client and VIP.
func (e flowEntry) compareFlow(o flowEntry) int {
	if c := e.client.Compare(o.client); c != 0 {
		return c
	}
	if c := e.vip.Compare(o.vip); c != 0 {
		return c
	}
	return cmp.Compare(e.protocol, o.protocol)
}

// idle returns for how long the flow has been silent. now is the time by
// FlowClock; a packet that came since it was read does not make it negative.
func (e flowEntry) idle(now uint32) time.Duration {
	return max(0, time.Duration(int32(now-e.seen))*time.Millisecond)
}

// flowPlace is a backend of a listener, as records name it, in words.
type flowPlace struct {
	listenerID uint32
	poolIndex  uint16
	rank       int64  // of the listener in sorted listings
	listener   string // #ID if it is not there any more
	backend    string // label; #INDEX if it is not in the pool any more
	address    string // empty then
	names      []string
}

// flowPlaces finds the places of records.
type flowPlaces map[placeKey]*flowPlace

type placeKey struct {
	listener uint32
	backend  uint16
}

// flowPlaces returns the places of all backends that the tables hold, also of
// those that were removed and whose flows go on.
func (in *inspection) flowPlaces() flowPlaces {
	places := make(flowPlaces)
	ids := make(map[lb.ListenerKey]uint32)
	for rank, l := range in.Listeners {
		ids[l.ListenerKey] = l.Entry.ID
		places[placeKey{listener: l.Entry.ID}] = &flowPlace{
			listenerID: l.Entry.ID, rank: int64(rank), listener: l.ListenerKey.String(), backend: "none", names: listenerName(l.ListenerKey),
		}
	}
	for _, b := range in.Backends {
		id := ids[b.Listener]
		place := *places[placeKey{listener: id}]
		place.poolIndex, place.backend, place.address = uint16(b.Index), b.Label, b.Address.String()
		places[placeKey{id, place.poolIndex}] = &place
	}
	return places
}

// of returns the place of a record, which is made where it is of what is no
// longer there.
func (p flowPlaces) of(listener uint32, backend uint16) *flowPlace {
	key := placeKey{listener, backend}
	if place, ok := p[key]; ok {
		return place
	}
	place := flowPlace{listenerID: listener, rank: 1<<32 + int64(listener), listener: "#" + countText(listener)}
	if known, ok := p[placeKey{listener: listener}]; ok {
		place = *known
	}
	place.poolIndex, place.backend = backend, "#"+countText(backend)
	p[key] = &place
	return &place
}

// entry returns the record of a flow in the words of a listing.
func (p flowPlaces) entry(f *dataplane.Flow) flowEntry {
	return flowEntry{
		client: f.ID.Client(), vip: f.ID.VIP(), protocol: f.ID.Protocol(),
		place: p.of(f.Listener, f.Backend), seen: f.Seen, hash: f.Hash, closing: f.Closing,
	}
}

// firstFlows keeps the first of records in the order of a listing, or all if
// limit is 0.
type firstFlows struct {
	limit   int
	compare func(a, b flowEntry) int
	kept    []flowEntry
	seen    int // records so far
}

func (f *firstFlows) add(e flowEntry) {
	f.seen++
	f.kept = append(f.kept, e)
	if f.limit > 0 && len(f.kept) >= 2*f.limit {
		f.cut()
	}
}

// cut sorts what is kept, and drops what is beyond the limit.
func (f *firstFlows) cut() {
	slices.SortFunc(f.kept, f.compare)
	if f.limit > 0 {
		f.kept = f.kept[:min(len(f.kept), f.limit)]
	}
}
