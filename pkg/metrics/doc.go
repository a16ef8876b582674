// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package metrics shows Prometheus what an agent, or a node, and its data plane
// do. Nothing is counted here: each scrape reads the kernel's counters and asks
// the agent. docs/metrics.md lists all names.
//
// It is the only package that imports github.com/prometheus/client_golang. It
// imports control for the agent's words, and neither agent nor cli.
package metrics
