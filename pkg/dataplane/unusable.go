// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"slices"
)

// unusableWords are the names of enum unusable in bpf/lib/types.h, by number. A
// test compares them with those of the compiled program.
var unusableWords = [...]string{
	Usable: "no", Removed: "removed", Down: "down", Drained: "drained", Rejected: "rejected", Unreachable: "unreachable",
}

// Unusables returns the reasons for which flows leave a backend, in the order
// of their numbers. Usable is not one of them.
func Unusables() []Unusable {
	return []Unusable{Removed, Down, Drained, Rejected, Unreachable}
}

// String returns the word for u in listings and metrics.
func (u Unusable) String() string {
	if int(u) < len(unusableWords) {
		return unusableWords[u]
	}
	return fmt.Sprintf("unknown(%d)", uint8(u))
}

// MarshalText returns the word for u.
func (u Unusable) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText accepts the words of String, such as "drained".
func (u *Unusable) UnmarshalText(text []byte) error {
	i := slices.Index(unusableWords[:], string(text))
	if i < 0 {
		return fmt.Errorf("%q is no reason for which flows leave a backend", text)
	}
	*u = Unusable(i)
	return nil
}
