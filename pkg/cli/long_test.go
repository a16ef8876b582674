// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A long listing is written as any other, however many rows it has.
func TestLongListing(t *testing.T) {
	type row struct {
		Number int      `json:"number"`
		Text   string   `json:"text"`
		List   []string `json:"list"`
	}
	columns := []column{{name: "NUMBER", right: true}, {name: "TEXT"}}
	cells := func(r row) []string { return []string{fmt.Sprint(r.Number), r.Text} }
	for _, n := range []int{0, 1, 2, longChunk - 1, longChunk, longChunk + 1, 2*longChunk + 7} {
		var rows []row
		for i := range n {
			rows = append(rows, row{Number: i, Text: fmt.Sprintf("- [%d]\n", i*i), List: []string{}})
		}
		short := listOf(rows, columns, cells)
		long := listing{long: &longListing{
			columns: columns, rows: n,
			cells: func(i int) []string { return cells(rows[i]) },
			value: func(i int) any { return rows[i] },
		}}
		for _, f := range []format{formatTable, formatJSON, formatYAML} {
			if diff := cmp.Diff(written(t, f, short), written(t, f, long)); diff != "" {
				t.Errorf("%d rows as %s (-as any other +as long):\n%s", n, f, diff)
			}
		}
	}
}

func written(t *testing.T, f format, l listing) string {
	t.Helper()
	var out bytes.Buffer
	env := &Environment{Stdout: &out, Getenv: func(string) string { return "" }}
	if err := env.write(f, l); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// brokenPipe takes nothing.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestLongListingNotWritten(t *testing.T) {
	env := &Environment{Stdout: brokenPipe{}, Getenv: func(string) string { return "" }}
	long := longListing{
		columns: []column{{name: "N"}}, rows: 100000,
		cells: func(i int) []string { return []string{fmt.Sprint(i)} }, value: func(i int) any { return i },
	}
	for _, f := range []format{formatTable, formatJSON, formatYAML} {
		if err := env.write(f, listing{long: &long}); err == nil || err.Error() != "writing the output: broken pipe" {
			t.Errorf("%s: %v", f, err)
		}
	}
}
