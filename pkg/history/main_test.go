// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"testing"

	"github.com/weirlb/weir/pkg/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }
