// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/lb"
)

func testFlowIDs() (v4, v6, other FlowID) {
	return NewFlowID(netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("203.0.113.10:443"), lb.TCP),
		NewFlowID(netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8::10]:443"), lb.UDP),
		NewFlowID(netip.MustParseAddrPort("192.0.2.1:40001"), netip.MustParseAddrPort("203.0.113.10:443"), lb.TCP)
}

func TestLookupFlow(t *testing.T) {
	d := openTest(t, testOptions(t))
	defer closeTest(t, d)
	tables := d.Tables()
	v4, v6, other := testFlowIDs()
	for _, want := range []Flow{
		{ID: v4, Listener: 3, Hash: 0xabcdef01, Seen: 1234, Backend: 7, Closing: true},
		{ID: v6, Listener: 4, Hash: 17, Seen: 99, Backend: 1},
	} {
		if err := tables.PutFlow(want); err != nil {
			t.Fatal(err)
		}
		got, ok, err := tables.LookupFlow(want.ID)
		if err != nil || !ok || got != want {
			t.Errorf("got %+v, %t, %v; want %+v", got, ok, err, want)
		}
	}
	if got, ok, err := tables.LookupFlow(other); ok || err != nil {
		t.Errorf("got %+v, %t, %v; want none", got, ok, err)
	}
	counts, err := tables.CountFlows()
	if want := (FlowCounts{Flows4: 1, Flows6: 1}); err != nil || counts != want {
		t.Errorf("counted %+v, %v; want %+v", counts, err, want)
	}
}

// What is known of the records need not be counted.
func TestMapsOf(t *testing.T) {
	d := openTest(t, testOptions(t))
	defer closeTest(t, d)
	infos, err := d.Tables().MapsOf(FlowCounts{Flows4: 4, Flows6: 6, Embryonic: 5})
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]uint32)
	for _, info := range infos {
		got[info.Name] = info.Entries
	}
	if got["flows4"] != 4 || got["flows6"] != 6 || got["embryonic"] != 5 {
		t.Errorf("entries: %v", got)
	}
}

func TestEmbryonicRecords(t *testing.T) {
	d := openTest(t, testOptions(t))
	defer closeTest(t, d)
	tables := d.Tables()
	// Ages are known in units of 4096 ms, and modulo 256 of them.
	if err := tables.SetFlowClock(2 * 4096); err != nil {
		t.Fatal(err)
	}
	for index, word := range map[uint32]uint64{
		5:      0xabcdef<<24 | 2<<16 | 7,
		100000: 1<<24 | 0<<16 | 1,
		262143: 1<<63 | 255<<16 | 0x7fff,
	} {
		if err := tables.maps.Embryonic.Put(index, word); err != nil {
			t.Fatal(err)
		}
	}
	const unit = 4096 * time.Millisecond
	want := []EmbryonicRecord{
		{Index: 5, Tag: 0xabcdef, Backend: 7},
		{Index: 100000, Tag: 1, Backend: 1, Age: 2 * unit},
		{Index: 262143, Tag: 1 << 39, Backend: 0x7fff, Age: 3 * unit},
	}
	got, err := tables.EmbryonicRecords()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, r := range want {
		if got, ok, err := tables.LookupEmbryonic(r.Index); got != r || !ok || err != nil {
			t.Errorf("looked %d up: %+v, %t, %v", r.Index, got, ok, err)
		}
	}
	for _, index := range []uint32{6, 262144} {
		if got, ok, err := tables.LookupEmbryonic(index); ok || err != nil {
			t.Errorf("looked %d up: %+v, %t, %v; want none", index, got, ok, err)
		}
	}
}
