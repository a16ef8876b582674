// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"os"
	"testing"

	"github.com/weirlb/weir/pkg/testutil"
)

// TestMain makes leaks fail the tests. In a process that BenchmarkLoad started,
// it is the server under check instead.
func TestMain(m *testing.M) {
	if kind := os.Getenv(loadServerEnv); kind != "" {
		serveLoad(kind)
		return
	}
	testutil.Main(m)
}
