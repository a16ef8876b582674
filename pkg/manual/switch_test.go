// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package manual

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/netdev"
)

// passXDP puts an XDP program that passes everything on an interface, unless it
// has one. What the other end of a virtual cable sends by XDP_TX stays in the
// queue of this end until something else comes along if this end has no XDP
// program, even if it polls.
func passXDP(t *testing.T, ns *netdev.Namespace, iface string) {
	t.Helper()
	const pass = 2 // XDP_PASS
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.XDP,
		License:      "Apache-2.0",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, pass), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	i, err := ns.Interface(iface)
	if err != nil {
		t.Fatal(err)
	}
	err = ns.Do(func() error {
		l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: i.Index, Flags: link.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		return err
	})
	if err != nil && !errors.Is(err, unix.EBUSY) {
		t.Fatal(err)
	}
}
