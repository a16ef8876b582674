// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/packet/model"
)

// The counters of the program, as they lie in its maps.
var counterMaps = []string{"reason_counters", "listener_counters", "backend_counters", "tracking_counters"}

// Words of an entry of each.
const (
	reasonWords   = 2          // packets, bytes
	listenerWords = 4          // forwarded, dropped
	backendWords  = 2          //
	trackingWords = 4 + 8 + 1  // decided, broken, overflow
	brokenWord    = 4          // of a tracking counter
	overflowWord  = 4 + 8      //
	reasonEntries = uint32(64) // reasons that there is room for
)

func isCounter(mapName string) bool { return slices.Contains(counterMaps, mapName) }

func counterEntries(mapName string) uint32 {
	switch mapName {
	case "reason_counters":
		return reasonEntries
	case "backend_counters":
		return limits.Backends
	}
	return limits.Listeners
}

// counters are all counters there are, and what they must say.
type counters struct {
	maps     [4][]uint64 // as counterMaps, in the kernel
	want     [4][]uint64
	reasons  []string // by number
	unusable []string
}

func openCounters(t testing.TB, maps map[string]*ebpf.Map) *counters {
	t.Helper()
	c := &counters{}
	for i, name := range counterMaps {
		c.maps[i] = mapMemory(t, maps[name])
		c.want[i] = make([]uint64, len(c.maps[i]))
	}
	var err error
	if c.reasons, err = dataplane.Reasons(); err != nil {
		t.Fatal(err)
	}
	if c.unusable, err = dataplane.UnusableReasons(); err != nil {
		t.Fatal(err)
	}
	return c
}

// decisions are what a tracking counter counts first, in this order.
var decisions = []string{model.DecidedNew, model.DecidedRecord, model.DecidedPrevious, model.DecidedCurrent}

// count adds what a frame must have counted whose result is r. backend is the
// number of the counter of r's backend, listener that of its listener, which is
// given if any has the packet.
func (c *counters) count(r *model.Result, size int, listener, backend uint32) {
	add := func(counter int, at uint32, n uint64) { c.want[counter][at] += n }
	traffic := func(counter int, at uint32) {
		add(counter, at, 1)
		add(counter, at+1, uint64(size))
	}
	traffic(0, reasonWords*uint32(slices.Index(c.reasons, strings.ToLower(r.Reason))))
	switch {
	case r.Backend != nil:
		traffic(1, listenerWords*listener)
		traffic(2, backendWords*backend)
	case r.Listener != nil:
		traffic(1, listenerWords*listener+2)
	}
	at := trackingWords * listener
	if r.Decided != "" {
		add(3, at+uint32(slices.Index(decisions, r.Decided)), 1)
	}
	if r.Broken != "" {
		add(3, at+brokenWord+uint32(slices.Index(c.unusable, r.Broken)), 1)
	}
	if r.Overflow {
		add(3, at+overflowWord, 1)
	}
}

// newFlows returns how many first packets a listener has counted in slots that
// were not steady.
func (c *counters) newFlows(listener uint32) uint64 { return c.want[3][trackingWords*listener] }

// resetListener sets the counters of a listener to zero.
func (c *counters) resetListener(id uint32) {
	for _, memory := range [][][]uint64{c.maps[:], c.want[:]} {
		clear(memory[1][listenerWords*id:][:listenerWords])
		clear(memory[3][trackingWords*id:][:trackingWords])
	}
}

// reset sets all counters to zero.
func (c *counters) reset() {
	for i := range c.maps {
		clear(c.maps[i])
		clear(c.want[i])
	}
}

// difference says which counters are not as they must be, "" if all are.
func (c *counters) difference() string {
	var out []string
	for i := range c.maps {
		if slices.Equal(c.maps[i], c.want[i]) {
			continue
		}
		for at := range c.maps[i] {
			have := atomic.LoadUint64(&c.maps[i][at])
			if want := c.want[i][at]; have != want {
				out = append(out, fmt.Sprintf("%s: %+d", c.name(i, at), int64(have-want)))
				c.want[i][at] = have
			}
		}
	}
	return strings.Join(out, ", ")
}

// name names a word of the counters.
func (c *counters) name(counter, at int) string {
	unit := []string{"packets", "bytes"}[at%2]
	switch counter {
	case 0:
		return c.reasons[at/reasonWords] + " " + unit
	case 1:
		return fmt.Sprintf("listener %d %s %s", at/listenerWords, []string{"forwarded", "dropped"}[at/2%2], unit)
	case 2:
		return fmt.Sprintf("backend %d %s", at/backendWords, unit)
	}
	id, word := at/trackingWords, at%trackingWords
	switch {
	case word < brokenWord:
		return fmt.Sprintf("listener %d decided %s", id, decisions[word])
	case word < overflowWord:
		return fmt.Sprintf("listener %d broken %d", id, word-brokenWord)
	}
	return fmt.Sprintf("listener %d overflow", id)
}
