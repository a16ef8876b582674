// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/lb"
)

// Plan says of a file with balancers that much would change, and of one without
// that nothing would.
func (a *fakeAgent) Plan(_ context.Context, name string, data []byte) (control.PlanReport, error) {
	if a.state == "broken" {
		return control.PlanReport{}, errors.New("reading slots: bad file descriptor")
	}
	file, err := config.Parse(name, data)
	if err != nil {
		return control.PlanReport{}, err
	}
	plan := func(balancer string, port uint16, p lb.Protocol, change string) control.ListenerPlan {
		return control.ListenerPlan{Balancer: balancer, Port: port, Protocol: p, Change: change, TableSize: 251}
	}
	dns, web := plan("dns", 53, lb.UDP, control.PlanUnchanged), plan("web", 443, lb.TCP, control.PlanUnchanged)
	web.Flows = 17
	report := control.PlanReport{Hash: "0123456789ab", Listeners: []control.ListenerPlan{dns, web}}
	if len(file.Balancers) == 0 {
		return report, nil
	}
	ftp, mail := plan("ftp", 21, lb.TCP, control.PlanRemoved), plan("mail", 25, lb.TCP, control.PlanAdded)
	for i := range 7 {
		mail.Added = append(mail.Added, fmt.Sprintf("mail-%d", i))
	}
	ftp.Removed, ftp.Slots, ftp.Flows, ftp.Moved = []string{"ftp-1"}, 251, 2, 2
	mail.Slots = 251
	web.Change = control.PlanChanged
	web.Added, web.Removed, web.Changed = []string{"web-4", "web-5"}, []string{"web-2"}, []string{"web-1"}
	web.Slots, web.Moved = 83, 4
	web.Reasons = []string{"drain_timeout 60s -> 0s", "web-1: weight 100 -> 255"}
	for i := range 11 {
		ftp.Reasons = append(ftp.Reasons, fmt.Sprintf("ftp-%d: weight 1 -> 2", i))
	}
	report.Listeners = []control.ListenerPlan{dns, ftp, mail, web}
	report.Warnings = []string{
		"ftp-1 of ftp/21/tcp would lose all its flows, also those that are not recorded: drain it first",
	}
	return report, nil
}

// SetMode changes the mode of one of the backends.
func (a *fakeAgent) SetMode(_ context.Context, change control.ModeChange) (control.ModeReport, error) {
	if a.state == "broken" {
		return control.ModeReport{}, errors.New("writing to slots: bad file descriptor")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	wanted := lb.ListenerKey{Balancer: change.Balancer, Port: change.Port, Protocol: change.Protocol}
	for _, b := range fakeSnapshot().Backends {
		if b.Listener != wanted || b.Label != change.Backend && b.Address.String() != change.Backend {
			continue
		}
		if a.modes == nil {
			a.modes = make(map[string]lb.Mode)
		}
		report := control.ModeReport{
			Balancer: change.Balancer, Port: change.Port, Protocol: change.Protocol, Backend: b.Label, Address: b.Address,
			Before: a.modes[b.Label], Mode: change.Mode, Configured: lb.ModeAccept,
		}
		a.modes[b.Label] = change.Mode
		if report.Before != report.Mode {
			report.Slots = int(b.Slots)
		}
		if change.Mode == lb.ModeDrain {
			report.Until = moment(12)
		}
		if a.accepting() == 0 {
			report.Warnings = []string{fmt.Sprintf("no backend of %s takes new flows: they are dropped", wanted)}
		}
		return report, nil
	}
	return control.ModeReport{}, fmt.Errorf("%s/%s: %w", wanted, change.Backend, control.ErrNoBackend)
}

// accepting returns how many backends take new flows.
func (a *fakeAgent) accepting() (n int) {
	for _, b := range fakeSnapshot().Backends {
		if b.Health == lb.HealthUp && a.modes[b.Label] == lb.ModeAccept {
			n++
		}
	}
	return n
}

// modeStatus returns the modes that were set by command.
func (a *fakeAgent) modeStatus() (modes []control.ModeStatus) {
	for _, b := range fakeSnapshot().Backends {
		if mode := a.modes[b.Label]; mode != lb.ModeAccept {
			modes = append(modes, control.ModeStatus{
				Balancer: b.Listener.Balancer, Port: b.Listener.Port, Protocol: b.Listener.Protocol,
				Backend: b.Label, Address: b.Address, Mode: mode, Configured: lb.ModeAccept, Since: moment(7),
			})
		}
	}
	return modes
}
