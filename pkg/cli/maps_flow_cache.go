// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/weirlb/weir/pkg/dataplane"
)

// cachedFlowRow is an entry of flow_cache on one CPU.
type cachedFlowRow struct {
	Key        string `json:"key"`
	CPU        uint32 `json:"cpu"`
	Generation uint32 `json:"generation"`
	Current    bool   `json:"current"`  // packets on the CPU go by it
	Listener   string `json:"listener"` // #ID if it is no longer there
	Backend    string `json:"backend"`  // its label, #INDEX if it is no longer there
	PoolIndex  uint16 `json:"pool_index"`
}

func cachedFlowColumns() []column {
	return []column{
		{name: "KEY"}, {name: "CPU", right: true}, {name: "GENERATION", right: true}, {name: "CURRENT"},
		{name: "LISTENER"}, {name: "BACKEND"}, {name: "POOL_INDEX", right: true},
	}
}

func (r cachedFlowRow) cells() []string {
	return []string{
		r.Key, countText(r.CPU), countText(r.Generation), yesText(r.Current), r.Listener, r.Backend, countText(r.PoolIndex),
	}
}

// cachedFlows returns the rows of flows that match.
func (in *inspection) cachedFlows(matches func(dataplane.FlowID) bool) ([]cachedFlowRow, error) {
	cached, err := in.tables.CachedFlows()
	if err != nil {
		return nil, err
	}
	places := in.flowPlaces()
	var rows []cachedFlowRow
	for i := range cached {
		c := &cached[i]
		if !matches(c.Flow.ID) {
			continue
		}
		flow := places.entry(&c.Flow).row()
		rows = append(rows, cachedFlowRow{
			Key: flow.Key, CPU: uint32(c.CPU), Generation: c.Generation, Current: c.Current,
			Listener: flow.Listener, Backend: flow.Backend, PoolIndex: flow.PoolIndex,
		})
	}
	return rows, nil
}

func dumpFlowCache(in *inspection) (listing, error) {
	rows, err := in.cachedFlows(func(dataplane.FlowID) bool { return true })
	return listOf(rows, cachedFlowColumns(), cachedFlowRow.cells), err
}

// lookupFlowCache looks up what all CPUs have of a flow.
func lookupFlowCache(key string) (func(*inspection) (listing, error), error) {
	id, ok := parseFlowKey(key)
	if !ok {
		return nil, badKey("flow_cache", key, flow4Example)
	}
	return func(in *inspection) (listing, error) {
		rows, err := in.cachedFlows(func(o dataplane.FlowID) bool { return o == id })
		if err == nil && rows == nil {
			err = fmt.Errorf("flow_cache has no entry %s on any CPU", key)
		}
		return listOf(rows, cachedFlowColumns(), cachedFlowRow.cells), err
	}, nil
}

func dumpFlowGeneration(in *inspection) (listing, error) {
	generation, err := in.tables.FlowGeneration()
	return listOf([]generationRow{{generation}}, generationColumns(), generationRow.cells), err
}

func findFlowGeneration(in *inspection, index uint32) (listing, error) {
	generation, err := in.tables.FlowGeneration()
	return one("flow_generation", countText(index), index == 0, err,
		generationRow{generation}, generationColumns(), generationRow.cells)
}
