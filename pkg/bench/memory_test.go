// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// kernelMemory returns how many bytes the kernel has allocated for itself, as
// far as records of flows can be among them: what it says of a map's memory leaves
// out what its allocator rounds up to. It waits until maps are gone that were
// closed before.
func kernelMemory(b *testing.B) int64 {
	b.Helper()
	last := readKernelMemory(b)
	for range 40 {
		<-time.After(250 * time.Millisecond)
		now := readKernelMemory(b)
		if change := now - last; -1<<20 < change && change < 1<<20 {
			return now
		}
		last = now
	}
	b.Log("the memory of the kernel changes by other work, figures of it are not to be trusted")
	return last
}

func readKernelMemory(b *testing.B) (bytes int64) {
	b.Helper()
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SUnreclaim" && name != "VmallocUsed" && name != "Percpu" {
			continue
		}
		kB, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			b.Fatalf("/proc/meminfo: %s: %v", name, err)
		}
		bytes += kB << 10
	}
	return bytes
}

// mapMemory returns how many bytes some maps take, or all, as the kernel says.
func (p *plane) mapMemory(b *testing.B, names ...string) (bytes int64) {
	b.Helper()
	infos, err := p.Tables().Maps()
	if err != nil {
		b.Fatal(err)
	}
	for _, info := range infos {
		if len(names) == 0 || slices.Contains(names, info.Name) {
			bytes += int64(info.Memory)
		}
	}
	return bytes
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
