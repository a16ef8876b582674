// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

// The flags are those of CompileFlags in compile.go, plus the include paths of
// the architectures that Debian has headers for; TestGenerateFlags compares.
//
//go:generate go tool bpf2go -target bpfel weir ../../bpf/weir_xdp.c -- -O2 -mcpu=v3 -Wall -Wextra -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
//go:generate go tool bpf2go -target bpfel node ../../bpf/node_xdp.c -- -O2 -mcpu=v3 -Wall -Wextra -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
