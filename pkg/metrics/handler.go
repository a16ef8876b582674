// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
)

// Source is the agent that metrics tell of.
type Source interface {
	// Status describes the agent itself.
	Status() control.Status
	// Conditions says what the agent knows of each backend.
	Conditions() map[control.BackendKey]control.Condition
	// Tables returns the kernel's tables.
	Tables() *dataplane.Tables
}

// NewHandler serves /metrics, /healthz (200 as long as the process answers) and
// /readyz (200 once the agent serves traffic, else 503 and the reason).
func NewHandler(source Source) http.Handler {
	return newHandler(newAgentCollector(source, source.Tables()), func() (bool, string) {
		s := source.Status()
		return s.Ready, s.NotReady
	})
}

// maxScrapes bounds the scrapes at once: each reads all tables.
const maxScrapes = 4

func newHandler(c prometheus.Collector, ready func() (bool, string)) http.Handler {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "alive") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ok, why := ready(); !ok {
			answer(w, http.StatusServiceUnavailable, "not ready: "+why)
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	return mux
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = fmt.Fprintln(w, text) // who asked may be gone
}
