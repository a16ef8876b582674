// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

// Takers says who gets the new flows of a listener.
type Takers uint8

// The best that a listener has.
const (
	TakersHealthy Takers = iota // backends that are up and reachable
	TakersDown                  // there are none, and on_all_down is open: those that are down
	TakersNone                  // nobody
)

// Takers returns who gets the new flows of l, by modes, health and next hops.
func (l *Listener) Takers() Takers {
	best, pool := TakersNone, l.sorted()
	for i, ok := range members(pool, l.OnAllDown) {
		if ok && pool[i].takesTraffic() {
			return TakersHealthy
		}
		if ok {
			best = TakersDown
		}
	}
	return best
}
