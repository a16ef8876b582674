// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// life is a backend in some state, and what is to follow from it.
type life struct {
	mode        lb.Mode
	health      lb.Health
	unreachable bool

	member   bool
	unusable dataplane.Unusable
}

// TestUsable says of the backends of pools who takes new flows and who keeps
// those it has.
func TestUsable(t *testing.T) {
	const (
		accept, drain, reject, backup = lb.ModeAccept, lb.ModeDrain, lb.ModeReject, lb.ModeBackup
		up, down, unknown             = lb.HealthUp, lb.HealthDown, lb.HealthUnknown
		stay                          = dataplane.Usable
	)
	for name, test := range map[string]struct {
		onDown    lb.OnDown
		onAllDown lb.OnAllDown
		drained   bool // drains began longer ago than drain_timeout
		pool      []life
	}{
		"all is well": {pool: []life{{accept, up, false, true, stay}, {accept, up, false, true, stay}}},
		"one down":    {pool: []life{{accept, up, false, true, stay}, {accept, down, false, false, dataplane.Down}}},
		"one down, persist": {onDown: lb.DownPersist, pool: []life{
			{accept, up, false, true, stay}, {accept, down, false, false, stay},
		}},
		"one unreachable": {pool: []life{{accept, up, false, true, stay}, {accept, up, true, false, dataplane.Unreachable}}},
		"one unreachable, persist": {onDown: lb.DownPersist, pool: []life{
			{accept, up, false, true, stay}, {accept, up, true, false, stay},
		}},
		"one not checked yet": {pool: []life{{accept, up, false, true, stay}, {accept, unknown, false, false, stay}}},
		"draining":            {pool: []life{{accept, up, false, true, stay}, {drain, up, false, false, stay}}},
		"draining and down":   {pool: []life{{accept, up, false, true, stay}, {drain, down, false, false, dataplane.Down}}},
		"drained": {drained: true, pool: []life{
			{accept, up, false, true, stay}, {drain, up, false, false, dataplane.Drained},
		}},
		"drained, persist": {onDown: lb.DownPersist, drained: true, pool: []life{
			{accept, up, false, true, stay}, {drain, down, false, false, dataplane.Drained},
		}},
		"rejected": {onDown: lb.DownPersist, pool: []life{
			{accept, up, false, true, stay}, {reject, up, false, false, dataplane.Rejected},
		}},
		"backup waits":     {pool: []life{{accept, up, false, true, stay}, {backup, up, false, false, stay}}},
		"backup steps in":  {pool: []life{{accept, down, false, false, dataplane.Down}, {backup, up, false, true, stay}}},
		"backup for drain": {pool: []life{{drain, up, false, false, stay}, {backup, up, false, true, stay}}},
		"all down, open": {pool: []life{
			{accept, down, false, true, stay}, {accept, down, true, false, dataplane.Unreachable},
			{backup, down, false, false, stay}, {drain, down, false, false, stay}, {reject, down, false, false, dataplane.Rejected},
		}},
		"all down, drop": {onAllDown: lb.AllDownDrop, pool: []life{
			{accept, down, false, false, dataplane.Down}, {backup, down, false, false, dataplane.Down},
		}},
		"all down, reject": {onAllDown: lb.AllDownReject, pool: []life{{accept, down, false, false, dataplane.Down}}},
		"backups only, all down": {pool: []life{
			{backup, down, false, true, stay}, {backup, unknown, false, true, stay},
		}},
		"the last one drains": {pool: []life{{drain, up, false, false, stay}}},
	} {
		t.Run(name, func(t *testing.T) {
			want := Listener{OnDown: test.onDown, OnAllDown: test.onAllDown, DrainTimeout: time.Minute}
			for i, l := range test.pool {
				b := server(i + 1)
				b.Mode, b.Health, b.Reachable = l.mode, l.health, !l.unreachable
				want.Backends = append(want.Backends, b)
			}
			l := &listenerPlan{want: &want}
			for i := range want.Backends {
				l.backends = append(l.backends, &want.Backends[i])
			}
			l.members = members(l.backends, want.OnAllDown)
			const since = time.Hour
			up := since + want.DrainTimeout // since is rounded down to a second
			if test.drained {
				up += time.Second
			}
			var got []life
			for i, b := range l.backends {
				got = append(got, life{b.Mode, b.Health, !b.Reachable, l.members[i], l.unusable(i, since, up)})
			}
			if diff := cmp.Diff(test.pool, got, cmp.AllowUnexported(life{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
