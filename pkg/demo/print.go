// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"io"
)

// printer writes what the demo shows. Nothing depends on what it writes, so
// errors of the writer are not looked at.
type printer struct {
	w     io.Writer
	color bool
	steps int
}

func (p *printer) styled(code, text string) string {
	if !p.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p *printer) step(title string) {
	p.steps++
	fmt.Fprintf(p.w, "\n%s\n", p.styled("1", fmt.Sprintf("%d. %s", p.steps, title)))
}

func (p *printer) note(text string) { fmt.Fprintf(p.w, "   %s\n", text) }

func (p *printer) picture(l *lab) {
	fmt.Fprintf(p.w, `
   client %s        balancer %s         web-1 %s
        |      requests       |  XDP: 203.0.113.10   |  web-2, web-3
        |  ---------------->  |       203.0.113.20   |
   =====+=====================+======================+=====  one switch
        ^                                            |
        +--------------------------------------------+
               the backends answer the client directly
`, l.client.ipv4, l.balancer.ipv4, l.backends[0].ipv4)
}

const (
	tableHeadFormat = "   %-7s %-7s %-15s"
	tableCellFormat = " %7v"
)

func (p *printer) tableHead(backends []*host) {
	fmt.Fprintf(p.w, tableHeadFormat, "FORWARD", "FAMILY", "ADDRESS")
	for _, h := range backends {
		fmt.Fprintf(p.w, tableCellFormat, h.label)
	}
	fmt.Fprintf(p.w, tableCellFormat+"\n", "FAILED")
}

func (p *printer) tableRow(w way, backends []*host, a answers) {
	fmt.Fprintf(p.w, tableHeadFormat, w.forward, w.family, w.address)
	for _, h := range backends {
		fmt.Fprintf(p.w, tableCellFormat, a.by[h.label])
	}
	failed := fmt.Sprintf(tableCellFormat, a.failed)
	if a.failed > 0 {
		failed = p.styled("31", failed)
	}
	fmt.Fprintf(p.w, "%s\n", failed)
}

func (p *printer) done() {
	fmt.Fprintf(p.w, "\n%s\n", p.styled("32", "Every step worked, and everything is cleaned up."))
}
