// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/weirlb/weir/pkg/dataplane"
)

// ids is a set of identifiers in use. It gives out the lowest free one.
type ids struct {
	words []uint64
	low   int // no word before this one has a free identifier
}

// take returns the lowest free identifier.
func (s *ids) take() uint32 {
	for ; s.low < len(s.words); s.low++ {
		if free := ^s.words[s.low]; free != 0 {
			id := uint32(s.low*64 + bits.TrailingZeros64(free))
			s.use(id)
			return id
		}
	}
	id := uint32(len(s.words) * 64)
	s.use(id)
	return id
}

// use marks id as used.
func (s *ids) use(id uint32) {
	word := int(id / 64)
	if word >= len(s.words) {
		s.words = append(s.words, make([]uint64, word+1-len(s.words))...)
	}
	s.words[word] |= 1 << (id % 64)
}

func (s *ids) release(id uint32) {
	word := int(id / 64)
	s.words[word] &^= 1 << (id % 64)
	s.low = min(s.low, word)
}

func (s *ids) used(id uint32) bool {
	word := int(id / 64)
	return word < len(s.words) && s.words[word]&(1<<(id%64)) != 0
}

func (s *ids) clone() ids { return ids{words: slices.Clone(s.words), low: s.low} }

// span is n elements of an array from first on.
type span struct{ first, n uint32 }

func (s span) end() uint32 { return s.first + s.n }

// spans gives out ranges of an array of size elements, all multiples of a
// cache line of slots, by first fit.
type spans struct {
	size uint32
	free []span // in order, with gaps between them
}

func newSpans(size uint32) spans {
	size -= size % dataplane.SlotsPerLine
	s := spans{size: size}
	if size > 0 {
		s.free = []span{{0, size}}
	}
	return s
}

// roundUp returns how many elements a range for n of them takes.
func roundUp(n uint64) uint64 {
	const line = uint64(dataplane.SlotsPerLine)
	return (n + line - 1) / line * line
}

// take returns a free range of n elements.
func (s *spans) take(n uint32) (span, bool) {
	for i, f := range s.free {
		if f.n < n {
			continue
		}
		if f.n == n {
			s.free = slices.Delete(s.free, i, i+1)
		} else {
			s.free[i] = span{f.first + n, f.n - n}
		}
		return span{f.first, n}, true
	}
	return span{}, false
}

// use takes a certain range, if all of it is free.
func (s *spans) use(u span) bool {
	i, exact := s.find(u.first)
	if !exact {
		i--
	}
	if i < 0 || u.n > s.size || s.free[i].end() < u.end() {
		return false
	}
	f := s.free[i]
	var rest []span
	if f.first < u.first {
		rest = append(rest, span{f.first, u.first - f.first})
	}
	if u.end() < f.end() {
		rest = append(rest, span{u.end(), f.end() - u.end()})
	}
	s.free = slices.Replace(s.free, i, i+1, rest...)
	return true
}

// release gives a range back.
func (s *spans) release(r span) {
	i, _ := s.find(r.first)
	s.free = slices.Insert(s.free, i, r)
	if i+1 < len(s.free) && r.end() == s.free[i+1].first {
		s.free[i].n += s.free[i+1].n
		s.free = slices.Delete(s.free, i+1, i+2)
	}
	if i > 0 && s.free[i-1].end() == r.first {
		s.free[i-1].n += s.free[i].n
		s.free = slices.Delete(s.free, i, i+1)
	}
}

// find returns where in free a range that begins at first is, or would be.
func (s *spans) find(first uint32) (int, bool) {
	return slices.BinarySearchFunc(s.free, first, func(f span, first uint32) int {
		return cmp.Compare(f.first, first)
	})
}

// available returns how many elements are free.
func (s *spans) available() (n uint32) {
	for _, f := range s.free {
		n += f.n
	}
	return n
}

func (s *spans) clone() spans { return spans{size: s.size, free: slices.Clone(s.free)} }

// allocators are all that is given out.
type allocators struct {
	balancers ids // from 1 on
	listeners ids
	counters  ids // of backends
	pools     spans
	slots     spans
}

func newAllocators(limits dataplane.Limits) allocators {
	a := allocators{pools: newSpans(limits.Backends), slots: newSpans(limits.Slots)}
	a.balancers.use(0)
	return a
}

func (a *allocators) clone() allocators {
	return allocators{
		balancers: a.balancers.clone(),
		listeners: a.listeners.clone(),
		counters:  a.counters.clone(),
		pools:     a.pools.clone(),
		slots:     a.slots.clone(),
	}
}
