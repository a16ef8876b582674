// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
)

// setting is a changed sysctl.
type setting struct {
	Key string `json:"key"`
	Was string `json:"was"`
	Now string `json:"now"`
}

func (c setting) apply() error {
	if value, err := readSysctl(c.Key); err != nil || value == c.Now {
		return err
	}
	return writeSysctl(c.Key, c.Now)
}

// revert restores the setting if it still is what it was changed to. The
// settings of an interface that is gone need no care.
func (c setting) revert(log *slog.Logger) error {
	value, err := readSysctl(c.Key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case value != c.Now:
		log.Info("a setting was changed by someone else and stays", "setting", c.Key, "value", value)
		return nil
	}
	return writeSysctl(c.Key, c.Was)
}

// requirement is what a sysctl must be on a backend host.
type requirement struct {
	key  string
	want int
	met  func(value int) (bool, error)
}

// check returns the present value and whether it will do.
func (r requirement) check() (value string, met bool, err error) {
	value, err = readSysctl(r.key)
	if err != nil {
		return "", false, err
	}
	number, err := strconv.Atoi(value)
	if err != nil {
		return "", false, fmt.Errorf("setting %s is %q, not a number", r.key, value)
	}
	met, err = r.met(number)
	return value, met, err
}

// ipv4Requirements returns what a host that holds IPv4 VIPs on lo needs, if
// packets for them come in by iface. Of each setting the kernel uses the
// greater of the one for all interfaces and the interface's own.
func ipv4Requirements(iface string) []requirement {
	conf := func(iface, name string) string { return "net/ipv4/conf/" + iface + "/" + name }
	atLeast := func(least int) func(int) (bool, error) {
		return func(value int) (bool, error) { return value >= least, nil }
	}
	const strict, loose = 1, 2
	notStrict := func(value int) (bool, error) {
		forAll, err := readSysctl(conf("all", "rp_filter"))
		return max(value, atoi(forAll)) != strict, err
	}
	return []requirement{
		{key: conf("all", "arp_ignore"), want: 1, met: atLeast(1)},
		{key: conf(iface, "arp_ignore"), want: 1, met: atLeast(1)},
		{key: conf("all", "arp_announce"), want: 2, met: atLeast(2)},
		{key: conf(iface, "arp_announce"), want: 2, met: atLeast(2)},
		{key: conf(iface, "rp_filter"), want: loose, met: notStrict},
	}
}

// atoi returns the number that the kernel wrote, 0 for none.
func atoi(value string) int {
	number, _ := strconv.Atoi(value)
	return number
}
