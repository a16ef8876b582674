// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// longListing is a listing that may have a million rows. They are made while
// they are written, so that no more than some of them are in memory at once.
type longListing struct {
	columns []column
	rows    int
	cells   func(row int) []string // of the table
	value   func(row int) any      // what JSON and YAML show
}

// longChunk is how many rows are made at once for JSON and YAML.
const longChunk = 1024

// writeLong writes the bytes that write would for the same rows.
func (e *Environment) writeLong(f format, l longListing) error {
	out := bufio.NewWriterSize(e.Stdout, 1<<16)
	var err error
	switch f {
	case formatJSON:
		err = l.writeJSON(out)
	case formatYAML:
		err = l.writeYAML(out)
	default:
		l.writeTable(out, e.colours())
	}
	if err != nil {
		return err
	}
	if err := out.Flush(); err != nil { // the first error of all writes
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}

// writeTable makes each row twice: once for the widths of the columns.
func (l longListing) writeTable(out *bufio.Writer, colours bool) {
	header, widths := headerOf(l.columns)
	for i := range l.rows {
		widen(widths, l.cells(i))
	}
	_, _ = out.WriteString(tableLine(l.columns, header, widths, false))
	for i := range l.rows {
		if _, err := out.WriteString(tableLine(l.columns, l.cells(i), widths, colours)); err != nil {
			return // Flush returns it too
		}
	}
}

func (l longListing) writeJSON(out io.StringWriter) error {
	const begin, end = "[\n", "\n]\n"
	before := begin
	err := l.chunks(jsonText, func(text string) error {
		inner, ok := strings.CutPrefix(text, begin)
		if !ok { // no rows
			_, err := out.WriteString(text)
			return err
		}
		_, err := out.WriteString(before + strings.TrimSuffix(inner, end))
		before = ",\n"
		return err
	})
	if err == nil && l.rows > 0 {
		_, err = out.WriteString(end)
	}
	return err
}

// writeYAML goes by that lists in block style are one list, one after another.
func (l longListing) writeYAML(out io.StringWriter) error {
	return l.chunks(yamlText, func(text string) error {
		_, err := out.WriteString(text)
		return err
	})
}

// chunks calls write with the text of some rows after the other; of none, if
// there are none.
func (l longListing) chunks(text func(any) (string, error), write func(string) error) error {
	values := make([]any, 0, min(l.rows, longChunk))
	for first := 0; first == 0 || first < l.rows; first += longChunk {
		values = values[:0]
		for i := first; i < min(first+longChunk, l.rows); i++ {
			values = append(values, l.value(i))
		}
		s, err := text(values)
		if err != nil {
			return err
		}
		if err := write(s); err != nil {
			return fmt.Errorf("writing the output: %w", err)
		}
	}
	return nil
}
