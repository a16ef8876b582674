// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"fmt"
	"strings"
)

// Diff returns how two frames differ, layer by layer, in the manner of diff:
// lines of want only start with "-", lines of got only with "+". It returns ""
// for equal frames.
func Diff(want, got []byte) string {
	if bytes.Equal(want, got) {
		return ""
	}
	w, g := describe(want), describe(got)
	head := 0
	for head < min(len(w), len(g)) && w[head] == g[head] {
		head++
	}
	tail := 0
	for tail < min(len(w), len(g))-head && w[len(w)-1-tail] == g[len(g)-1-tail] {
		tail++
	}
	var s strings.Builder
	write := func(sign string, lines []string) {
		for _, l := range lines {
			fmt.Fprintf(&s, "%s %s\n", sign, l)
		}
	}
	write(" ", w[:head])
	write("-", w[head:len(w)-tail])
	write("+", g[head:len(g)-tail])
	write(" ", w[len(w)-tail:])

	at := 0
	for at < min(len(want), len(got)) && want[at] == got[at] {
		at++
	}
	fmt.Fprintf(&s, "want %d bytes, got %d; they differ from byte %d on:\n", len(want), len(got), at)
	fmt.Fprintf(&s, "- %s\n+ %s\n", excerpt(want, at), excerpt(got, at))
	return s.String()
}

// describe returns the layers of a frame and what is wrong with it as lines.
func describe(frame []byte) []string {
	layers, err := Decode(frame)
	var lines []string
	for _, l := range layers {
		lines = append(lines, l.String())
	}
	if err != nil {
		for l := range strings.SplitSeq(err.Error(), "\n") {
			lines = append(lines, "! "+l)
		}
	}
	return lines
}

// excerpt returns a few bytes of b from at on.
func excerpt(b []byte, at int) string {
	const most = 32
	b = b[min(at, len(b)):]
	if len(b) > most {
		return fmt.Sprintf("%x…", b[:most])
	}
	return fmt.Sprintf("%x", b)
}
