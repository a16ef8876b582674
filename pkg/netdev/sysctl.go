// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sysctlDir shows, below net, the settings of the reading thread's network
// namespace.
const sysctlDir = "/proc/sys"

// readSysctl reads a setting such as net/ipv4/conf/eth0/arp_ignore.
func readSysctl(key string) (string, error) {
	b, err := os.ReadFile(filepath.Join(sysctlDir, key))
	if err != nil {
		return "", fmt.Errorf("reading setting %s: %w", key, err)
	}
	return strings.TrimSpace(string(b)), nil
}

func writeSysctl(key, value string) error {
	if err := os.WriteFile(filepath.Join(sysctlDir, key), []byte(value), 0); err != nil {
		return fmt.Errorf("setting %s to %s: %w", key, value, err)
	}
	return nil
}

// Sysctl returns a setting of the namespace, such as net/ipv4/ip_forward.
func (n *Namespace) Sysctl(key string) (value string, err error) {
	err = n.Do(func() error {
		value, err = readSysctl(key)
		return err
	})
	return value, err
}

// SetSysctl changes a setting of the namespace.
func (n *Namespace) SetSysctl(key, value string) error {
	return n.Do(func() error { return writeSysctl(key, value) })
}
