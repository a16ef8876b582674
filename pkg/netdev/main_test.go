// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev_test

import (
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/testutil"
)

// patience is how long a test waits for what normally takes milliseconds.
const patience = 10 * time.Second

func TestMain(m *testing.M) { testutil.Main(m) }
