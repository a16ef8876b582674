// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

func statusCommand(env *Environment) *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "the agent, its interfaces and its balancers at a glance",
		UsageText: "weir status [FLAGS]",
		Category:  groupLook,
		Description: `Exits with 0 once the agent serves traffic, else with 1 and the reason, so that a
script can wait for it. Without an agent it shows what the kernel goes on doing.

Examples:
  weir status
  until weir status >/dev/null 2>&1; do sleep 1; done`,
		Flags: listingFlags(),
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			format, err := outputFormat(c)
			if err != nil {
				return err
			}
			t, err := env.target(c)
			if err != nil {
				return err
			}
			return env.status(c.Context, t, format)
		},
	}
}

// statusReport is what `weir status` shows.
type statusReport struct {
	Agent     *control.Status       `json:"agent"` // null without an agent
	Attached  []attachment          `json:"attached"`
	Balancers []control.BalancerRow `json:"balancers"`
}

// attachment is an interface that has the program.
type attachment struct {
	Interface string         `json:"interface"`
	Mode      dataplane.Mode `json:"mode"`
}

// status shows the agent, or without one the pins. The error says why the
// agent serves no traffic.
func (e *Environment) status(ctx context.Context, t target, f format) error {
	report, err := e.agentStatus(ctx, t)
	if errors.Is(err, control.ErrNoAgent) && !t.socketOnly {
		return errors.Join(e.pinnedStatus(t, f), err)
	}
	if report.Agent == nil {
		return err
	}
	if err := errors.Join(e.writeStatus(f, report), err); err != nil {
		return err
	}
	if !report.Agent.Ready {
		return fmt.Errorf("the agent serves no traffic yet: %s", report.Agent.NotReady)
	}
	return nil
}

// agentStatus asks the agent. With an error the report has what it said until
// then.
func (e *Environment) agentStatus(ctx context.Context, t target) (statusReport, error) {
	client, err := e.owner(ctx, t)
	if err != nil {
		return statusReport{}, err
	}
	status, err := client.Status(ctx)
	if err != nil {
		return statusReport{}, err
	}
	balancers, err := client.Balancers(ctx)
	report := statusReport{Agent: &status, Attached: []attachment{}, Balancers: append([]control.BalancerRow{}, balancers...)}
	for _, i := range status.Interfaces {
		if i.Mode != "" {
			report.Attached = append(report.Attached, attachment{i.Name, i.Mode})
		}
	}
	if err != nil || !status.Ready {
		return report, err
	}
	listeners, err := client.Listeners(ctx)
	if err != nil {
		return report, err
	}
	backends, err := client.Backends(ctx)
	status.Problems = append(status.Problems, listenerProblems(listeners, backends)...)
	status.Problems = append(status.Problems, tableProblems(status.Tracking, listeners)...)
	return report, err
}

// listenerProblems says which listeners have nobody who answers.
func listenerProblems(listeners []control.ListenerRow, backends []control.BackendRow) (problems []string) {
	type count struct{ takes, up int }
	counts := make(map[lb.ListenerKey]count)
	for _, b := range backends {
		c := counts[b.Key()]
		if b.Slots > 0 {
			c.takes++
		}
		if b.Health == lb.HealthUp {
			c.up++
		}
		counts[b.Key()] = c
	}
	for _, l := range listeners {
		c := counts[l.Key()]
		switch {
		case c.takes == 0:
			problems = append(problems, fmt.Sprintf("listener %s: no backend takes new flows", l.Key()))
		case c.up == 0 && l.OnAllDown == lb.AllDownOpen:
			problems = append(problems, fmt.Sprintf("listener %s: no backend is up; on_all_down: open sends to all of them", l.Key()))
		}
	}
	return problems
}

// tableProblems says where records of flows have found no room, and whether there
// is any.
func tableProblems(t control.TrackingStatus, listeners []control.ListenerRow) (problems []string) {
	const remedy = "what is not recorded may break when slots settle: raise agent.flow_table_size, see docs/tracking.md"
	for _, l := range listeners {
		n, before := l.Tracking.Overflow, t.OverflowBefore[l.Key().String()]
		if n >= before { // else the counter began anew
			n -= before
		}
		if n > 0 {
			problems = append(problems, fmt.Sprintf("listener %s: %s found no room for a record since the agent started; %s",
				l.Key(), plural(int(n), "packet"), remedy))
		}
	}
	if records := max(t.Records4, t.Records6); t.TableSize > 0 && records >= int(t.TableSize) {
		problems = append(problems, fmt.Sprintf("the flow table is full, with %d records of %d; %s", records, t.TableSize, remedy))
	}
	return problems
}

// pinnedStatus shows what the kernel holds without an agent, if anything.
func (e *Environment) pinnedStatus(t target, f format) error {
	snapshot, err := readPins(t.pinPath)
	if errors.Is(err, dataplane.ErrNotLoaded) {
		return nil // the caller says that there is no agent
	}
	if err != nil {
		return err
	}
	links, err := dataplane.PinnedLinks(t.pinPath)
	if err != nil {
		return err
	}
	report := statusReport{Attached: []attachment{}, Balancers: control.BalancerRows(snapshot)}
	for _, l := range links {
		report.Attached = append(report.Attached, attachment{l.Name, l.Mode})
	}
	return e.writeStatus(f, report)
}

func (e *Environment) writeStatus(f format, r statusReport) error {
	if f == formatTable {
		return e.print(e.statusText(r))
	}
	return e.write(f, listing{value: r})
}

// statusText returns a report for people.
func (e *Environment) statusText(r statusReport) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-11s%s\n", name, fmt.Sprintf(format, args...))
	}
	if r.Agent == nil {
		line("agent", "none")
	} else {
		e.agentText(r.Agent, line)
	}
	e.interfacesText(r, line)
	b.WriteString("\n")
	b.WriteString(balancerTable(r.Balancers).text(e.colours()))
	if r.Agent != nil && len(r.Agent.Modes) > 0 {
		b.WriteString("\nMODES SET BY COMMAND, until the configuration changes them\n")
		b.WriteString(modeTable(r.Agent.Modes).text(e.colours()))
	}
	if r.Agent != nil && len(r.Agent.Problems) > 0 {
		b.WriteString("\nPROBLEMS\n")
		for _, p := range r.Agent.Problems {
			b.WriteString(p + "\n")
		}
	}
	return b.String()
}

func (e *Environment) agentText(s *control.Status, line func(name, format string, args ...any)) {
	ready := "serves traffic"
	if !s.Ready {
		ready = "NOT READY: " + s.NotReady
	}
	line("agent", "%s, process %d, up %s, %s", s.Version, s.PID, uptimeText(e.Now().Sub(s.Started)), ready)
	line("config", "%s, hash %s", orDash(s.Config.File), orDash(s.Config.Hash))
	if s.Config.Own != "" && s.Config.Own != s.Config.File {
		line("", "a restart goes back to %s", s.Config.Own)
	}
	switch {
	case s.Config.LastReload.IsZero():
	case s.Config.ReloadOK:
		line("reload", "%s, ok", timeText(s.Config.LastReload))
	default:
		line("reload", "%s, REFUSED: %s", timeText(s.Config.LastReload), strings.ReplaceAll(s.Config.Error, "\n", "; "))
	}
	line("pins", "%s", orDash(s.PinPath))
	tracking := "-" // nothing is known before traffic is served
	if s.Ready {
		tracking = e.trackingText(s.Tracking)
	}
	line("tracking", "%s", tracking)
}

// trackingText is no finer in its times than two looks in a row should show.
func (e *Environment) trackingText(t control.TrackingStatus) string {
	slots := "all slots steady"
	if t.Unsteady > 0 {
		slots = plural(int(t.Unsteady), "slot") + " unsteady"
	}
	scan := "not scanned yet"
	if !t.Scanned.IsZero() {
		took := "less than 1ms"
		if t.Scan >= time.Millisecond {
			took = t.Scan.Round(time.Millisecond).String()
		}
		scan = fmt.Sprintf("last scan %s ago, in %s", uptimeText(e.Now().Sub(t.Scanned)), took)
	}
	return fmt.Sprintf("%s; records: %d IPv4, %d IPv6, of %d each; %d embryonic; %s",
		slots, t.Records4, t.Records6, t.TableSize, t.Embryonic, scan)
}

// modeTable lists modes that commands have set.
func modeTable(modes []control.ModeStatus) table {
	t := table{columns: []column{
		{name: "LISTENER"}, {name: "BACKEND"}, {name: "ADDRESS"}, {name: "MODE"}, {name: "CONFIGURED"}, {name: "SINCE"},
	}}
	for _, m := range modes {
		key := lb.ListenerKey{Balancer: m.Balancer, Port: m.Port, Protocol: m.Protocol}
		t.rows = append(t.rows, []string{
			key.String(), m.Backend, m.Address.String(), m.Mode.String(), m.Configured.String(), timeText(m.Since),
		})
	}
	return t
}

func (e *Environment) interfacesText(r statusReport, line func(name, format string, args ...any)) {
	var texts []string
	for _, a := range r.Attached {
		texts = append(texts, fmt.Sprintf("%s (%s)", a.Interface, a.Mode))
	}
	if r.Agent != nil {
		for _, i := range r.Agent.Interfaces {
			if i.Mode == "" {
				texts = append(texts, i.Name+" (NOT ATTACHED)")
			}
		}
	}
	slices.Sort(texts)
	line("interfaces", "%s", orDash(strings.Join(texts, ", ")))
}

// uptimeText is no finer than two looks in a row should show.
func uptimeText(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}
