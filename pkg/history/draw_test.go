// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"time"

	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/lb"
)

// step is one thing that happens in a history. What is drawn of it does not
// depend on what happened before, so that a history without one of its steps is
// a history too, and a counter-example can be shrunk to the steps that matter.
type step struct {
	kind    string
	edits   []edit
	packets burst

	fault    fault  // kills the agent
	restart  bool   // another one follows; else it was an operation that went wrong
	between  int    // after this operation the packets come, 0: they do not
	nested   []edit // come while the agent looks at records, packets after each
	back     bool   // and then they are taken back
	rounds   int
	pause    time.Duration
	who      string // talks meanwhile
	synFlood int
}

// burst is packets of some clients, one after the other.
type burst struct {
	kind     string
	first, n int
}

// What can happen; that to which a counter-example is shrunk stands first.
var (
	steps   = []string{"packets", "change", "time", "change", "time", "packets", "change", "time", "flap", "flood", "restart", "outage"}
	traffic = []string{"talk", "connect", "talk", "connect", "syn", "fin", "rst", "stray"}
	talkers = []string{"none talks", "all that must talk", "all talk", "every third must talk", "all that must talk"}
	edits   = []string{
		"backend", "health", "mode", "weight", "reach", "table_size", "algorithm", "on_down", "on_all_down", "listener",
		"backend", "health", "mode", "backend", "backend", "health", "mode", "backend",
	}
)

// drawSteps draws histories of clients.
func drawSteps(clients int) *rapid.Generator[[]step] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step { return drawStep(t, clients) }), 1, 30)
}

func drawStep(t *rapid.T, clients int) step {
	s := step{kind: rapid.SampledFrom(steps).Draw(t, "step")}
	switch s.kind {
	case "packets":
		s.packets = drawBurst(t, clients)
	case "change", "flap":
		s.edits = rapid.SliceOfN(rapid.Custom(drawEdit), 1, 4).Draw(t, "edits")
		s.drawTrouble(t, clients)
	case "time":
		s.rounds = rapid.IntRange(1, 12).Draw(t, "rounds")
		s.pause = drawPause(t, 1000, 2000, 500, 2500, 3700)
		s.who = rapid.SampledFrom(talkers).Draw(t, "who talks")
		s.drawTrouble(t, clients)
		if oneIn(t, 6, "nested") {
			s.nested = rapid.SliceOfN(rapid.Custom(drawEdit), 1, 3).Draw(t, "nested")
			s.back = rapid.Bool().Draw(t, "back")
		}
	case "flood":
		s.synFlood = rapid.SampledFrom([]int{1, 50, 500}).Draw(t, "SYNs")
	case "outage":
		s.pause = drawPause(t, 1000, 9000, 100_000)
		s.packets = drawBurst(t, clients)
	}
	return s
}

// drawTrouble draws what gets between the operations of an agent.
func (s *step) drawTrouble(t *rapid.T, clients int) {
	if oneIn(t, 4, "killed") {
		s.fault = fault{at: rapid.IntRange(1, 40).Draw(t, "at"), after: rapid.Bool().Draw(t, "after")}
		s.restart = rapid.Bool().Draw(t, "restart")
	}
	if oneIn(t, 4, "between") {
		s.between = rapid.IntRange(1, 40).Draw(t, "operation")
	}
	s.packets = drawBurst(t, clients)
}

func drawBurst(t *rapid.T, clients int) burst {
	b := burst{kind: rapid.SampledFrom(traffic).Draw(t, "packets"), first: rapid.IntRange(0, clients-1).Draw(t, "first")}
	b.n = rapid.IntRange(1, clients).Draw(t, "clients")
	return b
}

func drawEdit(t *rapid.T) edit {
	return edit{
		port:      rapid.SampledFrom(ports).Draw(t, "listener"),
		kind:      rapid.SampledFrom(edits).Draw(t, "edit"),
		n:         rapid.IntRange(1, servers).Draw(t, "backend"),
		weight:    rapid.SampledFrom([]uint8{100, 50, 1, 255}).Draw(t, "weight"),
		mode:      rapid.SampledFrom([]lb.Mode{lb.ModeDrain, lb.ModeAccept, lb.ModeReject, lb.ModeBackup}).Draw(t, "mode"),
		health:    rapid.SampledFrom([]lb.Health{lb.HealthDown, lb.HealthUp, lb.HealthUnknown}).Draw(t, "health"),
		tableSize: rapid.SampledFrom([]uint32{7, 13, 31, 61, 127, 251}).Draw(t, "table_size"),
		backends:  rapid.IntRange(0, 4).Draw(t, "backends"),
	}
}

func drawPause(t *rapid.T, ms ...int) time.Duration {
	return time.Duration(rapid.SampledFrom(ms).Draw(t, "ms")) * time.Millisecond
}

// oneIn draws something that is not the case in the simplest of histories.
func oneIn(t *rapid.T, n int, label string) bool { return rapid.IntRange(0, n-1).Draw(t, label) == n-1 }
