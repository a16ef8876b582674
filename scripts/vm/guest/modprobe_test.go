// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFilesFor(t *testing.T) {
	const (
		aliases = "alias rtnl-link-ipip ipip\nalias net-pf-10-* ipv6\n"
		dep     = "net/ipip.ko: net/tunnel4.ko net/ip_tunnel.ko\nnet/ipv6.ko.xz:\nnet/cls-bpf.ko:\n"
	)
	for name, want := range map[string][]string{
		"rtnl-link-ipip": {"net/ip_tunnel.ko", "net/tunnel4.ko", "net/ipip.ko"},
		"net-pf-10-7":    {"net/ipv6.ko.xz"},
		"cls_bpf":        {"net/cls-bpf.ko"},
		"rtnl-link-none": nil,
	} {
		if diff := cmp.Diff(want, filesFor(name, aliases, dep)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
