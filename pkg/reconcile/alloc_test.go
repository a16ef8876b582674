// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/dataplane"
)

// TestIDs compares the identifiers with a plain set.
func TestIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s ids
		used := make(map[uint32]bool)
		lowest := func() (id uint32) {
			for used[id] {
				id++
			}
			return id
		}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				want := lowest()
				if got := s.take(); got != want {
					t.Fatalf("take: got %d, want %d", got, want)
				}
				used[want] = true
			},
			"use": func(t *rapid.T) {
				id := rapid.Uint32Range(0, 300).Draw(t, "id")
				s.use(id)
				used[id] = true
			},
			"release": func(t *rapid.T) {
				id := rapid.Uint32Range(0, 300).Draw(t, "id")
				if used[id] {
					s.release(id)
					delete(used, id)
				}
			},
			"clone": func(*rapid.T) {
				other := s
				s = s.clone()
				other.take()
			},
			"": func(t *rapid.T) {
				for id := range uint32(400) {
					if s.used(id) != used[id] {
						t.Fatalf("used(%d) is %t", id, s.used(id))
					}
				}
			},
		})
	})
}

const line = dataplane.SlotsPerLine

// plainSpans is what spans should be, as a plain array.
type plainSpans struct {
	spans spans
	used  [20]bool // by line
	taken []span
}

// TestSpans compares the ranges with a plain array.
func TestSpans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &plainSpans{}
		p.spans = newSpans(uint32(len(p.used))*line + 5)
		t.Repeat(map[string]func(*rapid.T){"take": p.take, "use": p.use, "release": p.release, "": p.check})
	})
}

func (p *plainSpans) free(s span) bool {
	for i := s.first / line; i < s.end()/line; i++ {
		if int(i) >= len(p.used) || p.used[i] {
			return false
		}
	}
	return true
}

func (p *plainSpans) mark(s span, as bool) {
	for i := s.first / line; i < s.end()/line; i++ {
		p.used[i] = as
	}
}

func (p *plainSpans) take(t *rapid.T) {
	want := span{0, rapid.Uint32Range(1, 8).Draw(t, "lines") * line}
	for want.end() <= uint32(len(p.used))*line && !p.free(want) {
		want.first += line
	}
	fits := p.free(want)
	got, ok := p.spans.take(want.n)
	if ok != fits || ok && got != want {
		t.Fatalf("take(%d): got %v %t, want %v %t", want.n, got, ok, want, fits)
	}
	if ok {
		p.mark(got, true)
		p.taken = append(p.taken, got)
	}
}

func (p *plainSpans) use(t *rapid.T) {
	s := span{
		first: rapid.Uint32Range(0, uint32(len(p.used))+2).Draw(t, "first") * line,
		n:     rapid.Uint32Range(1, 8).Draw(t, "lines") * line,
	}
	fits := p.free(s)
	if ok := p.spans.use(s); ok != fits {
		t.Fatalf("use(%v): got %t, want %t", s, ok, fits)
	}
	if fits {
		p.mark(s, true)
		p.taken = append(p.taken, s)
	}
}

func (p *plainSpans) release(t *rapid.T) {
	if len(p.taken) == 0 {
		return
	}
	i := rapid.IntRange(0, len(p.taken)-1).Draw(t, "range")
	p.spans.release(p.taken[i])
	p.mark(p.taken[i], false)
	p.taken = append(p.taken[:i], p.taken[i+1:]...)
}

func (p *plainSpans) check(t *rapid.T) {
	var n uint32
	for _, used := range p.used {
		if !used {
			n += line
		}
	}
	if p.spans.available() != n {
		t.Fatalf("available: got %d, want %d", p.spans.available(), n)
	}
	for i := 1; i < len(p.spans.free); i++ {
		if p.spans.free[i-1].end() >= p.spans.free[i].first {
			t.Fatalf("pieces without a gap: %v", p.spans.free)
		}
	}
}
