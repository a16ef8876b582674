// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// packetTest says all that must become of a frame. What it does not say must
// not happen: no other counter of any map moves.
type packetTest struct {
	name string
	in   packet.Frame
	want verdict
}

// verdict is what becomes of a frame.
type verdict struct {
	action   model.Action
	reason   string
	out      []byte        // nil: as it came in
	listener model.Service // that counts it, if any
	backend  bool          // counts it: the first of that listener
}

// passes is the verdict on what the host gets as it is.
func passes(reason string) verdict { return verdict{action: model.Pass, reason: reason} }

// drops is the verdict on what no listener counts.
func drops(reason string) verdict { return verdict{action: model.Drop, reason: reason} }

// dropsOf is the verdict on what a listener counts as dropped.
func dropsOf(reason string, vip netip.Addr, port uint16, p lb.Protocol) verdict {
	return verdict{action: model.Drop, reason: reason, listener: service(vip, port, p)}
}

// aborts is the verdict on what cannot be done for a listener.
func aborts(reason string, vip netip.Addr, port uint16, p lb.Protocol) verdict {
	return verdict{action: model.Aborted, reason: reason, listener: service(vip, port, p)}
}

// forwards is the verdict on what goes to the backend of a way.
func (w way) forwards(vip netip.Addr, p lb.Protocol, out packet.Frame) verdict {
	return verdict{
		action: w.action, reason: "forwarded", out: out.Bytes(), listener: service(vip, w.port, p), backend: true,
	}
}

// packetGroup is a table of tests on one data plane.
type packetGroup struct {
	name  string
	open  func(t testing.TB) *lab
	tests func() []packetTest
}

func packetGroups() []packetGroup {
	return []packetGroup{
		{"pass", standardLab, passTests},
		{"malformed", standardLab, malformedTests},
		{"echo", standardLab, echoTests},
		{"forward", standardLab, forwardTests},
		{"outer", standardLab, outerTests},
		{"drop", standardLab, dropTests},
		{"mtu", standardLab, mtuTests},
		{"reject", standardLab, rejectTests},
		{"reject limit", spentLab, rejectLimitTests},
		{"no headroom", crampedLab, headroomTests},
		{"bad table", corruptLab, badTableTests},
		{"only ipip4", onlyLab(Features{IPIP4: true}), onlyTests(Features{IPIP4: true})},
		{"only ipip6", onlyLab(Features{IPIP6: true}), onlyTests(Features{IPIP6: true})},
		{"only dsr", onlyLab(Features{DSR: true}), onlyTests(Features{DSR: true})},
	}
}

func TestPackets(t *testing.T) {
	for _, group := range packetGroups() {
		t.Run(group.name, func(t *testing.T) {
			l := group.open(t)
			for _, test := range group.tests() {
				t.Run(test.name, func(t *testing.T) { l.checkPacket(t, test) })
			}
			got, err := l.tables.ReasonCounters()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(l.counts.reasons[:len(l.reasons)], got); diff != "" {
				t.Errorf("ReasonCounters (-want +got):\n%s", diff)
			}
		})
	}
}

func (l *lab) checkPacket(t *testing.T, test packetTest) {
	t.Helper()
	frame := test.in.Bytes()
	want := test.want.result(l, frame)
	l.check(t, frame, want)
	out := l.check(t, frame, want) // its listener has been found before
	if want.Action == model.TX || want.Action == model.Redirect {
		checkGopacket(t, frame, out, want)
	}
	// The model does not know what cannot happen.
	if want.Action != model.Aborted {
		l.checkModel(t, frame, want)
	}
}

// checkModel compares what the model makes of a frame with what is right.
func (l *lab) checkModel(t *testing.T, frame []byte, want model.Result) {
	t.Helper()
	got := l.config.Run(frame)
	if got.Action != want.Action || strings.ToLower(got.Reason) != want.Reason {
		t.Errorf("the model says %s %s", got.Action, got.Reason)
	}
	if got.Listener != want.Listener || got.Backend != want.Backend {
		t.Errorf("the model counts it for listener %d and backend %d", l.listeners[got.Listener], l.backends[got.Backend])
	}
	if diff := packet.Diff(want.Frame, got.Frame); diff != "" {
		t.Errorf("the frame of the model (-want +got):\n%s", diff)
	}
}

// result returns the verdict on a frame in the model's words.
func (v verdict) result(l *lab, frame []byte) model.Result {
	r := model.Result{Action: v.action, Reason: v.reason, Frame: frame}
	if v.out != nil {
		r.Frame = v.out
	}
	if v.listener != (model.Service{}) {
		r.Listener = l.config.Listeners[v.listener]
		if v.backend {
			r.Backend = r.Listener.Backends[1]
		}
	}
	return r
}

// TestEveryReasonHasAPacket: what is added to the enum gets a test.
func TestEveryReasonHasAPacket(t *testing.T) {
	names, err := Reasons()
	if err != nil {
		t.Fatal(err)
	}
	tested := make(map[string]bool)
	for _, group := range packetGroups() {
		for _, test := range group.tests() {
			tested[test.want.reason] = true
		}
	}
	for _, name := range names[1:] {
		if !tested[name] {
			t.Errorf("no packet test has the reason %s", name)
		}
		delete(tested, name)
	}
	for name := range tested {
		t.Errorf("packet tests have the reason %s, which there is not", name)
	}
}

// TestReasonsSayTheAction: the prefix of a reason's name is the action.
func TestReasonsSayTheAction(t *testing.T) {
	prefixes := map[string][]model.Action{
		"pass": {model.Pass}, "drop": {model.Drop}, "aborted": {model.Aborted},
		"echo": {model.TX}, "reset": {model.TX}, "unreachable": {model.TX}, "forwarded": {model.TX, model.Redirect},
	}
	for _, group := range packetGroups() {
		for _, test := range group.tests() {
			prefix, _, _ := strings.Cut(test.want.reason, "_")
			if !slices.Contains(prefixes[prefix], test.want.action) {
				t.Errorf("%s, %s: %s has the action %s", group.name, test.name, test.want.reason, test.want.action)
			}
		}
	}
}
