// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// loopback is the interface that holds the VIPs of a backend host.
const loopback = "lo"

// NodeSettings are the changes that [ApplyNode] made to this host. Its methods
// are for the same network namespace, and not to be called concurrently.
type NodeSettings struct {
	iface   string
	vips    []netip.Addr
	log     *slog.Logger
	netlink *netlink.Handle
	file    *stateFile
	record  nodeRecord
}

// ApplyNode makes this host, in the current network namespace, fit to get
// packets for the VIPs by the interface, as a backend behind dsr or ipip:
//
//   - It gives lo the VIPs, as /32 and /128, and switches lo on. They are never
//     chosen as the source of the host's own connections (IPv4: scope host,
//     IPv6: deprecated). A VIP that lo has already is left alone. One that
//     another interface has is an error if that interface would answer for it
//     on its network, and take the traffic away from the balancer.
//   - With an IPv4 VIP it sets arp_ignore to 1 and arp_announce to 2, for all
//     interfaces, so that none answers ARP for a VIP or asks with one as the
//     sender, and for the given interface, should something reset the former.
//     IPv6 neighbour discovery needs no setting: it answers for the addresses
//     of the very interface only.
//   - With an IPv4 VIP it sets rp_filter of the interface from strict to loose:
//     clients' packets come out of the tunnel on that interface even if the
//     way back to the client is another one.
//
// What was there before is written to the file statePath before anything is
// changed. When the process is killed, the next call with that file takes
// over, and Undo still goes back to the true originals; a file of another boot
// or another network namespace is of no use and is started anew. The file is
// locked, so that two processes cannot undo each other's changes.
func ApplyNode(iface string, vips []netip.Addr, statePath string, logger *slog.Logger) (*NodeSettings, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	vips, err := unicast(vips)
	if err != nil {
		return nil, err
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	s := &NodeSettings{iface: iface, vips: vips, log: logger, netlink: handle}
	if s.file, s.record, err = openNodeState(statePath, logger); err == nil {
		if err = s.Reapply(); err == nil {
			return s, nil
		}
		if s.record.empty() {
			err = errors.Join(err, s.file.remove())
		} else {
			s.file.close() // what an earlier process changed stays as it is
		}
	}
	handle.Close()
	return nil, err
}

// Reapply makes the settings again that are not as they should be, such as
// those of an interface that was replaced. If it cannot make all of them it
// takes back those it made.
func (s *NodeSettings) Reapply() error {
	if _, err := Interface(s.iface); err != nil {
		return err
	}
	plan, err := s.plan()
	if err != nil {
		return err
	}
	if err := s.undo(s.record.without(plan)); err != nil {
		return err // of an earlier process, with other VIPs or another interface
	}
	before := s.record
	if err := s.save(plan); err != nil {
		return err
	}
	if err := s.execute(plan); err != nil {
		return errors.Join(err, s.undo(plan.without(before)))
	}
	return nil
}

// Undo takes back what was changed, unless someone has changed it again since,
// and removes the file.
func (s *NodeSettings) Undo() error {
	defer s.netlink.Close()
	if err := s.undo(s.record); err != nil {
		s.file.close()
		return err // the file stays, for the next attempt
	}
	return s.file.remove()
}

// save makes r the record of what is changed, on disk first.
func (s *NodeSettings) save(r nodeRecord) error {
	if err := s.file.write(r); err != nil {
		return err
	}
	s.record = r
	return nil
}

// plan returns what must have been changed when everything is as it should
// be: what is so already, through this process or one before it, and what
// remains to be done.
func (s *NodeSettings) plan() (nodeRecord, error) {
	plan := nodeRecord{Boot: s.record.Boot, Namespace: s.record.Namespace}
	var requirements []requirement
	if slices.ContainsFunc(s.vips, netip.Addr.Is4) {
		requirements = ipv4Requirements(s.iface)
	}
	for _, r := range requirements {
		was, met, err := r.check()
		if err != nil {
			return nodeRecord{}, err
		}
		recorded := slices.IndexFunc(s.record.Settings, func(o setting) bool { return o.Key == r.key && o.Now == was })
		switch {
		case recorded >= 0:
			plan.Settings = append(plan.Settings, s.record.Settings[recorded])
		case !met:
			plan.Settings = append(plan.Settings, setting{Key: r.key, Was: was, Now: strconv.Itoa(r.want)})
		}
	}
	lo, err := Interface(loopback)
	if err != nil {
		return nodeRecord{}, err
	}
	plan.LoopbackUp = s.record.LoopbackUp || !lo.Up
	plan.Addresses, err = s.planAddresses()
	return plan, err
}

// planAddresses returns the VIPs that lo has from us or still needs.
func (s *NodeSettings) planAddresses() ([]netip.Addr, error) {
	present, err := s.netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("listing the addresses of this host: %w", err)
	}
	settled := make(map[netip.Addr]bool) // VIPs that this host has, and not from us
	for _, a := range present {
		addr, _ := netip.AddrFromSlice(a.IP)
		if addr = addr.Unmap(); !slices.Contains(s.vips, addr) {
			continue
		}
		link, err := s.netlink.LinkByIndex(a.LinkIndex)
		if err != nil {
			return nil, fmt.Errorf("looking up the interface of %s: %w", a.IPNet, err)
		}
		name := link.Attrs().Name
		switch {
		case name == loopback:
			settled[addr] = !slices.Contains(s.record.Addresses, addr)
		case link.Attrs().RawFlags&unix.IFF_NOARP != 0:
			settled[addr] = true
		default:
			return nil, fmt.Errorf("VIP %s is an address of %s, which would answer for it and take its traffic "+
				`from the balancer; remove it there ("ip addr del %s dev %s") or do not name it as a VIP`,
				addr, name, a.IPNet, name)
		}
		if settled[addr] {
			s.log.Info("a VIP stays on the interface that has it", "vip", addr, "interface", name)
		}
	}
	needed := slices.DeleteFunc(slices.Clone(s.vips), func(vip netip.Addr) bool { return settled[vip] })
	return needed, nil
}

// execute makes the changes of plan that are not made yet. No VIP is added
// before the settings keep the host from answering for it.
func (s *NodeSettings) execute(plan nodeRecord) error {
	for _, c := range plan.Settings {
		if err := c.apply(); err != nil {
			return err
		}
	}
	lo, err := s.netlink.LinkByName(loopback)
	if err != nil {
		return fmt.Errorf("looking up interface %s: %w", loopback, err)
	}
	if plan.LoopbackUp {
		if err := s.netlink.LinkSetUp(lo); err != nil {
			return fmt.Errorf("switching interface %s on: %w", loopback, err)
		}
	}
	for _, vip := range plan.Addresses {
		err := s.netlink.AddrAdd(lo, loopbackAddr(vip))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("adding VIP %s to %s: %w", vip, loopback, err)
		}
	}
	return nil
}

// undo takes the changes of r back in the opposite order, as many as it can,
// and those that it could out of the record.
func (s *NodeSettings) undo(r nodeRecord) error {
	lo, err := s.netlink.LinkByName(loopback)
	if err != nil {
		return fmt.Errorf("looking up interface %s: %w", loopback, err)
	}
	var errs []error
	failed := nodeRecord{}
	for _, vip := range r.Addresses {
		err := s.netlink.AddrDel(lo, loopbackAddr(vip))
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, fmt.Errorf("removing VIP %s from %s: %w", vip, loopback, err))
			failed.Addresses = append(failed.Addresses, vip)
		}
	}
	if r.LoopbackUp {
		if err := s.netlink.LinkSetDown(lo); err != nil {
			errs = append(errs, fmt.Errorf("switching interface %s off: %w", loopback, err))
			failed.LoopbackUp = true
		}
	}
	for _, c := range r.Settings {
		if err := c.revert(s.log); err != nil {
			errs = append(errs, err)
			failed.Settings = append(failed.Settings, c)
		}
	}
	if r.empty() {
		return nil
	}
	return errors.Join(append(errs, s.save(s.record.without(r.without(failed))))...)
}

// loopbackAddr returns a VIP as an address of lo that the host does not choose
// as the source of what it sends of its own accord.
func loopbackAddr(vip netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: vip.AsSlice(), Mask: net.CIDRMask(vip.BitLen(), vip.BitLen())}}
	if vip.Is4() {
		addr.Scope = unix.RT_SCOPE_HOST
		return addr
	}
	const forever = 1<<32 - 1
	addr.Flags = unix.IFA_F_NODAD
	addr.ValidLft, addr.PreferedLft = forever, 0
	return addr
}

// unicast returns the VIPs without repetitions, or an error if one of them
// cannot be an address of a balancer.
func unicast(vips []netip.Addr) ([]netip.Addr, error) {
	var unique []netip.Addr
	for _, vip := range vips {
		vip = vip.Unmap()
		if !vip.IsValid() || !vip.IsGlobalUnicast() || vip.Zone() != "" {
			return nil, fmt.Errorf("VIP %s is not a global unicast address, which a balancer's address is", vip)
		}
		if !slices.Contains(unique, vip) {
			unique = append(unique, vip)
		}
	}
	return unique, nil
}
