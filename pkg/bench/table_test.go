// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
)

// printPackets prints the table of packets. The first one is the floor.
func printPackets(all []*packet) {
	w := newTable("packet", "flows", "ns", "x floor", "bound", "")
	floor := all[0].ns
	for _, p := range all {
		bound, verdict := "", ""
		if p.path == steadyPath {
			bound, verdict = fmt.Sprintf("%.2f", steadyBound), judge(p.ns/floor, steadyBound)
		}
		row(w, p.name, count(p.stream), fmt.Sprintf("%.1f", p.ns), fmt.Sprintf("%.2f", p.ns/floor), bound, verdict)
	}
	w.Flush()

	w = newTable("ratio", "flows", "", "bound", "")
	last := ""
	for _, p := range all {
		if p.path == steadyPath && p.name != last {
			flat := flatness(all, p.name)
			row(w, p.name+", most to fewest ns", "", fmt.Sprintf("%.2f", flat),
				fmt.Sprintf("%.2f", flatBound), judge(flat, flatBound))
			last = p.name
		}
	}
	for _, p := range all {
		printRatio(w, p, all)
	}
	w.Flush()
}

// flatness returns what the most expensive of the rows of a name costs, as a
// multiple of the cheapest.
func flatness(all []*packet, name string) float64 {
	low, high := math.Inf(1), 0.0
	for _, p := range all {
		if p.name == name {
			low, high = min(low, p.ns), max(high, p.ns)
		}
	}
	return high / low
}

// printRatio prints how a row compares with the steady path of the same family
// and number of flows.
func printRatio(w io.Writer, p *packet, all []*packet) {
	i := slices.IndexFunc(all, func(o *packet) bool { return o.path == steadyPath && o.stream == p.stream })
	if i < 0 {
		return
	}
	steady, flows := all[i].ns, count(p.stream)
	switch p.path {
	case againstPath:
		row(w, "steady to "+p.name, flows, fmt.Sprintf("%.2f", steady/p.ns), "", "")
	case recordedPath:
		bound, verdict := "", ""
		if p.stream.flows == recordedFlows {
			bound, verdict = fmt.Sprintf("%.2f", recordedBound), judge(p.ns/steady, recordedBound)
		}
		row(w, p.name+", to steady", flows, fmt.Sprintf("%.2f", p.ns/steady), bound, verdict)
	case steadyPath, otherPath:
	}
}

// count returns the number of flows of a stream.
func count(s stream) string {
	if s.flows == countless {
		return "ever new"
	}
	return thousands(int(s.flows))
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
	fmt.Fprintf(w, "%-44s\t", cells[0])
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
