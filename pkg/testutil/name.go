// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package testutil

import (
	"crypto/rand"
	"fmt"
	"os"
	"testing"
)

// namePrefix begins the names of everything outside of this process that its
// tests make.
func namePrefix() string { return fmt.Sprintf("weir-test-%d-", os.Getpid()) }

// uniqueName returns a name that nothing on this host has.
func uniqueName(t testing.TB) string {
	t.Helper()
	random := make([]byte, 3)
	_, _ = rand.Read(random) // never fails: crypto/rand ends the process instead
	return fmt.Sprintf("%s%x", namePrefix(), random)
}
