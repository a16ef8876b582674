// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/weirlb/weir/pkg/dataplane"
)

// tables calls fn with the pinned maps, with or without an agent. What tests
// look at again and again they read here; that weir maps dump shows the same is
// a test of its own.
func (a *agent) tables(fn func(*dataplane.Tables, *dataplane.Snapshot)) {
	a.t.Helper()
	tables, err := dataplane.OpenTables(a.pins)
	if err != nil {
		a.t.Fatal(err)
	}
	defer tables.Close()
	snapshot, err := tables.Snapshot()
	if err != nil {
		a.t.Fatal(err)
	}
	fn(tables, snapshot)
}

// slots returns where the table of one listener leads new flows, or all for "",
// a line for each slot.
func (a *agent) slots(listener string) string {
	a.t.Helper()
	var text strings.Builder
	a.tables(func(tables *dataplane.Tables, snapshot *dataplane.Snapshot) {
		for _, l := range snapshot.Listeners {
			if name := l.ListenerKey.String(); listener == "" || name == listener {
				slots := make([]dataplane.Slot, l.Entry.TableSize)
				if err := tables.ReadSlots(l.Entry.Slots, slots); err != nil {
					a.t.Fatal(err)
				}
				for i, s := range slots {
					fmt.Fprintf(&text, "%s %d %d\n", name, i, s.Current)
				}
			}
		}
	})
	if text.Len() == 0 {
		a.t.Fatalf("there is no listener %s", listener)
	}
	return text.String()
}

// content returns what the maps hold, but for the counters, which change by
// themselves.
func (a *agent) content() string {
	a.t.Helper()
	text := a.slots("")
	a.tables(func(_ *dataplane.Tables, snapshot *dataplane.Snapshot) {
		for i := range snapshot.Balancers {
			snapshot.Balancers[i].Forwarded, snapshot.Balancers[i].Dropped = dataplane.Traffic{}, dataplane.Traffic{}
		}
		for i := range snapshot.Listeners {
			snapshot.Listeners[i].Forwarded, snapshot.Listeners[i].Dropped = dataplane.Traffic{}, dataplane.Traffic{}
		}
		for i := range snapshot.Backends {
			snapshot.Backends[i].Traffic = dataplane.Traffic{}
		}
		out, err := json.MarshalIndent(snapshot, "", " ")
		if err != nil {
			a.t.Fatal(err)
		}
		text += string(out)
	})
	return text
}

// dump returns what weir maps dump shows of the maps that content is about.
func (a *agent) dump() map[string]string {
	a.t.Helper()
	maps := make(map[string]string)
	for _, name := range []string{"backends", "listeners4", "listeners6", "names", "slots", "vips"} {
		maps[name] = a.weir("maps", "dump", name, "-o", "json").succeeds(a.t)
	}
	return maps
}
