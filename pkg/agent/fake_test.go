// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/health"
	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/reconcile"
)

// kernel is a data plane and its tables that only take notes, in order.
type kernel struct {
	mu       sync.Mutex
	notes    []string
	existing bool // an earlier agent made it
	knobs    dataplane.Knobs
	attached map[string]dataplane.Attachment
	modes    map[string]dataplane.Mode // that interfaces get; native if not named

	failKnobs  func(dataplane.Knobs) error
	failApply  func(reconcile.Desired) error
	failUpdate error
	updated    []reconcile.Change // by the last Update that changed something
	previews   []reconcile.Preview
	previewed  reconcile.Desired
}

func (k *kernel) note(format string, args ...any) {
	k.notes = append(k.notes, fmt.Sprintf(format, args...))
}

// take returns the notes so far and forgets them.
func (k *kernel) take() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer func() { k.notes = nil }()
	return k.notes
}

func (k *kernel) New() bool                 { return !k.existing }
func (k *kernel) Tables() *dataplane.Tables { return nil }
func (k *kernel) Remove() error             { return nil }

func (k *kernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.note("close")
	return nil
}

func (k *kernel) Knobs() dataplane.Knobs {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.knobs
}

func (k *kernel) SetKnobs(new dataplane.Knobs) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if new == k.knobs {
		return nil
	}
	if k.failKnobs != nil {
		if err := k.failKnobs(new); err != nil {
			return err
		}
	}
	k.knobs = new
	k.note("program seed %d dsr %v", new.Seed, new.DSR)
	return nil
}

func (k *kernel) Attach(i dataplane.Interface, _ dataplane.Mode) (dataplane.Attachment, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := dataplane.Attachment{Interface: i, Mode: cmp.Or(k.modes[i.Name], dataplane.Native)}
	k.attached[i.Name] = a
	k.note("attach %s", i.Name)
	return a, nil
}

func (k *kernel) Detach(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.attached, name)
	k.note("detach %s", name)
	return nil
}

func (k *kernel) Attachments() []dataplane.Attachment {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []dataplane.Attachment
	for _, a := range k.attached {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b dataplane.Attachment) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (k *kernel) Plan(reconcile.Desired) error { return nil }

func (k *kernel) Apply(_ context.Context, d reconcile.Desired) (reconcile.Report, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.note("tables seed %d", d.Seed)
	if k.failApply != nil {
		return reconcile.Report{}, k.failApply(d)
	}
	return reconcile.Report{}, nil
}

func (k *kernel) Update(_ context.Context, changes []reconcile.Change) (reconcile.Report, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.note("update %d", len(changes))
	if len(changes) == 0 {
		return reconcile.Report{}, nil
	}
	k.updated = changes
	return reconcile.Report{}, k.failUpdate
}

func (k *kernel) Collect(context.Context) (reconcile.Report, error) { return reconcile.Report{}, nil }

func (k *kernel) Preview(_ context.Context, d reconcile.Desired) ([]reconcile.Preview, error) {
	k.previewed = d
	return k.previews, nil
}

func (k *kernel) Tracking() reconcile.Tracking { return reconcile.Tracking{} }

// rig is an agent on a kernel that takes notes, with interfaces of the test's
// choice.
type rig struct {
	*Agent
	kernel     *kernel
	interfaces map[string]int
	stop       context.CancelFunc
	logged     *bytes.Buffer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{
		kernel:     &kernel{attached: make(map[string]dataplane.Attachment), modes: make(map[string]dataplane.Mode)},
		interfaces: map[string]int{"eth0": 1000, "eth1": 1001},
		logged:     new(bytes.Buffer),
	}
	log := slog.New(slog.NewTextHandler(r.logged, nil))
	a := &Agent{log: log, plane: r.kernel}
	a.running, r.stop = context.WithCancel(t.Context())
	a.changes.init()
	a.links.init(log, a.interfacesChanged)
	a.links.plane = r.kernel
	a.links.find = func(name string) (netdev.Link, error) {
		if index, ok := r.interfaces[name]; ok {
			return netdev.Link{Name: name, Index: index}, nil
		}
		return netdev.Link{}, fmt.Errorf("interface %q %w", name, netdev.ErrNoInterface)
	}
	a.links.watch = func(ctx context.Context, _ []string, _ func(netdev.LinkEvent)) error {
		<-ctx.Done()
		return nil
	}
	a.state.reconciler = r.kernel
	a.checker = health.New(health.Options{})
	var err error
	if a.resolver, err = netdev.NewResolver(netdev.ResolverOptions{Logger: log}); err != nil {
		t.Fatal(err)
	}
	r.Agent = a
	t.Cleanup(func() {
		r.stop()
		a.links.stop()
		a.resolver.Close()
	})
	return r
}

var errBroken = errors.New("broken")
