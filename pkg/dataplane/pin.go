// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ErrNotLoaded is wrapped by errors of a pin path that has nothing pinned.
var ErrNotLoaded = errors.New("no data plane is loaded")

// Pins lie below the pin path: maps by their names in maps, links by their
// interfaces in links.
func mapsDir(pinPath string) string  { return filepath.Join(pinPath, "maps") }
func linksDir(pinPath string) string { return filepath.Join(pinPath, "links") }

// OpenTables opens the pinned maps of a data plane, with or without an agent.
func OpenTables(pinPath string) (*Tables, error) {
	spec, err := loadWeir()
	if err != nil {
		return nil, fmt.Errorf("reading the embedded program: %w", err)
	}
	maps, err := openPinned(pinPath, spec)
	if err != nil {
		return nil, err
	}
	if err := checkPinned(pinPath, spec, maps); err != nil {
		closeMaps(maps)
		return nil, err
	}
	return newTables(maps), nil
}

// checkPinned says why the pinned maps are not those that this version reads.
func checkPinned(pinPath string, spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map) error {
	if len(maps) == 0 {
		return fmt.Errorf("%w under %s: start the agent, or name another path by --pin-path or --config",
			ErrNotLoaded, pinPath)
	}
	for name, s := range spec.Maps {
		if isInternal(name) {
			continue
		}
		path := filepath.Join(mapsDir(pinPath), name)
		const remedy = "use the weir that made them, or start this version's agent"
		if maps[name] == nil {
			return fmt.Errorf("%s is missing: the maps beside it were made by another version of Weir: %s", path, remedy)
		}
		if !sameLayout(maps[name], s) {
			return fmt.Errorf("%s and the maps beside it were made by another version of Weir: %s", path, remedy)
		}
	}
	return nil
}

// newTables takes over the maps.
func newTables(maps map[string]*ebpf.Map) *Tables {
	return &Tables{maps: weirMaps{
		Listeners4: maps["listeners4"], Listeners6: maps["listeners6"], Vips: maps["vips"],
		Slots: maps["slots"], Backends: maps["backends"], Names: maps["names"],
		ReasonCounters: maps["reason_counters"], ListenerCounters: maps["listener_counters"],
		BackendCounters: maps["backend_counters"], ListenerGeneration: maps["listener_generation"],
		ListenerCache4: maps["listener_cache4"], ListenerCache6: maps["listener_cache6"],
		OldTables: maps["old_tables"], Flows4: maps["flows4"], Flows6: maps["flows6"],
		Embryonic: maps["embryonic"], FlowClock: maps["flow_clock"],
		TrackingCounters: maps["tracking_counters"], FlowCache: maps["flow_cache"],
		FlowGeneration: maps["flow_generation"],
		RejectBucket:   maps["reject_bucket"],
	}}
}

// isInternal reports whether a map is of the compiler's making (.rodata): it
// belongs to one program and is not pinned.
func isInternal(name string) bool { return strings.HasPrefix(name, ".") }

// preparePins makes the directories of a pin path and takes its lock.
func preparePins(pinPath string) (*os.File, error) {
	if err := mountBPF(pinPath); err != nil {
		return nil, err
	}
	lock, err := makeAndLock(pinPath)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{mapsDir(pinPath), linksDir(pinPath)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			lock.Close()
			return nil, pinError(dir, err)
		}
	}
	return lock, nil
}

// makeAndLock locks a pin path that it makes if need be. An unload may remove
// it in between.
func makeAndLock(pinPath string) (lock *os.File, err error) {
	for range lockTries {
		err = os.MkdirAll(pinPath, 0o700)
		if errors.Is(err, fs.ErrExist) { // it was there, and then it was not
			err = pinError(pinPath, err)
			continue
		}
		if err != nil {
			return nil, pinError(pinPath, err)
		}
		if lock, err = lockDir(pinPath); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return lock, err
}

// hasPins reports whether maps are pinned below a path.
func hasPins(pinPath string) bool {
	entries, err := os.ReadDir(mapsDir(pinPath))
	return err == nil && len(entries) > 0
}

// openOrPin opens the pinned maps of spec, and makes and pins those that are
// missing. Where a pinned map may have another size than spec says, spec gets
// that size.
func openOrPin(pinPath string, spec *ebpf.CollectionSpec) (map[string]*ebpf.Map, error) {
	maps, err := openPinned(pinPath, spec)
	if err != nil {
		return nil, err
	}
	for name, s := range spec.Maps {
		if isInternal(name) {
			continue
		}
		m, err := takeOver(pinPath, name, s, maps[name])
		if m == nil && err == nil {
			m, err = makePinned(pinPath, name, s)
		}
		maps[name] = m
		if err != nil {
			closeMaps(maps)
			return nil, err
		}
	}
	return maps, nil
}

// takeOver returns the pinned map if it fits, nil if there is none or none any
// more, and otherwise the map and why it cannot be used.
func takeOver(pinPath, name string, spec *ebpf.MapSpec, have *ebpf.Map) (*ebpf.Map, error) {
	if have == nil {
		return nil, nil
	}
	path := filepath.Join(mapsDir(pinPath), name)
	same, limited := sameLayout(have, spec), isLimited(name)
	switch {
	case same && have.MaxEntries() == spec.MaxEntries:
		return have, nil
	case isCache(name):
		// What is in it can be looked up again. A program that runs with it
		// keeps it for as long.
		have.Close()
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("removing the pin of an earlier version: %w", err)
		}
		return nil, nil
	case same && limited:
		return have, fmt.Errorf("%s holds %d entries and %s now asks for %d: a running data plane "+
			"cannot be resized; put the old value back, or stop forwarding by `weir unload --pin-path %s` "+
			"and start again", path, have.MaxEntries(), limitKey(name), spec.MaxEntries, pinPath)
	case same && have.MaxEntries() > spec.MaxEntries:
		spec.MaxEntries = have.MaxEntries() // the kernel's loader wants the same
		return have, nil
	}
	return have, fmt.Errorf("%s was made by another version of Weir and cannot be taken over: "+
		"remove it by `weir unload --pin-path %s`, which stops forwarding, and start again", path, pinPath)
}

func makePinned(pinPath, name string, spec *ebpf.MapSpec) (*ebpf.Map, error) {
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return nil, loadError(fmt.Errorf("making the map %s of %d entries: %w", name, spec.MaxEntries, err))
	}
	if err := m.Pin(filepath.Join(mapsDir(pinPath), name)); err != nil {
		m.Close()
		return nil, fmt.Errorf("pinning the map %s: %w", name, err)
	}
	return m, nil
}

// sameLayout reports whether a map is what spec describes, but for its size.
func sameLayout(m *ebpf.Map, spec *ebpf.MapSpec) bool {
	sized := spec.Copy()
	sized.MaxEntries = m.MaxEntries()
	return sized.Compatible(m) == nil
}

// isCache reports whether a map holds only what CPUs looked up in others.
func isCache(name string) bool {
	return name == weirMapListenerCache4 || name == weirMapListenerCache6 || name == weirMapFlowCache
}

// openPinned opens those maps of spec that are pinned, whatever they are.
func openPinned(pinPath string, spec *ebpf.CollectionSpec) (map[string]*ebpf.Map, error) {
	maps := make(map[string]*ebpf.Map)
	for name := range spec.Maps {
		if isInternal(name) {
			continue
		}
		path := filepath.Join(mapsDir(pinPath), name)
		m, err := ebpf.LoadPinnedMap(path, nil)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			closeMaps(maps)
			return nil, pinError(path, err)
		}
		maps[name] = m
	}
	return maps, nil
}

func closeMaps(maps map[string]*ebpf.Map) {
	for _, m := range maps {
		m.Close()
	}
}

// pinError says what is wrong with a pin in words that help.
func pinError(path string, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%s: permission denied: run as root", path)
	}
	return fmt.Errorf("opening %s: %w", path, err)
}

// bpffs is where the BPF file system is mounted by convention.
const bpffs = "/sys/fs/bpf"

// mountBPF makes sure that the pin path is on a bpffs, mounting one at
// /sys/fs/bpf where nothing is mounted yet.
func mountBPF(pinPath string) error {
	if below(bpffs, pinPath) && !isBPF(bpffs) {
		if privateMounts("/proc/self/ns/mnt", "/proc/1/ns/mnt") {
			return fmt.Errorf("no bpffs at %s, and one mounted here would vanish with this process, which has a mount "+
				"namespace of its own (ip netns exec makes one): use `nsenter --net=/run/netns/NAME weir ...`, "+
				"or mount a bpffs there first: mount -t bpf bpf %s", bpffs, bpffs)
		}
		if err := unix.Mount("bpf", bpffs, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
			return fmt.Errorf("no bpffs at %s, and mounting one: %w: run as root, on a kernel with CONFIG_BPF_SYSCALL",
				bpffs, err)
		}
	}
	parent := pinPath
	for {
		if _, err := os.Stat(parent); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return pinError(parent, err)
		}
		parent = filepath.Dir(parent)
	}
	if !isBPF(parent) {
		return fmt.Errorf("agent.pin_path: %s is not on a bpffs: choose a path below %s, or mount one there: "+
			"mount -t bpf bpf %s", pinPath, bpffs, parent)
	}
	return nil
}

// privateMounts reports whether two links to mount namespaces, of this process
// and of the first one, are known to differ. What this process mounts is then
// gone when it ends, and with it the pins.
func privateMounts(self, first string) bool {
	own, err := os.Readlink(self)
	if err != nil {
		return false
	}
	host, err := os.Readlink(first)
	return err == nil && own != host
}

func below(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

func isBPF(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && uint32(st.Type) == unix.BPF_FS_MAGIC
}

// Unload detaches the programs and removes all pins below the pin path: the
// data plane is gone. It refuses while an agent holds the path.
func Unload(pinPath string) error {
	if _, err := os.Stat(pinPath); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w under %s", ErrNotLoaded, pinPath)
	} else if err != nil {
		return pinError(pinPath, err)
	}
	if !isBPF(pinPath) {
		return fmt.Errorf("%s is not on a bpffs: nothing of Weir is there", pinPath)
	}
	lock, err := lockDir(pinPath)
	if errors.Is(err, fs.ErrNotExist) { // another unload was faster
		return fmt.Errorf("%w under %s", ErrNotLoaded, pinPath)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	links, err := openLinks(pinPath)
	if err != nil {
		return err
	}
	defer links.close()
	if err := links.detachAll(); err != nil {
		return err
	}
	return removePins(pinPath)
}

// removePins removes the pins below a path.
func removePins(pinPath string) error {
	for _, dir := range []string{linksDir(pinPath), mapsDir(pinPath), pinPath} {
		if err := removeDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// removeDir removes a directory and the files in it. It does not descend: what
// else lies below a pin path is not Weir's.
func removeDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", dir, err)
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("removing the pin: %w", err)
		}
	}
	if err := os.Remove(dir); err != nil {
		return fmt.Errorf("removing the pin directory: %w", err)
	}
	return nil
}
