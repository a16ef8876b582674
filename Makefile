# Copyright The Weir Authors
# SPDX-License-Identifier: Apache-2.0
#
# `make` prints the targets. Those marked "root" want sudo.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# sudo drops PATH and, on some systems, keeps the user's HOME: look for Go where
# it usually is, and keep root's files out of the user's caches. Go needs a HOME.
ROOT := $(filter 0,$(shell id -u))
ifneq ($(if $(HOME),$(and $(ROOT),$(SUDO_USER)),no HOME),)
export HOME := $(shell getent passwd "$$(id -u)" | cut -d: -f6)
endif
ifndef GO
GO := $(shell scripts/find-go.sh 2>/dev/null)
endif
export GO
export PATH := $(if $(findstring /,$(GO)),$(patsubst %/,%,$(dir $(GO))):)$(PATH):/usr/local/sbin:/usr/sbin:/sbin

# The one version of LLVM that makes the committed BPF objects.
export CLANG ?= clang-19
export LLVM_STRIP ?= llvm-strip-19
export CLANG_FORMAT ?= clang-format-19

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/weirlb/weir/pkg/cli.version=$(VERSION)
# Git may refuse to answer root in a user's clone: the version comes from above.
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

# What root makes in the tree goes to whoever owns the tree.
OWN = $(if $(ROOT),chown -R --reference=go.mod $(1),:)

PREFIX ?= /usr/local
GENERATE_PACKAGES := ./pkg/...
BPF_PACKAGES := ./pkg/dataplane/... ./pkg/reconcile/... ./pkg/history/...
E2E_PACKAGES := ./pkg/netdev/... ./pkg/testutil/... ./pkg/agent/... ./pkg/node/... ./pkg/cli/... $(patsubst %,./%/...,$(wildcard pkg/e2e))
# The README's quick starts: they need the tree and tools of the host.
HOST_PACKAGES := ./pkg/manual/...
BENCH_PACKAGES := ./pkg/bench/...

# What make test runs on other kernels: the programs on every packet, and a node
# in a network. An emulated processor takes ten times as long for each.
VM_SUBSET := ./pkg/dataplane ./pkg/node

# Knobs: make fuzz FUZZTIME=10m, make test VM_KERNELS= (no virtual machines),
# make test-vm VM_KERNELS=6.1 VM_FLAGS=-v, make test-e2e TEST_FLAGS='-run Reload'.
FUZZTIME ?= 30s
SOAKTIME ?= 10m
VM_KERNELS ?= 6.1 6.12
VM_FLAGS ?=
VM_PACKAGES ?= $(BPF_PACKAGES) $(E2E_PACKAGES)
TEST_FLAGS ?=
BENCH ?= .

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

.PHONY: need-go need-root
need-go:
	@[ -n "$(GO)" ] || scripts/find-go.sh
need-root:
	@[ -n "$(ROOT)" ] || { echo "this needs root, for BPF and network namespaces: sudo make $(or $(MAKECMDGOALS),help)" >&2; exit 1; }

.PHONY: build
build: need-go ## build bin/weir, with Go alone
	$(BUILD) -o bin/weir ./cmd/weir
	@$(call OWN,bin)

.PHONY: install
install: build ## install bin/weir into PREFIX (/usr/local)
	install -D -m 0755 bin/weir $(DESTDIR)$(PREFIX)/bin/weir

.PHONY: demo
demo: need-root ## run the demonstration, having installed what it needs (root)
	@scripts/bootstrap.sh run
	@$(MAKE) --no-print-directory build
	bin/weir demo

.PHONY: generate
generate: need-go ## compile the BPF programs and write their Go bindings (clang 19)
	@$(CLANG) --version | grep -q 'version 19\.' || { echo "$(CLANG) is not clang 19: run scripts/bootstrap.sh develop, or name yours: make generate CLANG=..." >&2; exit 1; }
	BPF2GO_CC=$(CLANG) BPF2GO_STRIP=$(LLVM_STRIP) $(GO) generate $(GENERATE_PACKAGES)
	@$(call OWN,pkg)

.PHONY: check-generated
check-generated: need-go ## fail if what make generate makes is not what is committed
	scripts/check-generated.sh

.PHONY: lint
lint: need-go ## gofmt, vet, staticcheck, layers, clang-format, shellcheck
	scripts/lint.sh

.PHONY: test
test: need-root ## everything that CI runs, having installed what it needs (root)
	@scripts/bootstrap.sh develop $(if $(strip $(VM_KERNELS)),vm)
	@for target in lint check-generated build test-unit test-bpf test-e2e fuzz test-vm; do \
		echo "== $$target"; \
		$(MAKE) --no-print-directory $$target FUZZTIME=$(if $(filter file,$(origin FUZZTIME)),5s,$(FUZZTIME)) \
			VM_PACKAGES='$(if $(filter file,$(origin VM_PACKAGES)),$(VM_SUBSET),$(VM_PACKAGES))'; \
	done

.PHONY: test-unit
test-unit: need-go ## tests in Go alone, with the race detector
	env -u WEIR_REQUIRE_BPF WEIR_SKIP_ROOT=1 $(GO) test -race $(TEST_FLAGS) ./...

# -count=1: Go's test cache does not know that the kernel is another one.
.PHONY: test-bpf
test-bpf: need-go ## packets through the BPF programs (root)
	$(GO) test -count=1 -timeout 10m $(TEST_FLAGS) $(BPF_PACKAGES)

# -p 1: one package at a time has the namespaces and the processor.
.PHONY: test-e2e
test-e2e: need-go ## real sockets through network namespaces, the quick starts too (root)
	$(GO) test -count=1 -p 1 -timeout 20m $(TEST_FLAGS) $(E2E_PACKAGES) $(HOST_PACKAGES)

.PHONY: test-vm
test-vm: need-go ## the BPF and end-to-end tests on other kernels, in qemu
	@for kernel in $(VM_KERNELS); do \
		$(GO) run ./scripts/vm -kernel $$kernel $(VM_FLAGS) $(VM_PACKAGES); \
	done

.PHONY: fuzz
fuzz: need-go ## each fuzz target for FUZZTIME (root)
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: soak
soak: need-root ## the long forms of long tests, each for about SOAKTIME (root)
	WEIR_SOAK=$(SOAKTIME) $(GO) test -count=1 -timeout 0 -v -run 'ThousandConnections|SpoofedFlood' $(TEST_FLAGS) ./pkg/e2e
	WEIR_SOAK=$(SOAKTIME) $(GO) test -count=1 -timeout 0 -v $(TEST_FLAGS) ./pkg/history

.PHONY: bench
bench: need-root ## nanoseconds a packet, and the other figures of docs/performance.md (root)
	@scripts/bootstrap.sh bench
	$(GO) test -count=1 -timeout 60m -run '^$$' -bench '$(BENCH)' $(TEST_FLAGS) $(BENCH_PACKAGES)

.PHONY: clean
clean: ## remove what make build made
	rm -rf bin
