// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"
)

// printPackets prints the table of packets. The first one is the floor.
func printPackets(all []*packet) {
	w := newTable("packet", "flows", "ns", "x floor", "bound", "")
	floor := all[0].ns
	low, high := 0.0, 0.0
	for _, p := range all {
		ns := p.ns
		bound, verdict := "", ""
		if p.steady {
			bound, verdict = fmt.Sprintf("%.2f", steadyBound), judge(ns/floor, steadyBound)
			if low == 0 || ns < low {
				low = ns
			}
			high = max(high, ns)
		}
		row(w, p.name, thousands(int(p.stream.flows)), fmt.Sprintf("%.1f", ns), fmt.Sprintf("%.2f", ns/floor), bound, verdict)
	}
	if low > 0 {
		row(w, "most to fewest ns of the bounded", "", "", fmt.Sprintf("%.2f", high/low),
			fmt.Sprintf("%.2f", flatBound), judge(high/low, flatBound))
	}
	w.Flush()
}

// newTable starts a table on standard output, with its head.
func newTable(head ...string) *tabwriter.Writer {
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	row(w, head...)
	return w
}

// row prints a row of a table, its first cell to the left.
func row(w io.Writer, cells ...string) {
	fmt.Fprintf(w, "%-33s\t", cells[0])
	for _, c := range cells[1:] {
		fmt.Fprint(w, c, "\t")
	}
	fmt.Fprintln(w)
}

// judge compares a figure with its bound.
func judge(figure, bound float64) string {
	if figure > bound {
		return "MISSED"
	}
	return "ok"
}

// thousands writes n with commas.
func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
