// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package testutil is what Weir's tests share: what they require of the
// machine, networks made of namespaces, golden files, waiting, and the search
// for what a test left behind.
//
// Only tests import it. Of Weir's packages it may import lb and netdev, whose
// own tests of it are therefore in package netdev_test.
package testutil
