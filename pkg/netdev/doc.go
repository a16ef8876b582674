// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package netdev is Weir's view of the host's network: interfaces and their
// changes, the next hop towards every backend, the settings a backend host
// needs, and the network namespaces that the demo and the tests are built of.
//
// Everything acts on the network namespace of the calling thread, except the
// methods of a [Namespace], which act on that one.
//
// It is the only package that imports github.com/vishvananda/netlink and
// netns. It must not import any package of Weir but lb.
package netdev
