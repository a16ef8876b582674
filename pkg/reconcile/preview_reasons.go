// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
)

// reasons says in the words of the configuration what differs, as "KEY OLD -> NEW".
type reasons []string

func (r *reasons) add(key string, before, after any) {
	if before != after {
		*r = append(*r, fmt.Sprintf("%s %v -> %v", key, before, after))
	}
}

// listenerReasons says what of a listener would be another, but for its backends.
// on_down and the timeouts are in no table: an agent knows them that has applied
// a configuration.
func (p *previewer) listenerReasons(l *listenerPlan) (r reasons) {
	was, want := l.was, l.want
	r.add("balancer", was.key.Balancer, l.key.Balancer)
	for _, addr := range l.addresses {
		if _, ok := was.entries[addr]; !ok {
			r = append(r, fmt.Sprintf("address %s added", addr))
		}
	}
	var gone reasons
	for addr := range was.entries {
		if !slices.Contains(l.addresses, addr) {
			gone = append(gone, fmt.Sprintf("address %s removed", addr))
		}
	}
	slices.Sort(gone)
	r = append(r, gone...)
	r.add("algorithm", was.entry.Algorithm, want.Algorithm)
	r.add("table_size", was.entry.TableSize, want.TableSize)
	r.add("on_all_down", was.entry.OnAllDown, want.OnAllDown)
	if was.applied {
		r.add("hash_seed", p.seedBefore, p.seed)
		r.add("on_down", was.policy.onDown, want.OnDown)
		r.add("drain_timeout", secondsText(was.policy.drain), secondsText(want.DrainTimeout))
		r.add("idle_timeout", secondsText(was.idle), secondsText(want.IdleTimeout))
	}
	return r
}

// backendReasons says what of a backend would be another.
func (p *previewer) backendReasons(before, after dataplane.Backend, label string) (r reasons) {
	r.add(label+": label", p.model.counters[before.Counter].label, label)
	r.add(label+": weight", before.Weight, after.Weight)
	r.add(label+": forward", before.Forward, after.Forward)
	r.add(label+": mode", before.Mode, after.Mode)
	if before.Mode == after.Mode {
		r.add(label+": configured mode", before.Configured, after.Configured)
	}
	return r
}

// secondsText returns a duration as the configuration mostly has it.
func secondsText(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}
