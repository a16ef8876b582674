// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"

	"github.com/weirlb/weir/pkg/lb"
)

func TestTakers(t *testing.T) {
	in := func(b Backend, mode lb.Mode) Backend {
		b.Mode = mode
		return b
	}
	lost := server(1)
	lost.Reachable = false
	for _, test := range []struct {
		name         string
		backends     []Backend
		closed, open Takers // with on_all_down: drop and open
	}{
		{"no backend", nil, TakersNone, TakersNone},
		{"one that is up", []Backend{down(server(1)), server(2)}, TakersHealthy, TakersHealthy},
		{"a backup", []Backend{down(server(1)), in(server(2), lb.ModeBackup)}, TakersHealthy, TakersHealthy},
		{"one that is up and drains", []Backend{down(server(1)), in(server(2), lb.ModeDrain)}, TakersNone, TakersDown},
		{"all drain or are rejected", []Backend{in(server(1), lb.ModeReject), in(server(2), lb.ModeDrain)}, TakersNone, TakersNone},
		{"no way", []Backend{lost}, TakersNone, TakersNone},
	} {
		for onAllDown, want := range map[lb.OnAllDown]Takers{lb.AllDownDrop: test.closed, lb.AllDownOpen: test.open} {
			l := Listener{OnAllDown: onAllDown, Backends: test.backends}
			if got := l.Takers(); got != want {
				t.Errorf("%s, on_all_down %s: %d, want %d", test.name, onAllDown, got, want)
			}
		}
	}
}
