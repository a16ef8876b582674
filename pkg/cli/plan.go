// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/lb"
)

const flagAll = "all"

func planCommand(env *Environment) *cli.Command {
	return &cli.Command{
		Name:      "plan",
		Usage:     "show what applying a configuration file would change",
		UsageText: "weir plan FILE [FLAGS]",
		Category:  groupChange,
		Description: `Asks the agent what weir apply FILE (- for standard input) would do now, and
changes nothing. With a mistake in FILE it lists them as weir check does.

BACKENDS are +added, -removed and ~changed in weight, mode or label; of many only
the numbers. Below the line of a listener is what differs in it. SLOTS of its table
would lead new flows to another backend: all of them, if the algorithm or hash_seed
is another. FLOWS are recorded now; MOVED of them would have to change backends,
because theirs goes. Flows that are not recorded are in no count, and in a steady
listener none is: a warning names each backend that would lose all that it has.

Examples:
  weir plan /etc/weir/weir.yaml
  weir plan new.yaml --all
  weir plan new.yaml -o json`,
		Flags: append(listingFlags(), &cli.BoolFlag{Name: flagAll, Usage: "list the listeners that do not change too"}),
		Action: func(c *cli.Context) error {
			format, err := outputFormat(c)
			if err != nil {
				return err
			}
			sent, report, err := sendConfig(env, c, (*control.Client).Plan)
			if err != nil {
				return err
			}
			env.warn(report.Warnings)
			if format != formatTable {
				return env.write(format, listing{value: report})
			}
			return env.print(planText(sent.name, report, c.Bool(flagAll), env.colours()))
		},
	}
}

// changes reports whether a plan leaves a listener other than it is.
func changes(l control.ListenerPlan) bool {
	return l.Change != control.PlanUnchanged || l.Slots > 0 || l.Moved > 0
}

// planText returns a plan for people: what changes, and how much does not.
func planText(name string, r control.PlanReport, all, colours bool) string {
	var listed []control.ListenerPlan
	var slots, flows, moved, changed int
	for _, l := range r.Listeners {
		if changes(l) {
			changed++
		}
		if all || changes(l) {
			listed = append(listed, l)
		}
		slots, flows, moved = slots+l.Slots, flows+l.Flows, moved+l.Moved
	}
	var b strings.Builder
	if len(listed) > 0 {
		b.WriteString(planTableText(listed, colours))
		b.WriteString("\n")
	}
	unchanged := plural(len(r.Listeners)-changed, "listener") + " unchanged"
	if changed == 0 {
		fmt.Fprintf(&b, "%s: nothing would change: %s; hash %s\n", name, unchanged, r.Hash)
		return b.String()
	}
	fmt.Fprintf(&b, "%s: %s would change, %s; %s would change, %d of %s would move; hash %s\n",
		name, plural(changed, "listener"), unchanged, plural(slots, "slot"), moved, plural(flows, "recorded flow"), r.Hash)
	return b.String()
}

// planTableText returns the table of a plan, with what differs below each line.
func planTableText(listeners []control.ListenerPlan, colours bool) string {
	const most = 10
	var b strings.Builder
	for i, line := range slices.Collect(strings.Lines(planTable(listeners).text(colours))) {
		b.WriteString(line)
		if i == 0 {
			continue
		}
		reasons := listeners[i-1].Reasons
		for _, reason := range reasons[:min(len(reasons), most)] {
			b.WriteString("  " + reason + "\n")
		}
		if more := len(reasons) - most; more > 0 {
			fmt.Fprintf(&b, "  and %d more: -o json lists all\n", more)
		}
	}
	return b.String()
}

func planTable(listeners []control.ListenerPlan) table {
	t := table{columns: []column{
		{name: "LISTENER"}, {name: "CHANGE", colour: changeColour}, {name: "BACKENDS"}, {name: "SLOTS", right: true},
		{name: "FLOWS", right: true}, {name: "MOVED", right: true},
	}}
	for _, l := range listeners {
		key := lb.ListenerKey{Balancer: l.Balancer, Port: l.Port, Protocol: l.Protocol}
		t.rows = append(t.rows, []string{
			key.String(), l.Change, orDash(changedBackends(l)), fmt.Sprintf("%d/%d", l.Slots, l.TableSize),
			strconv.Itoa(l.Flows), strconv.Itoa(l.Moved),
		})
	}
	return t
}

// changedBackends names the backends that a plan changes, or counts them where
// they are many.
func changedBackends(l control.ListenerPlan) string {
	const most = 6
	var texts []string
	for _, group := range []struct {
		sign  string
		names []string
	}{{"+", l.Added}, {"-", l.Removed}, {"~", l.Changed}} {
		switch {
		case len(group.names) == 0:
		case len(l.Added)+len(l.Removed)+len(l.Changed) > most:
			texts = append(texts, fmt.Sprintf("%s%d", group.sign, len(group.names)))
		default:
			texts = append(texts, group.sign+strings.Join(group.names, " "+group.sign))
		}
	}
	return strings.Join(texts, " ")
}

// changeColour shows at a glance what comes and what goes.
func changeColour(change string) string {
	switch change {
	case control.PlanAdded:
		return coloured(change, green)
	case control.PlanRemoved:
		return coloured(change, red)
	case control.PlanChanged:
		return coloured(change, yellow)
	}
	return change
}
