// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package bench

// The flags are those of pkg/dataplane/generate.go.
//
//go:generate go tool bpf2go -target bpfel generator ../../bpf/bench_xdp.c -- -O2 -mcpu=v3 -Wall -Wextra -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
