// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import "strings"

// closest returns the one of words that text is probably a misspelling of.
func closest(text string, words []string) (string, bool) {
	text = strings.ToLower(strings.ReplaceAll(text, "-", "_"))
	if len(text) > maxShown {
		return "", false
	}
	best, least := "", 1+max(1, len(text)/3)
	for _, w := range words {
		if d := distance(text, w); d < least {
			best, least = w, d
		}
	}
	return best, best != ""
}

// distance is the number of letters to insert, remove, replace, or swap with
// their neighbour, to make b of a (optimal string alignment).
func distance(a, b string) int {
	before := make([]int, len(b)+1) // the row before last
	last := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
