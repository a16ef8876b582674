// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/netdev"
)

// links keeps the program on the configured interfaces: on those that are
// there, and again on those that went away once they are back.
type links struct {
	plane    plane
	log      *slog.Logger
	onChange func() // called when an interface went away or came back
	find     func(name string) (netdev.Link, error)
	watch    func(context.Context, []string, func(netdev.LinkEvent)) error

	// work is held while the plane is used, which takes long where a program
	// has to be loaded; mu guards the rest, which those who only ask need.
	// What changes mode and state holds both; wanted is changed by one
	// goroutine at a time.
	work     sync.Mutex
	mu       sync.Mutex
	mode     config.XDPMode
	wanted   []string
	state    map[string]control.InterfaceStatus
	fallback map[string]string // why generic, by interface
	cancel   context.CancelFunc
	done     chan struct{}
}

func (l *links) init(log *slog.Logger, onChange func()) {
	l.log, l.onChange = log, onChange
	l.find, l.watch = netdev.Interface, netdev.WatchLinks
	l.state = make(map[string]control.InterfaceStatus)
	l.fallback = make(map[string]string)
}

// exist reports the first of some interfaces that does not.
func (l *links) exist(names []string) error {
	for _, name := range names {
		if _, err := l.find(name); err != nil {
			return fmt.Errorf("agent.interfaces: %w", err)
		}
	}
	return nil
}

// extend puts the program on the given interfaces, and leaves it on all others.
// Where one cannot be attached to, it sits where it did before.
func (l *links) extend(names []string, mode config.XDPMode) error {
	l.stop()
	l.work.Lock()
	defer l.work.Unlock()
	had := l.attached()
	before := l.mode
	l.mode = mode
	for _, name := range names {
		link, err := l.find(name)
		if err == nil {
			err = l.attach(name, link.Index)
		}
		if err != nil {
			l.mode = before
			err = errors.Join(fmt.Errorf("agent.interfaces: %w", err), l.detachExcept(had))
			l.follow(l.wanted)
			return err
		}
	}
	l.follow(slices.Concat(l.wanted, names))
	return nil
}

// want says which interfaces frames may be sent by from now on, and returns
// which it was before.
func (l *links) want(names []string) (before []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, l.wanted = l.wanted, slices.Clone(names)
	return before
}

// keep takes the program off all interfaces but those named.
func (l *links) keep(names []string) error {
	l.stop()
	l.work.Lock()
	defer l.work.Unlock()
	l.want(names)
	err := l.detachExcept(names)
	l.follow(names)
	return err
}

// restore makes the program sit on the given interfaces and no others, as far
// as that is possible. One that is missing is waited for.
func (l *links) restore(names []string, mode config.XDPMode) error {
	l.stop()
	l.work.Lock()
	defer l.work.Unlock()
	l.mode = mode
	l.want(names)
	var errs []error
	for _, name := range names {
		link, err := l.find(name)
		if errors.Is(err, netdev.ErrNoInterface) {
			l.log.Warn("interface is gone; waiting for it to come back", "interface", name)
			l.note(control.InterfaceStatus{Name: name, Problem: missing}, "")
			continue
		}
		if err == nil {
			err = l.attach(name, link.Index)
		}
		errs = append(errs, err)
	}
	errs = append(errs, l.detachExcept(names))
	l.follow(names)
	return errors.Join(errs...)
}

// missing is the problem of an interface that is waited for.
const missing = "the interface does not exist"

// attached names the interfaces with the program. The caller holds work.
func (l *links) attached() []string {
	var names []string
	for _, a := range l.plane.Attachments() {
		names = append(names, a.Name)
	}
	return names
}

// detachExcept takes the program off all interfaces but those named. The caller
// holds work.
func (l *links) detachExcept(names []string) error {
	var errs []error
	for _, name := range l.attached() {
		if slices.Contains(names, name) {
			continue
		}
		errs = append(errs, l.plane.Detach(name))
		l.mu.Lock()
		delete(l.state, name)
		delete(l.fallback, name)
		l.mu.Unlock()
	}
	return errors.Join(errs...)
}

// note remembers the state of an interface, and why it is generic where native
// was hoped for. The caller holds work.
func (l *links) note(s control.InterfaceStatus, fallback string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state[s.Name] = s
	delete(l.fallback, s.Name)
	if fallback != "" {
		l.fallback[s.Name] = fallback
	}
}

// attach puts the program on one interface. The caller holds work.
func (l *links) attach(name string, index int) error {
	a, err := l.plane.Attach(dataplane.Interface{Name: name, Index: index}, dataplane.Mode(l.mode.String()))
	if errors.Is(err, dataplane.ErrHookTaken) {
		if id, mode, ok := netdev.XDPAttached(index); ok {
			err = fmt.Errorf("%w (program %d, %s)", err, id, mode)
		}
	}
	if err != nil {
		l.note(control.InterfaceStatus{Name: name, Index: index, Problem: err.Error()}, "")
		return err
	}
	var why string
	if l.mode == config.XDPAuto && a.Mode == dataplane.Generic {
		why = "an earlier agent attached it so"
		if a.Fallback != nil {
			why = a.Fallback.Error()
		}
		l.log.Warn("GENERIC XDP: packets take the slow way through the network stack",
			"interface", name, "reason", why)
	}
	l.note(control.InterfaceStatus{Name: name, Index: index, Mode: a.Mode}, why)
	l.log.Info("attached", "interface", name, "index", index, "mode", string(a.Mode))
	return nil
}

// follow starts to watch interfaces, until stop. The caller holds work.
func (l *links) follow(names []string) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	l.mu.Lock()
	l.cancel, l.done = cancel, done
	l.mu.Unlock()
	go func() {
		defer close(done)
		if err := l.watch(ctx, names, l.changed); err != nil {
			l.log.Error("interfaces are no longer watched: one that goes away and comes back stays without program",
				"err", err)
		}
	}()
}

// stop ends the watching.
func (l *links) stop() {
	l.mu.Lock()
	cancel, done := l.cancel, l.done
	l.cancel = nil
	l.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
}

// changed is called for each wanted interface at first, and then whenever it
// changes.
func (l *links) changed(e netdev.LinkEvent) {
	l.work.Lock()
	have := l.state[e.Name]
	changed := false
	switch {
	case !e.Exists:
		if changed = have.Problem != missing; changed {
			l.log.Warn("interface is gone; waiting for it to come back", "interface", e.Name)
			l.note(control.InterfaceStatus{Name: e.Name, Problem: missing}, "")
		}
	case e.Index != have.Index || have.Mode == "":
		if err := l.attach(e.Name, e.Index); err != nil {
			l.log.Error("interface has no program", "interface", e.Name, "err", err)
		} else {
			changed = true
		}
	}
	l.work.Unlock()
	if changed {
		l.onChange()
	}
}

// sendsTo says why frames cannot be sent out by an interface, naming it, or
// returns nil.
func (l *links) sendsTo(index int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var egress control.InterfaceStatus
	native := false
	for _, name := range l.wanted {
		s := l.state[name]
		if s.Index == index && s.Mode != "" {
			egress = s
		}
		native = native || s.Mode == dataplane.Native
	}
	switch {
	case egress.Name == "":
		name := fmt.Sprintf("interface %d", index)
		if iface, err := net.InterfaceByIndex(index); err == nil {
			name = iface.Name
		}
		return fmt.Errorf("%s, which is not attached; add it to agent.interfaces", name)
	case egress.Mode == dataplane.Generic && native:
		// The kernel would lose them without a word.
		return fmt.Errorf("%s, which is in generic mode, to which packets of native interfaces cannot be sent; "+
			"set agent.xdp_mode: generic", egress.Name)
	}
	return nil
}

// setKnobs replaces the program on all interfaces, if the knobs differ.
func (l *links) setKnobs(k dataplane.Knobs) error {
	l.work.Lock()
	defer l.work.Unlock()
	return l.plane.SetKnobs(k)
}

// knobs returns those of the program.
func (l *links) knobs() dataplane.Knobs {
	l.work.Lock()
	defer l.work.Unlock()
	return l.plane.Knobs()
}

// status describes the wanted interfaces, by name, and why any is generic.
func (l *links) status() (interfaces []control.InterfaceStatus, problems []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range slices.Sorted(slices.Values(l.wanted)) {
		s := l.state[name]
		s.Name = name
		if why, ok := l.fallback[name]; ok {
			s.Problem = "generic mode, which is slow: " + why
		}
		if s.Problem != "" {
			problems = append(problems, fmt.Sprintf("interface %s: %s", name, s.Problem))
		}
		interfaces = append(interfaces, s)
	}
	return interfaces, problems
}
