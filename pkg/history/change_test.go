// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"slices"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/reconcile"
)

// edit is a change of one thing in a state, whatever the state is.
type edit struct {
	port port
	kind string
	n    int // of a backend

	weight    uint8
	mode      lb.Mode
	health    lb.Health
	tableSize uint32
	backends  int // of a listener that is added
}

// apply returns the state after an edit, and says what it was.
func (e edit) apply(s *state) (*state, string) {
	l := s.listener(e.port)
	switch {
	case l == nil:
		l := newListener(e.port, serversTo(e.backends)...)
		l.TableSize = e.tableSize
		return newState(append(slices.Clone(s.listeners()), l)...),
			fmt.Sprintf("add listener %s, %d backends, table_size %d", e.port, e.backends, e.tableSize)
	case e.kind == "listener":
		rest := slices.DeleteFunc(slices.Clone(s.listeners()), func(l reconcile.Listener) bool { return portOf(&l) == e.port })
		return newState(rest...), fmt.Sprintf("remove listener %s", e.port)
	}
	text := ""
	next := s.with(e.port, func(l *reconcile.Listener) { text = e.editListener(l) })
	return next, fmt.Sprintf("%s: %s", e.port, text)
}

func (e edit) editListener(l *reconcile.Listener) string {
	switch e.kind {
	case "table_size":
		l.TableSize = e.tableSize
		return fmt.Sprintf("table_size %d", l.TableSize)
	case "algorithm":
		l.Algorithm = lb.Source - l.Algorithm
		return fmt.Sprintf("algorithm %s", l.Algorithm)
	case "on_down":
		l.OnDown = lb.DownPersist - l.OnDown
		return fmt.Sprintf("on_down %s", l.OnDown)
	case "on_all_down":
		l.OnAllDown = lb.AllDownDrop - l.OnAllDown
		return fmt.Sprintf("on_all_down %s", l.OnAllDown)
	}
	i := slices.IndexFunc(l.Backends, func(b reconcile.Backend) bool { return b.Address == server(e.n).Address })
	switch {
	case i < 0:
		b := server(e.n)
		b.Weight = e.weight
		l.Backends = append(l.Backends, b)
		return "add " + describe(b)
	case e.kind == "backend":
		l.Backends = slices.Delete(l.Backends, i, i+1)
		return "remove " + server(e.n).Label
	}
	b := &l.Backends[i]
	switch e.kind {
	case "mode":
		b.Mode = e.mode
	case "health":
		b.Health = e.health
	case "reach":
		b.Reachable = !b.Reachable
	default:
		b.Weight = e.weight
	}
	return "set " + describe(*b)
}

// describe says what a backend is.
func describe(b reconcile.Backend) string {
	s := fmt.Sprintf("%s: weight %d, %s, %s", b.Label, b.Weight, b.Mode, b.Health)
	if !b.Reachable {
		s += ", unreachable"
	}
	return s
}
