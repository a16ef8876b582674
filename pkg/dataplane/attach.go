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
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// ErrHookTaken is wrapped by the error of an interface that has an XDP program
// of somebody else.
var ErrHookTaken = errors.New("has another XDP program")

// Mode is how a program hangs on an interface.
type Mode string

// Modes. Auto is a wish only: native, else generic.
const (
	Auto    Mode = "auto"
	Native  Mode = "native"  // in the driver
	Generic Mode = "generic" // in the kernel's network stack, for any driver, slower
)

// Interface is what a program is attached to.
type Interface struct {
	Name  string
	Index int
}

// Attachment is an interface with the program on it.
type Attachment struct {
	Interface
	Mode     Mode
	Fallback error // why Mode is Generic where Auto was asked for
}

type attached struct {
	Attachment
	link link.Link
	pin  string
}

// linkSet keeps the program on interfaces by pinned links.
type linkSet struct {
	dir   string
	links map[string]*attached // by interface name
}

// pinName is the file name of the link of an interface, such as
// "eth0@native". bpffs reserves dots.
func pinName(name string, mode Mode) string {
	return pinEscape(name) + "@" + string(mode)
}

func pinEscape(name string) string {
	return strings.NewReplacer("%", "%25", ".", "%2e").Replace(name)
}

func parsePinName(file string) (name string, mode Mode, ok bool) {
	at := strings.LastIndexByte(file, '@')
	if at < 0 {
		return "", "", false
	}
	name = strings.NewReplacer("%2e", ".", "%25", "%").Replace(file[:at])
	return name, Mode(file[at+1:]), true
}

// openLinks finds the pinned links. A link whose interface is gone is useless
// and removed.
func openLinks(pinPath string) (*linkSet, error) {
	set := &linkSet{dir: linksDir(pinPath), links: make(map[string]*attached)}
	entries, err := os.ReadDir(set.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return set, nil
	}
	if err != nil {
		return nil, pinError(set.dir, err)
	}
	for _, e := range entries {
		path := filepath.Join(set.dir, e.Name())
		l, err := loadLink(path)
		if errors.Is(err, errNoLink) {
			continue
		}
		if err != nil {
			set.close()
			return nil, pinError(path, err)
		}
		name, mode, ok := parsePinName(e.Name())
		index := linkIndex(l)
		if !ok || index == 0 || set.links[name] != nil {
			l.Close()
			if err := os.Remove(path); err != nil {
				set.close()
				return nil, fmt.Errorf("removing the stale pin: %w", err)
			}
			continue
		}
		set.links[name] = &attached{
			Attachment: Attachment{Interface: Interface{Name: name, Index: index}, Mode: mode},
			link:       l, pin: path,
		}
	}
	return set, nil
}

// errNoLink is wrapped by the error of a pin that is something else than a
// link, which Weir did not put there.
var errNoLink = errors.New("not a link")

func loadLink(path string) (link.Link, error) {
	l, err := link.LoadPinnedLink(path, nil)
	if err == nil {
		return l, nil
	}
	if st, statErr := os.Stat(path); statErr == nil && st.IsDir() {
		return nil, fmt.Errorf("%s is %w", path, errNoLink)
	}
	// What the kernel opened and the library then refused is no link.
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return nil, fmt.Errorf("%s is %w: %w", path, errNoLink, err)
	}
	return nil, err
}

// linkIndex returns the interface that a link is on, 0 once that is gone.
func linkIndex(l link.Link) int {
	info, err := l.Info()
	if err != nil || info.XDP() == nil {
		return 0
	}
	return int(info.XDP().Ifindex)
}

// attach puts a program on an interface. A link that is there already and fits
// gets the program in place of its old one, between two packets.
func (s *linkSet) attach(prog *ebpf.Program, iface Interface, wish Mode) (Attachment, error) {
	if err := s.follow(iface); err != nil {
		return Attachment{}, err
	}
	if have := s.links[iface.Name]; have != nil {
		if linkIndex(have.link) == iface.Index && (wish == Auto || wish == have.Mode) {
			if err := have.link.Update(prog); err != nil {
				return Attachment{}, fmt.Errorf("replacing the program on %s: %w", iface.Name, err)
			}
			return have.Attachment, nil
		}
		if err := s.detach(iface.Name); err != nil {
			return Attachment{}, err
		}
	}
	modes := []Mode{wish}
	if wish == Auto {
		modes = []Mode{Native, Generic}
	}
	var fallback error
	for _, mode := range modes {
		l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: iface.Index, Flags: mode.flags()})
		if err != nil {
			if err = attachError(iface.Name, mode, err); errors.Is(err, ErrHookTaken) || mode == modes[len(modes)-1] {
				return Attachment{}, err
			}
			fallback = err
			continue
		}
		return s.keep(l, Attachment{Interface: iface, Mode: mode, Fallback: fallback})
	}
	return Attachment{}, fallback
}

// follow gives the link that is on an interface under an earlier name of it the
// present one.
func (s *linkSet) follow(iface Interface) error {
	for name, have := range s.links {
		if name != iface.Name && linkIndex(have.link) == iface.Index {
			if err := s.rename(have, iface.Name); err != nil {
				return fmt.Errorf("taking over %s, formerly %s: %w", iface.Name, name, err)
			}
			return nil
		}
	}
	return nil
}

// rename gives a link another name. If another link has that name, they swap
// theirs: it may be on an interface that was renamed too.
func (s *linkSet) rename(have *attached, name string) error {
	former, other := have.Name, s.links[name]
	if other != nil {
		if err := other.link.Unpin(); err != nil {
			return fmt.Errorf("unpinning the link of %s: %w", name, err)
		}
	}
	if err := s.repin(have, name); err != nil {
		return err
	}
	if other == nil {
		delete(s.links, former)
		return nil
	}
	return s.repin(other, former)
}

// repin moves the pin of a link to where that of an interface of the given name
// is.
func (s *linkSet) repin(have *attached, name string) error {
	path := filepath.Join(s.dir, pinName(name, have.Mode))
	if err := have.link.Pin(path); err != nil {
		return fmt.Errorf("pinning the link of %s: %w", name, err)
	}
	have.Name, have.pin = name, path
	s.links[name] = have
	return nil
}

// keep pins a new link.
func (s *linkSet) keep(l link.Link, a Attachment) (Attachment, error) {
	path := filepath.Join(s.dir, pinName(a.Name, a.Mode))
	if err := l.Pin(path); err != nil {
		l.Close()
		return Attachment{}, fmt.Errorf("pinning the link of %s: %w", a.Name, err)
	}
	s.links[a.Name] = &attached{Attachment: a, link: l, pin: path}
	return a, nil
}

func (m Mode) flags() link.XDPAttachFlags {
	if m == Native {
		return link.XDPDriverMode
	}
	return link.XDPGenericMode
}

func attachError(name string, mode Mode, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%s %w: if it is Weir's under another pin path, `weir unload --pin-path OLD`; else "+
			"detach it (ip link set dev %s xdp off, or bpftool link detach)", name, ErrHookTaken, name)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("attaching to %s: the interface is gone: %w", name, err)
	case mode == Native && errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("attaching to %s: its driver has no native XDP: %w", name, err)
	}
	return fmt.Errorf("attaching to %s in %s mode: %w", name, mode, err)
}

// detach takes the program off an interface.
func (s *linkSet) detach(name string) error {
	have := s.links[name]
	if have == nil {
		return nil
	}
	delete(s.links, name)
	// Without Detach the program would stay for a moment after the last
	// reference to the link is gone.
	err := errors.Join(have.link.Detach(), have.link.Close(), os.Remove(have.pin))
	if err != nil {
		return fmt.Errorf("detaching from %s: %w", name, err)
	}
	return nil
}

// detachAll takes the program off all interfaces.
func (s *linkSet) detachAll() error {
	for name := range s.links {
		if err := s.detach(name); err != nil {
			return err
		}
	}
	return nil
}

// update puts another program in the place of the present one everywhere.
func (s *linkSet) update(prog *ebpf.Program) error {
	for name, have := range s.links {
		if linkIndex(have.link) == 0 {
			continue // the interface is gone; the agent attaches to it when it is back
		}
		if err := have.link.Update(prog); err != nil {
			return fmt.Errorf("replacing the program on %s: %w", name, err)
		}
	}
	return nil
}

// close lets go of the links; they stay pinned.
func (s *linkSet) close() {
	for _, have := range s.links {
		have.link.Close()
	}
}
