// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package bpf carries the C source of the XDP programs, so that a host with
// clang can compile what it loads (bpf_object: compile).
package bpf

import "embed"

// Source holds weir_xdp.c, node_xdp.c and lib.
//
//go:embed *.c lib/*.h
var Source embed.FS
