// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package manual

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLinks follows every link of the documents to a file or a heading of this
// repository.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, p := range readPages(t) {
		for _, m := range link.FindAllStringSubmatch(withoutCode(p.text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := p
			if path != "" {
				rel := filepath.Join(filepath.Dir(p.path), path)
				if _, err := os.Stat(filepath.Join(root, rel)); err != nil {
					t.Errorf("%s links to %s: %v", p.path, m[1], err)
					continue
				}
				if anchor == "" {
					continue
				}
				target = readPage(t, rel)
			}
			if !target.hasAnchor(anchor) {
				t.Errorf("%s links to %s, but there is no such heading", p.path, m[1])
			}
		}
	}
}

// withoutCode removes code blocks and code within lines, in which brackets are
// no links.
func withoutCode(text string) string {
	text = regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
	return regexp.MustCompile("`[^`]*`").ReplaceAllString(text, "code")
}

// hasAnchor reports whether a heading has that anchor: in lower case, spaces as
// hyphens, without punctuation.
func (p page) hasAnchor(anchor string) bool {
	drop := regexp.MustCompile(`[^a-z0-9 _-]`)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(p.text, -1) {
		slug := drop.ReplaceAllString(strings.ToLower(m[1]), "")
		if strings.ReplaceAll(slug, " ", "-") == anchor {
			return true
		}
	}
	return false
}
