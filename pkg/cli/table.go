// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// table is a listing for people.
type table struct {
	columns []column
	rows    [][]string
}

// column says how the cells of a column look.
type column struct {
	name   string
	right  bool                // numbers stand below each other
	colour func(string) string // of a cell's text; nil: none
}

// text returns the table with a header, two spaces between columns, and
// nothing behind the last.
func (t table) text(colours bool) string {
	header, widths := headerOf(t.columns)
	for _, row := range t.rows {
		widen(widths, row)
	}
	var b strings.Builder
	b.WriteString(tableLine(t.columns, header, widths, false))
	for _, row := range t.rows {
		b.WriteString(tableLine(t.columns, row, widths, colours))
	}
	return b.String()
}

// headerOf returns the first line of a table, and the widths that it takes.
func headerOf(columns []column) (header []string, widths []int) {
	for _, c := range columns {
		header, widths = append(header, c.name), append(widths, len(c.name))
	}
	return header, widths
}

// widen makes room for a row.
func widen(widths []int, row []string) {
	for i, cell := range row {
		widths[i] = max(widths[i], utf8.RuneCountInString(cell))
	}
}

// tableLine returns a row of a table as a line of text.
func tableLine(columns []column, cells []string, widths []int, colours bool) string {
	var line strings.Builder
	for i, cell := range cells {
		if i > 0 {
			line.WriteString("  ")
		}
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		if colour := columns[i].colour; colours && colour != nil {
			cell = colour(cell)
		}
		if columns[i].right {
			cell, pad = pad, cell
		}
		line.WriteString(cell + pad)
	}
	return strings.TrimRight(line.String(), " ") + "\n"
}

// Colours of a terminal.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

func coloured(text, code string) string { return "\x1b[" + code + "m" + text + "\x1b[0m" }

// healthColour shows at a glance what needs a look.
func healthColour(health string) string {
	switch health {
	case "up":
		return coloured(health, green)
	case "down":
		return coloured(health, red)
	}
	return coloured(health, yellow)
}

// bytesText returns a number of bytes for people. JSON and YAML have it exact.
func bytesText(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, 0
	for value >= unit && prefix < len("KMGTPE")-1 {
		value, prefix = value/unit, prefix+1
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTPE"[prefix])
}

func packetsText(n uint64) string { return strconv.FormatUint(n, 10) }

func countText[N uint8 | uint16 | uint32](n N) string { return strconv.FormatUint(uint64(n), 10) }

// percentText returns part of whole, 0 % of nothing.
func percentText(part, whole uint32) string {
	if whole == 0 {
		return "0.0%"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(whole))
}

// join returns the texts of values with sep in between.
func join[T fmt.Stringer](values []T, sep string) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v.String()
	}
	return strings.Join(texts, sep)
}

func yesText(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// orDash stands for what is not there.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
