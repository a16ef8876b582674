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

// root is the top of the repository, as seen from this package.
const root = "../.."

// page is a document, by its path from the root.
type page struct {
	path string
	text string
}

func readPage(t *testing.T, path string) page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return page{path: path, text: string(text)}
}

// readPages returns the documents of the root and of docs.
func readPages(t *testing.T) []page {
	t.Helper()
	var pages []page
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			rel, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			pages = append(pages, readPage(t, rel))
		}
	}
	return pages
}

// section returns what stands below a heading, up to the next of its level or
// above.
func (p page) section(t *testing.T, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(p.text, "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %q", p.path, heading)
	}
	level := strings.Count(strings.Fields(heading)[0], "#")
	for _, end := range regexp.MustCompile(`(?m)^#+ `).FindAllStringIndex(text, -1) {
		if end[1]-end[0]-1 <= level {
			return text[:end[0]]
		}
	}
	return text
}

// block is a fenced block that a test looks at, because a comment such as
// <!-- test: client --> stands before it.
type block struct {
	label  string // of the comment
	text   string
	output []string // lines that a block after <!-- output --> says it prints
}

// blocks returns the blocks whose label begins with one of the prefixes, in
// order.
func (p page) blocks(prefixes ...string) []block {
	marked := regexp.MustCompile("(?s)<!-- (test: [^>]*|output) -->\n+```[a-z]*\n(.*?\n)```\n")
	var out []block
	mine := false // whether the block before is one of those asked for
	for _, m := range marked.FindAllStringSubmatch(p.text, -1) {
		if m[1] == "output" {
			if mine {
				last := &out[len(out)-1]
				last.output = append(last.output, nonEmptyLines(m[2])...)
			}
			continue
		}
		label := strings.TrimPrefix(m[1], "test: ")
		mine = false
		for _, prefix := range prefixes {
			mine = mine || strings.HasPrefix(label, prefix)
		}
		if mine {
			out = append(out, block{label: label, text: m[2]})
		}
	}
	return out
}

func nonEmptyLines(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, " \n"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// table returns the rows of the table after a comment such as
// <!-- test: reasons -->, without its head, by cells.
func (p page) table(t *testing.T, label string) [][]string {
	t.Helper()
	_, text, found := strings.Cut(p.text, "<!-- test: "+label+" -->\n")
	if !found {
		t.Fatalf("%s has no table marked %q", p.path, label)
	}
	var rows [][]string
	for line := range strings.Lines(strings.TrimLeft(text, "\n")) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		var cells []string
		for _, cell := range strings.Split(strings.Trim(line, "|\n"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		rows = append(rows, cells)
	}
	if len(rows) < 3 {
		t.Fatalf("%s: the table marked %q is empty", p.path, label)
	}
	return rows[2:]
}

// codeSpans returns what stands between backquotes within lines.
func codeSpans(text string) (spans []string) {
	prose := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(prose, -1) {
		spans = append(spans, strings.Join(strings.Fields(m[1]), " "))
	}
	return spans
}

// fences returns the contents of all fenced blocks.
func fences(text string) (out []string) {
	for _, m := range regexp.MustCompile("(?s)```[a-z]*\n(.*?)```").FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

// matches reports whether a line is as expected, where "..." stands for
// anything and any number of spaces for as many or as few.
func matches(expected, line string) bool {
	var parts []string
	for _, part := range strings.Split(expected, "...") {
		words := strings.Fields(part)
		for i := range words {
			words[i] = regexp.QuoteMeta(words[i])
		}
		parts = append(parts, strings.Join(words, ` +`))
	}
	return regexp.MustCompile(`^ *` + strings.Join(parts, `.*`) + ` *$`).MatchString(line)
}
