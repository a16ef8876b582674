// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf"
)

// Options say how a data plane is loaded.
type Options struct {
	PinPath string // directory of a bpffs, made if missing
	Object  string // "embedded", "compile", or the path of an object
	Limits  Limits
	Knobs   Knobs
}

// Dataplane is the loaded program with its maps and links, all pinned. One
// process at a time can have it; what is pinned works on without one. Its
// methods are not safe for concurrent use, those of Tables are.
type Dataplane struct {
	lock    *os.File
	pinPath string
	isNew   bool
	spec    *ebpf.CollectionSpec
	maps    map[string]*ebpf.Map
	tables  *Tables
	links   *linkSet
	knobs   Knobs
	prog    *ebpf.Program
}

// Open takes over the data plane that is pinned under the path, or makes a new
// one with empty maps. It loads the program but attaches it nowhere yet: what
// was attached goes on with the program that it has.
func Open(ctx context.Context, o Options) (*Dataplane, error) {
	lock, err := preparePins(o.PinPath)
	if err != nil {
		return nil, err
	}
	d := &Dataplane{lock: lock, pinPath: o.PinPath, isNew: !hasPins(o.PinPath)}
	if err := d.open(ctx, o); err != nil {
		if d.isNew {
			err = errors.Join(err, removePins(o.PinPath))
		}
		d.Close()
		return nil, err
	}
	return d, nil
}

// New reports whether there was no data plane under the pin path before.
func (d *Dataplane) New() bool { return d.isNew }

// Remove takes the program off all interfaces and removes all pins.
func (d *Dataplane) Remove() error {
	if err := d.links.detachAll(); err != nil {
		return err
	}
	return removePins(d.pinPath)
}

func (d *Dataplane) open(ctx context.Context, o Options) (err error) {
	if d.spec, err = loadSpec(ctx, o.Object); err != nil {
		return err
	}
	resize(d.spec, o.Limits)
	if d.maps, err = openOrPin(o.PinPath, d.spec); err != nil {
		return err
	}
	d.tables = newTables(d.maps)
	// An agent may have been killed between a change and this, and an empty
	// entry of a cache must not look valid.
	if err := d.tables.dropCaches(); err != nil {
		return err
	}
	if d.links, err = openLinks(o.PinPath); err != nil {
		return err
	}
	d.knobs = o.Knobs
	d.prog, err = d.load(o.Knobs)
	return err
}

// load loads the program with knobs and the maps of d.
func (d *Dataplane) load(k Knobs) (*ebpf.Program, error) {
	spec := d.spec.Copy()
	if err := k.set(spec); err != nil {
		return nil, err
	}
	return loadProgram(spec, d.maps, programName)
}

// loadProgram loads one program of spec with the given maps.
func loadProgram(spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map, name string) (*ebpf.Program, error) {
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: maps})
	if err != nil {
		return nil, loadError(err)
	}
	defer coll.Close()
	prog := coll.DetachProgram(name)
	if prog == nil {
		return nil, fmt.Errorf("the BPF object has no program %s", name)
	}
	return prog, nil
}

// Tables returns the maps. They are closed with d.
func (d *Dataplane) Tables() *Tables { return d.tables }

// Program returns the loaded program, for tests that run it.
func (d *Dataplane) Program() *ebpf.Program { return d.prog }

// Knobs returns what the loaded program was made with.
func (d *Dataplane) Knobs() Knobs { return d.knobs }

// SetKnobs puts a freshly loaded program in the place of the present one on
// every interface, if the knobs differ. If loading is not possible the present
// one stays.
func (d *Dataplane) SetKnobs(k Knobs) error {
	if k == d.knobs {
		return nil
	}
	prog, err := d.load(k)
	if err != nil {
		return err
	}
	if err := d.links.update(prog); err != nil {
		return errors.Join(err, d.links.update(d.prog), prog.Close())
	}
	d.prog.Close()
	d.prog, d.knobs = prog, k
	return nil
}

// Attach puts the program on an interface, or replaces the one of an earlier
// process there.
func (d *Dataplane) Attach(iface Interface, mode Mode) (Attachment, error) {
	return d.links.attach(d.prog, iface, mode)
}

// Detach takes the program off an interface; it is no error if it is not there.
func (d *Dataplane) Detach(name string) error { return d.links.detach(name) }

// Attachments returns where the program is, sorted by interface name.
func (d *Dataplane) Attachments() []Attachment {
	var out []Attachment
	for _, have := range d.links.links {
		out = append(out, have.Attachment)
	}
	slices.SortFunc(out, func(a, b Attachment) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Close lets go of everything; what is pinned stays and works on.
func (d *Dataplane) Close() error {
	if d.prog != nil {
		d.prog.Close()
	}
	if d.links != nil {
		d.links.close()
	}
	closeMaps(d.maps)
	return d.lock.Close()
}
