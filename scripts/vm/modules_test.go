// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSelectModules(t *testing.T) {
	set, err := selectModules("testdata/modules", []string{"ip6_tunnel", "built_in", "8021q"})
	if err != nil {
		t.Fatal(err)
	}
	want := moduleSet{
		files: []string{"kernel/ip6_tunnel.ko", "kernel/tunnel6.ko.xz", "kernel/8021q.ko"},
		depends: "kernel/ip6_tunnel.ko: kernel/tunnel6.ko.xz\n" +
			"kernel/tunnel6.ko.xz:\n" +
			"kernel/8021q.ko:\n",
		aliases: "alias rtnl-link-ip6tnl ip6_tunnel\nalias rtnl-link-vlan 8021q\n",
	}
	if diff := cmp.Diff(want, set, cmp.AllowUnexported(moduleSet{})); diff != "" {
		t.Error(diff)
	}
}
