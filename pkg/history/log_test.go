// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// journal is what happened, in order.
type journal struct{ lines []line }

// line is one thing that happened: a step, or a packet. Packets are many, and
// put into words only where they matter.
type line struct {
	step  string
	flow  model.Flow // of a packet
	flags packet.TCPFlags
	outcome
}

// outcome is what became of a packet as far as its sender and receiver can tell,
// and how that was decided.
type outcome struct {
	to       netip.Addr // the backend that got it, not valid if none did
	reason   string     // as model.Forwarded
	decided  string     // "" in a steady slot
	broken   string
	overflow bool
}

func (o outcome) String() string {
	to := "went to " + labelOf(o.to)
	if !o.to.IsValid() {
		to = strings.ToLower(o.reason)
	}
	if o.decided == "" {
		return to
	}
	how := "decided: " + o.decided
	if o.broken != "" {
		how += ", broken: " + o.broken
	}
	if o.overflow {
		how += ", overflow"
	}
	return fmt.Sprintf("%s (%s)", to, how)
}

// say notes a step.
func (j *journal) say(format string, args ...any) {
	j.lines = append(j.lines, line{step: fmt.Sprintf(format, args...)})
}

// packet notes a packet.
func (j *journal) packet(f model.Flow, flags packet.TCPFlags, o outcome) {
	j.lines = append(j.lines, line{flow: f, flags: flags, outcome: o})
}

// tell returns the steps, and the packets of one flow among them.
func (j *journal) tell(f model.Flow) string {
	var s strings.Builder
	for _, l := range j.lines {
		switch {
		case l.step != "":
			fmt.Fprintf(&s, "%s\n", l.step)
		case l.flow == f:
			fmt.Fprintf(&s, "    %s: %s\n", packetText(f, l.flags), l.outcome)
		}
	}
	return s.String()
}

// packetText returns a packet as "tcp 192.0.2.7:40001 > 203.0.113.10:443 ACK".
func packetText(f model.Flow, flags packet.TCPFlags) string {
	if f.Protocol == lb.UDP {
		return f.String()
	}
	return fmt.Sprintf("%s %s", f, flags)
}
