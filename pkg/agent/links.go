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
	plane  *dataplane.Dataplane
	log    *slog.Logger
	onBack func() // called when an interface was attached to after the start

	mu       sync.Mutex
	mode     config.XDPMode
	wanted   []string
	state    map[string]control.InterfaceStatus
	fallback map[string]string // why generic, by interface
	cancel   context.CancelFunc
	done     chan struct{}
}

func (l *links) init(log *slog.Logger, onBack func()) {
	l.log, l.onBack = log, onBack
	l.state = make(map[string]control.InterfaceStatus)
	l.fallback = make(map[string]string)
}

// set makes the program sit on the given interfaces and no others. Where one
// cannot be attached to, it sits where it did before.
func (l *links) set(ctx context.Context, names []string, mode config.XDPMode) error {
	l.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.mode
	l.mode = mode
	var had []string
	for _, a := range l.plane.Attachments() {
		had = append(had, a.Name)
	}
	for _, name := range names {
		link, err := netdev.Interface(name)
		if err == nil {
			err = l.attach(name, link.Index)
		}
		if err != nil {
			l.mode = before
			err = errors.Join(fmt.Errorf("agent.interfaces: %w", err), l.detachExcept(had))
			l.follow(ctx)
			return err
		}
	}
	if err := l.detachExcept(names); err != nil {
		return err
	}
	l.wanted = slices.Clone(names)
	l.follow(ctx)
	return nil
}

// detachExcept takes the program off all interfaces but those named. The caller
// holds mu.
func (l *links) detachExcept(names []string) error {
	for _, a := range l.plane.Attachments() {
		if slices.Contains(names, a.Name) {
			continue
		}
		if err := l.plane.Detach(a.Name); err != nil {
			return err
		}
		delete(l.state, a.Name)
		delete(l.fallback, a.Name)
	}
	return nil
}

// attach puts the program on one interface. The caller holds mu.
func (l *links) attach(name string, index int) error {
	a, err := l.plane.Attach(dataplane.Interface{Name: name, Index: index}, dataplane.Mode(l.mode.String()))
	if errors.Is(err, dataplane.ErrHookTaken) {
		if id, mode, ok := netdev.XDPAttached(index); ok {
			err = fmt.Errorf("%w (program %d, %s)", err, id, mode)
		}
	}
	if err != nil {
		l.state[name] = control.InterfaceStatus{Name: name, Index: index, Problem: err.Error()}
		return err
	}
	l.state[name] = control.InterfaceStatus{Name: name, Index: index, Mode: a.Mode}
	delete(l.fallback, name)
	if l.mode == config.XDPAuto && a.Mode == dataplane.Generic {
		why := "an earlier agent attached it so"
		if a.Fallback != nil {
			why = a.Fallback.Error()
		}
		l.fallback[name] = why
		l.log.Warn("GENERIC XDP: packets take the slow way through the network stack",
			"interface", name, "reason", why)
	}
	l.log.Info("attached", "interface", name, "index", index, "mode", string(a.Mode))
	return nil
}

// follow starts to watch the wanted interfaces. The caller holds mu.
func (l *links) follow(ctx context.Context) {
	ctx, l.cancel = context.WithCancel(ctx)
	l.done = make(chan struct{})
	names, done := l.wanted, l.done
	go func() {
		defer close(done)
		if err := netdev.WatchLinks(ctx, names, l.changed); err != nil {
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
	l.mu.Lock()
	have := l.state[e.Name]
	back := false
	switch {
	case !e.Exists:
		l.log.Warn("interface is gone; waiting for it to come back", "interface", e.Name)
		l.state[e.Name] = control.InterfaceStatus{Name: e.Name, Problem: "the interface does not exist"}
	case e.Index != have.Index || have.Mode == "":
		if err := l.attach(e.Name, e.Index); err != nil {
			l.log.Error("interface has no program", "interface", e.Name, "err", err)
		} else {
			back = true
		}
	}
	l.mu.Unlock()
	if back {
		l.onBack()
	}
}

// name returns the name of an interface, and whether the program is on it.
func (l *links) name(index int) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, s := range l.state {
		if s.Index == index && s.Mode != "" {
			return name, true
		}
	}
	if iface, err := net.InterfaceByIndex(index); err == nil {
		return iface.Name, false
	}
	return fmt.Sprintf("interface %d", index), false
}

// setKnobs replaces the program on all interfaces, if the knobs differ.
func (l *links) setKnobs(k dataplane.Knobs) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.plane.SetKnobs(k)
}

// status describes the wanted interfaces, by name, and why any is generic.
func (l *links) status() (interfaces []control.InterfaceStatus, problems []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range slices.Sorted(slices.Values(l.wanted)) {
		s := l.state[name]
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
