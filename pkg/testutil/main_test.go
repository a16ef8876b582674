// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package testutil

import "testing"

func TestMain(m *testing.M) { Main(m) }
