// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
)

// Node is the loaded program of a backend host, which takes packets out of
// their tunnel. It is pinned while it runs, so that packets go on reaching the
// host when the process is killed, and gone after Remove.
type Node struct {
	lock    *os.File
	pinPath string
	isNew   bool
	prog    *ebpf.Program
	maps    map[string]*ebpf.Map
	links   *linkSet
}

const nodeProgramName = "weir_node"

// OpenNode loads the node's program for the given VIPs, taking over what an
// earlier process left pinned.
func OpenNode(pinPath string, vips []netip.Addr) (*Node, error) {
	lock, err := preparePins(pinPath)
	if err != nil {
		return nil, err
	}
	n := &Node{lock: lock, pinPath: pinPath, isNew: !hasPins(pinPath)}
	if err := n.open(vips); err != nil {
		if n.isNew {
			err = errors.Join(err, removePins(pinPath))
		}
		n.Close()
		return nil, err
	}
	return n, nil
}

// New reports whether no earlier process had left its program.
func (n *Node) New() bool { return n.isNew }

func (n *Node) open(vips []netip.Addr) error {
	spec, err := loadNode()
	if err != nil {
		return fmt.Errorf("reading the embedded program: %w", err)
	}
	if limit := int(spec.Maps["node_vips"].MaxEntries); len(vips) > limit {
		return fmt.Errorf("%d VIPs are too many: a node holds %d", len(vips), limit)
	}
	if n.maps, err = openOrPin(n.pinPath, spec); err != nil {
		return err
	}
	if n.links, err = openLinks(n.pinPath); err != nil {
		return err
	}
	if err := n.setVIPs(vips); err != nil {
		return err
	}
	n.prog, err = loadProgram(spec, n.maps, nodeProgramName)
	return err
}

// setVIPs makes the map hold the given addresses and no others.
func (n *Node) setVIPs(vips []netip.Addr) error {
	m := n.maps["node_vips"]
	stale := make(map[nodeVipKey]bool)
	if err := readAll(m, func(k nodeVipKey, _ uint32) { stale[k] = true }); err != nil {
		return err
	}
	for _, vip := range vips {
		key := nodeVipKey{Address: toBE(vip)}
		delete(stale, key)
		if err := m.Put(&key, uint32(1)); err != nil {
			return fmt.Errorf("writing %s to %s: %w", vip, m, err)
		}
	}
	for key := range stale {
		if err := m.Delete(&key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("deleting from %s: %w", m, err)
		}
	}
	return nil
}

// Attach puts the program on an interface.
func (n *Node) Attach(iface Interface, mode Mode) (Attachment, error) {
	return n.links.attach(n.prog, iface, mode)
}

// Program returns the loaded program, for tests that run it.
func (n *Node) Program() *ebpf.Program { return n.prog }

// Counters returns the traffic of each reason, by the reason's number.
func (n *Node) Counters() ([]Traffic, error) {
	m := n.maps["node_counters"]
	return sumCPUs(m, uint32(nodeNodeReasonNODE_REASON_MAX), func(sum *Traffic, cpu nodeTraffic) {
		*sum = sum.Add(Traffic{Packets: cpu.Packets, Bytes: cpu.Bytes})
	})
}

// Remove takes the program off its interfaces and removes all pins.
func (n *Node) Remove() error {
	if err := n.links.detachAll(); err != nil {
		return err
	}
	return removePins(n.pinPath)
}

// Close lets go of everything; what is pinned stays and works on.
func (n *Node) Close() error {
	if n.prog != nil {
		n.prog.Close()
	}
	if n.links != nil {
		n.links.close()
	}
	closeMaps(n.maps)
	return n.lock.Close()
}

// NodePinPath is where the node of an interface pins by default. (bpffs
// reserves dots in names.)
func NodePinPath(iface string) string {
	return filepath.Join(bpffs, "weir-node-"+pinEscape(iface))
}
