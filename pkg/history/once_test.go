// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/lb"
)

// TestOnce lives through histories that have gone wrong, or would if something
// were missing that is easily taken for superfluous. Each is rare among those that
// TestHistory draws.
func TestOnce(t *testing.T) {
	const flowLimit = 1024
	p, twin, clients := openPlane(t, flowLimit), openPlane(t, flowLimit), clientsOf(perListener)
	some := func(kind string) step { return step{kind: "packets", packets: burst{kind, 0, len(clients)}} }
	backend := func(n int) edit { return edit{port: web, kind: "backend", n: n, weight: 255} }
	down := edit{port: web, kind: "health", n: 2, health: lb.HealthDown}
	change := func(e ...edit) step { return step{kind: "change", edits: e} }
	wait := func(rounds int, who string) step {
		return step{kind: "time", rounds: rounds, pause: 2500 * time.Millisecond, who: who}
	}
	const must, all, nobody = "all that must talk", "all talk", "none talks"

	for name, history := range map[string][]step{
		// The SYN leaves an embryonic record, the connection begins in the steady
		// slot, and the next change must not find the record.
		"a SYN before a change, a connection after it": {
			change(backend(1)), some("syn"), change(backend(2)), wait(8, nobody), some("talk"), change(backend(2)), some("talk"),
		},
		// SYNs go to where the first one went, and so does what follows them, even if
		// meanwhile all that is known of the slot says otherwise.
		"SYNs that are not answered for long": {
			change(backend(1)), some("syn"), change(backend(2), backend(1), backend(4)), wait(9, must), some("talk"), wait(2, all),
		},
		// A record is removed by what was read of it only if that is what it says.
		"down and up while records are looked at": {
			some("connect"), change(backend(4)), some("talk"), {
				kind: "time", rounds: 1, pause: time.Second, who: nobody,
				nested: []edit{down}, back: true, packets: burst{"talk", 0, len(clients)},
			}, some("talk"), wait(8, must), some("talk"),
		},
		// Without a Collect in between nothing but the packet itself tells the CPUs
		// that the record has changed.
		"down for a moment": {
			change(backend(1)), some("connect"), some("talk"),
			{kind: "flap", edits: []edit{down}, packets: burst{"talk", 0, len(clients)}}, some("talk"),
		},
		// What begins where nothing moves has no record, and when that changes again it
		// has all of idle_timeout, however long ago the slot changed before.
		"there and back, and then elsewhere": {
			{kind: "flap", edits: []edit{down}, packets: burst{"talk", 0, 1}}, wait(2, nobody),
			some("connect"), change(backend(4)), wait(6, must), some("talk"),
		},
		// The stamp of a packet is as old as the clock of the flows, which goes on
		// once in a while. That must not make flows idle that are not.
		"silence for just as long as is allowed": {
			some("connect"), change(backend(4)), some("talk"),
			{kind: "time", rounds: 40, pause: 2 * time.Second, who: must}, some("talk"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			if wrong := caught(func(f failer) {
				w := newWorld(f, p, flowLimit, 0, clients)
				w.start()
				for _, s := range history {
					w.step(s)
				}
				w.finish(twin)
			}); wrong != "" {
				t.Fatal(wrong)
			}
		})
	}
}
