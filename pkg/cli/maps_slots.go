// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// slotRow is a range of equal slots of a listener.
type slotRow struct {
	Listener string   `json:"listener"`
	First    uint32   `json:"first"`
	Last     uint32   `json:"last"`
	Current  slotSide `json:"current"`
	Previous slotSide `json:"previous"`
	Tracked  bool     `json:"tracked"`
}

// slotSide is a backend that a slot leads to; index 0 is none.
type slotSide struct {
	Index   uint16 `json:"pool_index"`
	Label   string `json:"label"`
	Address string `json:"address"`
}

func slotColumns() []column {
	return []column{{name: "LISTENER"}, {name: "SLOTS", right: true}, {name: "CURRENT"}, {name: "PREVIOUS"}, {name: "STATE"}}
}

func (r slotRow) cells() []string {
	slots := countText(r.First)
	if r.Last != r.First {
		slots += "-" + countText(r.Last)
	}
	state := "steady"
	switch {
	case r.Tracked:
		state = "tracked"
	case r.Current != r.Previous:
		state = "moving"
	}
	return []string{r.Listener, slots, r.Current.text(), r.Previous.text(), state}
}

func (s slotSide) text() string {
	if s.Index == 0 {
		return "none"
	}
	return fmt.Sprintf("%s (%s)", s.Label, s.Address)
}

// pool returns the backends of a listener by their index in its pool.
func (in *inspection) pool(key lb.ListenerKey) map[uint16]slotSide {
	pool := make(map[uint16]slotSide)
	for _, b := range in.Backends {
		if b.Listener == key {
			index := uint16(b.Index)
			pool[index] = slotSide{Index: index, Label: b.Label, Address: b.Address.String()}
		}
	}
	return pool
}

// slotRowOf returns the row of one slot.
func slotRowOf(l lb.ListenerKey, index uint32, s dataplane.Slot, pool map[uint16]slotSide) slotRow {
	side := func(i uint16) slotSide {
		if b, ok := pool[i]; ok || i == 0 {
			return b
		}
		return slotSide{Index: i, Label: "#" + countText(i)} // a backend that is not in the pool any more
	}
	return slotRow{
		Listener: l.String(), First: index, Last: index,
		Current: side(s.Current), Previous: side(s.Previous), Tracked: s.Tracked,
	}
}

func dumpSlots(in *inspection) (listing, error) {
	var rows []slotRow
	for _, l := range in.Listeners {
		pool := in.pool(l.ListenerKey)
		slots := make([]dataplane.Slot, l.Entry.TableSize)
		if err := in.tables.ReadSlots(l.Entry.Slots, slots); err != nil {
			return listing{}, err
		}
		for i, s := range slots {
			if i > 0 && s == slots[i-1] {
				rows[len(rows)-1].Last++
				continue
			}
			rows = append(rows, slotRowOf(l.ListenerKey, uint32(i), s, pool))
		}
	}
	return listOf(rows, slotColumns(), slotRow.cells), nil
}

func lookupSlot(key string) (func(*inspection) (listing, error), error) {
	i := strings.LastIndexByte(key, '/')
	if i < 0 {
		return nil, badKey("slots", key, "web/443/tcp/17")
	}
	listener, err := parseListener(key[:i])
	index, indexErr := strconv.ParseUint(key[i+1:], 10, 32)
	if err != nil || indexErr != nil {
		return nil, badKey("slots", key, "web/443/tcp/17")
	}
	return func(in *inspection) (listing, error) { return in.findSlot(listener, uint32(index)) }, nil
}

func (in *inspection) findSlot(key lb.ListenerKey, index uint32) (listing, error) {
	i, err := in.find(key)
	if err != nil {
		return listing{}, err
	}
	entry := in.Listeners[i].Entry
	if index >= entry.TableSize {
		return listing{}, fmt.Errorf("%s has slots 0 to %d, and no %d", key, entry.TableSize-1, index)
	}
	slots := make([]dataplane.Slot, index%dataplane.SlotsPerLine+1)
	if err := in.tables.ReadSlots(entry.Slots+index-index%dataplane.SlotsPerLine, slots); err != nil {
		return listing{}, err
	}
	row := slotRowOf(key, index, slots[len(slots)-1], in.pool(key))
	return one("slots", countText(index), true, nil, row, slotColumns(), slotRow.cells)
}
