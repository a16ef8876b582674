// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package manual

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/bpf"
	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/maglev"
)

func source(t *testing.T, path string) string {
	t.Helper()
	text, err := bpf.Source.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReasons compares the tables of reasons with the enums in C, and those
// with the names that the compiled programs have.
func TestReasons(t *testing.T) {
	for _, c := range []struct {
		label, header, prefix string
		compiled              func() ([]string, error)
	}{
		{"reasons", "lib/verdict_reasons.h", "REASON_", dataplane.Reasons},
		{"node reasons", "lib/node_reasons.h", "NODE_REASON_", dataplane.NodeReasons},
	} {
		enumerators := regexp.MustCompile(`(?m)^\t` + c.prefix + `([A-Z0-9_]+) = ([0-9]+),`)
		var want, got []string
		for _, m := range enumerators.FindAllStringSubmatch(source(t, c.header), -1) {
			if m[1] != "NONE" && m[1] != "MAX" {
				want = append(want, m[2]+" `"+strings.ToLower(m[1])+"`")
			}
		}
		for _, row := range readPage(t, "ARCHITECTURE.md").table(t, c.label) {
			got = append(got, row[0]+" "+row[1])
			if len(row) != 5 || slices.Contains(row, "") {
				t.Errorf("%s: the row of %s has empty cells", c.label, row[1])
			}
			checkAction(t, strings.Trim(row[1], "`"), row[2])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("ARCHITECTURE.md has other %s than %s (-C +page):\n%s", c.label, c.header, diff)
		}
		compiled, err := c.compiled()
		if err != nil {
			t.Fatal(err)
		}
		if len(compiled) != len(want)+1 { // "none" is not in the table
			t.Errorf("%s: the compiled program has %d reasons, the source %d", c.header, len(compiled)-1, len(want))
		}
	}
}

// checkAction compares an action with the prefix of its reason, which says it.
func checkAction(t *testing.T, reason, action string) {
	t.Helper()
	prefix, _, _ := strings.Cut(reason, "_")
	if slices.Contains([]string{"pass", "drop", "aborted"}, prefix) && action != strings.ToUpper(prefix) {
		t.Errorf("%s has the action %s", reason, action)
	}
}

// TestMaps compares the table of maps with the definitions in C.
func TestMaps(t *testing.T) {
	definition := regexp.MustCompile(`(?s)BPF_MAP_TYPE_([A-Z_]+)\);[^}]*\} ([a-z0-9_]+) SEC\("\.maps"\)`)
	var want, got []string
	for _, path := range []string{"lib/maps.h", "node_xdp.c"} {
		for _, m := range definition.FindAllStringSubmatch(source(t, path), -1) {
			want = append(want, "`"+m[2]+"` "+strings.ToLower(m[1]))
		}
	}
	for _, row := range readPage(t, "ARCHITECTURE.md").table(t, "maps") {
		got = append(got, row[0]+" "+row[1])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ARCHITECTURE.md has other maps than the source (-C +page):\n%s", diff)
	}
}

// TestPackages looks for every package in the section about them, and for the
// packages that the section names.
func TestPackages(t *testing.T) {
	section := readPage(t, "ARCHITECTURE.md").section(t, "## The packages")
	files, err := filepath.Glob(filepath.Join(root, "pkg/*/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := "pkg/" + filepath.Base(filepath.Dir(file))
		if !strings.Contains(section, "`"+name+"`") {
			t.Errorf("ARCHITECTURE.md says nothing about %s", name)
			section += "`" + name + "`" // once is enough
		}
	}
	for _, span := range codeSpans(readPage(t, "ARCHITECTURE.md").section(t, "## The packages")) {
		if _, err := os.Stat(filepath.Join(root, span)); strings.HasPrefix(span, "pkg/") && err != nil {
			t.Errorf("ARCHITECTURE.md names %s: %v", span, err)
		}
	}
}

// TestSlotExample builds the table of the worked example and compares its
// first line with what the page shows.
func TestSlotExample(t *testing.T) {
	blocks := readPage(t, "ARCHITECTURE.md").blocks("slots")
	if len(blocks) != 1 {
		t.Fatalf("ARCHITECTURE.md has %d blocks marked slots, want 1", len(blocks))
	}
	table := make([]uint16, 16381)
	var builder maglev.Builder
	builder.Build(table, config.Defaults().Seed, []maglev.Member{
		{Address: netip.MustParseAddrPort("198.51.100.2:80"), Weight: 100, ID: 1},
		{Address: netip.MustParseAddrPort("198.51.100.3:80"), Weight: 100, ID: 2},
	})
	var words []string
	for _, current := range table[:dataplane.SlotsPerLine] {
		words = append(words, fmt.Sprint(uint32(current)|uint32(current)<<15))
	}
	if want := `"slot": [` + strings.Join(words, ",") + `]`; !strings.Contains(blocks[0].text, want) {
		t.Errorf("the example in ARCHITECTURE.md should say:\n%s\nand says:\n%s", want, blocks[0].text)
	}
}

// TestNames looks for what ARCHITECTURE.md names, and CONTRIBUTING.md too:
// functions, with their brackets or their receivers, and files.
func TestNames(t *testing.T) {
	code := sources(t)
	var all strings.Builder
	for _, text := range code {
		all.WriteString(text)
	}
	function := regexp.MustCompile(`^(?:[A-Za-z]+\.)?([A-Za-z0-9_]+)\(\)$`)
	method := regexp.MustCompile(`^[A-Za-z]+\.([A-Z][A-Za-z0-9]+|[a-z]+[A-Z][A-Za-z]+)$`)
	file := regexp.MustCompile(`^[A-Za-z0-9_./]+\.(go|h|c|json)$`)
	for _, path := range []string{"ARCHITECTURE.md", "CONTRIBUTING.md"} {
		for _, span := range codeSpans(readPage(t, path).text) {
			if m := function.FindStringSubmatch(span); m != nil {
				declared := regexp.MustCompile(`(?m)^(func .*\b|static .*\b|__noinline .*\b|int )` + m[1] + `(\[[^\]]*\])?\(`)
				if !declared.MatchString(all.String()) {
					t.Errorf("%s names the function %s, which is not there", path, span)
				}
			} else if m := method.FindStringSubmatch(span); m != nil {
				declared := regexp.MustCompile(`(?m)^(func .*\b|type )` + m[1] + `\b`)
				if !declared.MatchString(all.String()) {
					t.Errorf("%s names %s, which is not there", path, span)
				}
			} else if file.MatchString(span) && !slices.ContainsFunc(code.paths(), func(p string) bool {
				return strings.HasSuffix("/"+p, "/"+span)
			}) {
				t.Errorf("%s names the file %s, which is not there", path, span)
			}
		}
	}
}

// tree is the text of files by their paths from the root.
type tree map[string]string

func (tr tree) paths() (paths []string) {
	for path := range tr {
		paths = append(paths, path)
	}
	return paths
}

// sources reads what the pages may name.
func sources(t *testing.T) tree {
	t.Helper()
	code := make(tree)
	for _, dir := range []string{"bpf", "cmd", "pkg", "scripts"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !slices.Contains([]string{".go", ".h", ".c", ".json"}, filepath.Ext(path)) {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, path)
			code[rel] = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return code
}
