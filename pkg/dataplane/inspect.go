// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
)

// MapInfo describes one of the maps. Entries of the map slots are slots, of
// which the kernel holds SlotsPerLine under one key. Entries of a cache of
// listeners are those that are current on the CPU that has most of them:
// MaxEntries is what each CPU has room for.
type MapInfo struct {
	Name       string
	Type       string // as bpftool names it, such as "percpu_array"
	Entries    uint32 // in use
	MaxEntries uint32
	Fixed      bool   // the same entries are in use, always
	Memory     uint64 // bytes in the kernel, 0 where it does not tell
}

// Maps describes all maps, sorted by name. It counts the records of flows.
func (t *Tables) Maps() ([]MapInfo, error) {
	flows, err := t.CountFlows()
	if err != nil {
		return nil, err
	}
	return t.MapsOf(flows)
}

// MapsOf is Maps for who knows how many records of flows there are, and looks
// too often to count them each time.
func (t *Tables) MapsOf(flows FlowCounts) ([]MapInfo, error) {
	used, err := t.entries(flows)
	if err != nil {
		return nil, err
	}
	var infos []MapInfo
	for name, m := range t.byName() {
		info := MapInfo{Name: name, Type: mapTypeName(m.Type()), Entries: used[name], MaxEntries: m.MaxEntries()}
		if name == weirMapSlots {
			info.MaxEntries *= SlotsPerLine
		}
		info.Fixed = isFixed(name)
		kernel, err := m.Info()
		if err != nil {
			return nil, fmt.Errorf("asking the kernel about %s: %w", m, err)
		}
		info.Memory, _ = kernel.Memlock()
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b MapInfo) int { return cmp.Compare(a.Name, b.Name) })
	return infos, nil
}

// isFixed reports whether a map has the same entries in use always.
func isFixed(name string) bool {
	return slices.Contains([]string{
		weirMapReasonCounters, weirMapListenerGeneration, weirMapRejectBucket, weirMapFlowClock, weirMapFlowGeneration,
	}, name)
}

func (t *Tables) byName() map[string]*ebpf.Map {
	return map[string]*ebpf.Map{
		weirMapBackendCounters:    t.maps.BackendCounters,
		weirMapBackends:           t.maps.Backends,
		weirMapEmbryonic:          t.maps.Embryonic,
		weirMapFlowCache:          t.maps.FlowCache,
		weirMapFlowClock:          t.maps.FlowClock,
		weirMapFlowGeneration:     t.maps.FlowGeneration,
		weirMapFlows4:             t.maps.Flows4,
		weirMapFlows6:             t.maps.Flows6,
		weirMapListenerCache4:     t.maps.ListenerCache4,
		weirMapListenerCache6:     t.maps.ListenerCache6,
		weirMapListenerCounters:   t.maps.ListenerCounters,
		weirMapListenerGeneration: t.maps.ListenerGeneration,
		weirMapListeners4:         t.maps.Listeners4,
		weirMapListeners6:         t.maps.Listeners6,
		weirMapNames:              t.maps.Names,
		weirMapOldTables:          t.maps.OldTables,
		weirMapReasonCounters:     t.maps.ReasonCounters,
		weirMapTrackingCounters:   t.maps.TrackingCounters,
		weirMapRejectBucket:       t.maps.RejectBucket,
		weirMapSlots:              t.maps.Slots,
		weirMapVips:               t.maps.Vips,
	}
}

// entries returns how many entries of each map are in use. An array has all of
// its entries always: of those count the ones that a listener refers to.
func (t *Tables) entries(flows FlowCounts) (map[string]uint32, error) {
	used := map[string]uint32{
		weirMapFlows4:             flows.Flows4,
		weirMapFlows6:             flows.Flows6,
		weirMapEmbryonic:          flows.Embryonic,
		weirMapReasonCounters:     min(uint32(weirReasonREASON_MAX), t.maps.ReasonCounters.MaxEntries()),
		weirMapListenerGeneration: t.maps.ListenerGeneration.MaxEntries(),
		weirMapFlowClock:          t.maps.FlowClock.MaxEntries(),
		weirMapFlowGeneration:     t.maps.FlowGeneration.MaxEntries(),
		weirMapRejectBucket:       t.maps.RejectBucket.MaxEntries(),
	}
	listeners, err := t.Listeners()
	if err != nil {
		return nil, err
	}
	seen := make(map[uint32]bool)
	for key, l := range listeners {
		if key.Address.Is4() {
			used[weirMapListeners4]++
		} else {
			used[weirMapListeners6]++
		}
		if seen[l.ID] {
			continue
		}
		seen[l.ID] = true
		used[weirMapListenerCounters]++
		used[weirMapTrackingCounters]++
		if l.OldTable {
			used[weirMapOldTables]++
		}
		used[weirMapBackends] += l.PoolSize
		used[weirMapSlots] += lines(l.TableSize) * SlotsPerLine
	}
	vips, err := t.VIPs()
	if err != nil {
		return nil, err
	}
	used[weirMapVips] = uint32(len(vips))
	names, err := t.Names()
	if err != nil {
		return nil, err
	}
	used[weirMapNames] = uint32(len(names))
	for key := range names {
		if key.Kind == NameBackend { // it is named as long as its counters are its own
			used[weirMapBackendCounters]++
		}
	}
	for name, f := range map[string]Family{weirMapListenerCache4: IPv4, weirMapListenerCache6: IPv6} {
		if used[name], err = t.mostCached(f); err != nil {
			return nil, err
		}
	}
	used[weirMapFlowCache], err = t.mostCachedFlows()
	return used, err
}

func mapTypeName(t ebpf.MapType) string {
	switch t {
	case ebpf.Hash:
		return "hash"
	case ebpf.Array:
		return "array"
	case ebpf.PerCPUArray:
		return "percpu_array"
	}
	return t.String()
}

// ObjectHash identifies the BPF objects in this binary: the first 12 hex digits
// of their SHA-256.
func ObjectHash() string {
	hash := sha256.New()
	hash.Write(_WeirBytes)
	hash.Write(_NodeBytes)
	return hex.EncodeToString(hash.Sum(nil)[:6])
}

// PinnedLinks returns the interfaces that have a program by a link pinned under
// a path, sorted by name, and changes nothing.
func PinnedLinks(pinPath string) ([]Attachment, error) {
	entries, err := os.ReadDir(linksDir(pinPath))
	if err != nil {
		return nil, pinError(linksDir(pinPath), err)
	}
	var found []Attachment
	for _, e := range entries {
		path := filepath.Join(linksDir(pinPath), e.Name())
		l, err := loadLink(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, errNoLink) {
			continue // an agent has removed it just now, or it is not Weir's
		}
		if err != nil {
			return nil, pinError(path, err)
		}
		name, mode, ok := parsePinName(e.Name())
		if index := linkIndex(l); ok && index != 0 {
			found = append(found, Attachment{Interface: Interface{Name: name, Index: index}, Mode: mode})
		}
		if err := l.Close(); err != nil {
			return nil, pinError(path, err)
		}
	}
	slices.SortFunc(found, func(a, b Attachment) int { return cmp.Compare(a.Name, b.Name) })
	return found, nil
}
