// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"slices"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// members reports of each backend of a pool whether it takes slots. Those are
// the backends of mode accept that are up and reachable; if there is none,
// those of mode backup. If nothing is up and all_down is open, health does not
// count.
func members(pool []*Backend, allDown lb.OnAllDown) []bool {
	ok := []func(*Backend) bool{(*Backend).takesTraffic}
	if allDown == lb.AllDownOpen {
		ok = append(ok, func(b *Backend) bool { return b.Reachable })
	}
	out := make([]bool, len(pool))
	for _, ok := range ok {
		for _, mode := range []lb.Mode{lb.ModeAccept, lb.ModeBackup} {
			for i, b := range pool {
				out[i] = b.Mode == mode && ok(b)
			}
			if slices.Contains(out, true) {
				return out
			}
		}
	}
	return out
}

// drain is a backend that drains, and when it has done so long enough.
type drain struct {
	id  uint16        // its index in the pool
	due time.Duration // since boot
}

// drainEnd returns when a backend has drained long enough, given when it began,
// both since boot. That is known rounded down to a second, and flows stay for all
// of drain_timeout.
func (l *Listener) drainEnd(since time.Duration) time.Duration {
	if l.DrainTimeout == 0 {
		return since
	}
	return since + l.DrainTimeout + time.Second
}

// unusable says why the flows of backend i have to leave it. since is when its
// mode came in force, up the time now, both since boot.
func (l *listenerPlan) unusable(i int, since, up time.Duration) dataplane.Unusable {
	b := l.backends[i]
	switch {
	case l.members[i]:
		return dataplane.Usable
	case b.Mode == lb.ModeReject:
		return dataplane.Rejected
	case b.Mode == lb.ModeDrain && up >= l.want.drainEnd(since):
		return dataplane.Drained
	case l.want.OnDown == lb.DownPersist:
		return dataplane.Usable
	case b.Health == lb.HealthDown && !l.allDown():
		return dataplane.Down
	case !b.Reachable:
		return dataplane.Unreachable
	}
	return dataplane.Usable
}

// allDown reports whether no backend is up and traffic goes to those that are
// down: flows that they have may then stay as well.
func (l *listenerPlan) allDown() bool {
	if l.want.OnAllDown != lb.AllDownOpen {
		return false
	}
	for i, b := range l.backends {
		if l.members[i] && b.takesTraffic() {
			return false
		}
	}
	return true
}

// worse reports whether flows have to leave a backend by next which may stay by
// have.
func worse(have, next dataplane.Unusable) bool {
	return next != dataplane.Usable && have != next
}
