// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"maps"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/maglev"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

func synFrom(port uint16) []byte {
	return eth.IP(client4, vip4).TCP(port, trackedPort, packet.SYN).Bytes()
}

// collision returns two client ports whose embryonic records have one place.
func collision(t *testing.T) (first, second uint16) {
	t.Helper()
	conf := trackedConfig(moved)
	from := map[uint32]uint16{}
	for port := range uint16(60_000) {
		clear(conf.Embryonic)
		conf.Run(synFrom(port))
		for place := range conf.Embryonic {
			if other, taken := from[place]; taken {
				return other, port
			}
			from[place] = port
		}
	}
	t.Fatal("no two of 60,000 flows have one place")
	return 0, 0
}

// TestEmbryonicPlaceIsOfTheFlow: whatever chooses the slot.
func TestEmbryonicPlaceIsOfTheFlow(t *testing.T) {
	conf := trackedConfig(moved)
	for _, l := range conf.Listeners {
		l.Algorithm = lb.Source
	}
	conf.Run(syn4.Bytes())
	want := map[uint32]model.Embryo{embryoIndex: {Tag: embryoTag, Backend: b}}
	if diff := cmp.Diff(want, conf.Embryonic); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestEmbryonicCollision: one throws the other out, and what is another's is
// neither found nor removed.
func TestEmbryonicCollision(t *testing.T) {
	first, second := collision(t)
	conf := trackedConfig(moved)
	slot := func(s model.Slot) {
		for _, l := range conf.Listeners {
			for i := range l.Slots {
				l.Slots[i] = s
			}
		}
	}
	conf.Run(synFrom(first))
	kept := maps.Clone(conf.Embryonic)
	slot(settled)
	conf.Run(synFrom(second)) // has none to remove
	slot(moved)
	conf.Run(ack(client4, vip4, second)) // nor to take over
	if diff := cmp.Diff(kept, conf.Embryonic); diff != "" {
		t.Errorf("the first flow's is not left alone (-want +got)\n%s", diff)
	}
	clear(conf.Flows)
	conf.Run(synFrom(second))
	if len(conf.Embryonic) != 1 || maps.Equal(kept, conf.Embryonic) {
		t.Errorf("not replaced: %v", conf.Embryonic)
	}
	if r := conf.Run(ack(client4, vip4, first)); r.Decided != model.DecidedPrevious {
		t.Errorf("the first flow, thrown out: %s", r.Decided)
	}
	if r := conf.Run(ack(client4, vip4, second)); r.Decided != model.DecidedRecord {
		t.Errorf("the second flow: %s", r.Decided)
	}
}

// TestEmbryonicOfAnotherListener: with the same address and port, later.
func TestEmbryonicOfAnotherListener(t *testing.T) {
	conf := trackedConfig(moved)
	conf.Run(syn4.Bytes())
	for _, l := range conf.Listeners {
		l.ID++
	}
	if r := conf.Run(ack(client4, vip4, 40000)); r.Decided != model.DecidedPrevious {
		t.Errorf("decided %s", r.Decided)
	}
}

// TestUDPHasNoEmbryo: not even if something left one in its place.
func TestUDPHasNoEmbryo(t *testing.T) {
	conf := trackedConfig(moved)
	e := (maglev.Hash(seed, client4, vip4, 40000, trackedPort, 17) ^ udpID) * 0x9e3779b97f4a7c15
	e ^= e >> 32
	conf.Embryonic[uint32(e)&0x3ffff] = model.Embryo{Tag: e >> 24, Backend: c}
	r := conf.Run(eth.IP(client4, vip4).UDP(40000, trackedPort).Bytes())
	if r.Decided != model.DecidedPrevious || len(conf.Embryonic) != 1 {
		t.Errorf("decided %s, embryonic %v", r.Decided, conf.Embryonic)
	}
}

// TestSYNFlood: the memory that embryonic records take has a bound, and flows
// that have a record are not touched.
func TestSYNFlood(t *testing.T) {
	conf := trackedConfig(moved)
	conf.Run(ack(client4, vip4, 40000))
	want := maps.Clone(conf.Flows)
	for n := range 100_000 {
		src := netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)})
		conf.Run(eth.IP(src, vip4).TCP(uint16(1024+n>>16), trackedPort, packet.SYN).Bytes())
	}
	if !maps.Equal(want, conf.Flows) {
		t.Errorf("records %v, want %v", conf.Flows, want)
	}
	for place := range conf.Embryonic {
		if place >= 1<<18 {
			t.Fatalf("place %d is not in the table", place)
		}
	}
}
