// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package passall has the XDP program that does nothing.
//
// What an XDP program sends back out of a veth interface (XDP_TX) waits in a
// queue of the other end. The kernel empties that queue at once only if the
// other end has an XDP program as well; else whatever comes along next takes
// the packets with it, be it seconds later. Networks made of veth pairs, for
// the demo and for tests, therefore have this program on the far ends.
//
// It imports github.com/cilium/ebpf and nothing of Weir.
package passall

import (
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// xdpPass is XDP_PASS of enum xdp_action.
const xdpPass = 2

// Attach puts the program, in native mode, on an interface of the network
// namespace of the calling thread. It stays until the Closer is closed or the
// process ends.
func Attach(ifindex int) (io.Closer, error) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         "pass_all",
		Type:         ebpf.XDP,
		License:      "Apache-2.0",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
	if err != nil {
		return nil, fmt.Errorf("loading the program that passes all packets: %w", err)
	}
	defer program.Close()
	l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: ifindex, Flags: link.XDPDriverMode})
	if err != nil {
		return nil, fmt.Errorf("attaching the program that passes all packets to interface %d: %w", ifindex, err)
	}
	return l, nil
}
