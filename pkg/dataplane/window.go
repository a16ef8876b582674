// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// window maps elements [first, first+n) of a mmapable array into memory for as
// long as fn runs, as a slice of words. An array that is mapped whole would
// count as resident memory of the agent, all of it, used or not.
func window[W uint32 | uint64](m *ebpf.Map, first, n uint32, writable bool, fn func([]W)) error {
	if n == 0 {
		return nil
	}
	if uint64(first)+uint64(n) > uint64(m.MaxEntries()) {
		return fmt.Errorf("%s: entries %d to %d are out of range, it has %d",
			m, first, uint64(first)+uint64(n)-1, m.MaxEntries())
	}
	size := int64(m.ValueSize())
	page := int64(os.Getpagesize())
	start := int64(first) * size
	aligned := start &^ (page - 1)
	length := int64(n)*size + start - aligned

	prot := unix.PROT_READ
	if writable {
		prot |= unix.PROT_WRITE
	}
	memory, err := unix.Mmap(m.FD(), aligned, int(length), prot, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mapping %s into memory: %w", m, err)
	}
	words := unsafe.Slice((*W)(unsafe.Pointer(&memory[start-aligned])),
		int64(n)*size/int64(unsafe.Sizeof(W(0))))
	fn(words)
	if err := unix.Munmap(memory); err != nil {
		return fmt.Errorf("unmapping %s: %w", m, err)
	}
	return nil
}
