// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/dataplane"
)

// MaxConfigSize is the largest configuration that can be applied, in bytes.
const MaxConfigSize = 16 << 20

// Types of what is sent to an agent.
const (
	ContentTypeYAML = "application/yaml" // a configuration, to /v1/apply and /v1/plan
	ContentTypeJSON = "application/json" // a ModeChange, to /v1/mode
)

const maxNameLength = 4096 // of the file that a configuration came from

// NewServer returns a server that answers for an agent. The caller serves it on
// what Listen returns, and shuts it down.
func NewServer(agent Agent, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           newHandler(agent, log),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute, // a new configuration waits for its first checks
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// route is one path of the API.
type route struct {
	method string
	answer func(*http.Request) (any, error)
}

type handler struct {
	agent  Agent
	log    *slog.Logger
	routes map[string]route
}

func newHandler(agent Agent, log *slog.Logger) *handler {
	h := &handler{agent: agent, log: log}
	h.routes = map[string]route{
		"/v1/status":    {http.MethodGet, h.status},
		"/v1/balancers": {http.MethodGet, h.balancers},
		"/v1/listeners": {http.MethodGet, h.listeners},
		"/v1/backends":  {http.MethodGet, h.backends},
		"/v1/apply":     {http.MethodPost, h.apply},
		"/v1/plan":      {http.MethodPost, h.plan},
		"/v1/mode":      {http.MethodPost, h.mode},
	}
	return h
}

// ServeHTTP answers one request with JSON, whatever the request is.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, ok := h.routes[r.URL.Path]
	if !ok {
		h.fail(w, r, requestErrorf(http.StatusNotFound, "no such path, there are: %s", strings.Join(h.paths(), ", ")))
		return
	}
	if r.Method != route.method {
		w.Header().Set("Allow", route.method)
		h.fail(w, r, requestErrorf(http.StatusMethodNotAllowed, "%s takes %s only", r.URL.Path, route.method))
		return
	}
	if route.method == http.MethodGet {
		if err := bare(r); err != nil {
			h.fail(w, r, err)
			return
		}
	}
	answer, err := route.answer(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.write(w, http.StatusOK, answer)
}

func (h *handler) paths() []string {
	var paths []string
	for path := range h.routes {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

func (h *handler) status(*http.Request) (any, error) {
	s := h.agent.Status()
	// JSON shows what is nil as null, and lists are never that.
	s.Interfaces = append([]InterfaceStatus{}, s.Interfaces...)
	s.Modes = append([]ModeStatus{}, s.Modes...)
	s.Problems = append([]string{}, s.Problems...)
	return s, nil
}

// configured reads what the running configuration has in the kernel.
func (h *handler) configured() (*dataplane.Snapshot, map[BackendKey]Condition, error) {
	s, err := h.agent.Snapshot()
	if err != nil {
		return nil, nil, err
	}
	conditions := h.agent.Conditions()
	return Configured(s, h.agent.Status(), conditions), conditions, nil
}

func (h *handler) balancers(*http.Request) (any, error) {
	s, _, err := h.configured()
	if err != nil {
		return nil, err
	}
	return BalancerRows(s), nil
}

func (h *handler) listeners(*http.Request) (any, error) {
	s, _, err := h.configured()
	if err != nil {
		return nil, err
	}
	return ListenerRows(s), nil
}

func (h *handler) backends(*http.Request) (any, error) {
	s, conditions, err := h.configured()
	if err != nil {
		return nil, err
	}
	return BackendRows(s, conditions), nil
}

// bare refuses what a GET has no use for, so that a mistake does not pass for
// an answer.
func bare(r *http.Request) error {
	if r.URL.RawQuery != "" {
		return requestErrorf(http.StatusBadRequest, "%s takes no parameters", r.URL.Path)
	}
	if r.ContentLength != 0 {
		return requestErrorf(http.StatusBadRequest, "%s takes no body", r.URL.Path)
	}
	return nil
}

// requestError is the fault of a request.
type requestError struct {
	code    int
	message string
}

func requestErrorf(code int, format string, args ...any) *requestError {
	return &requestError{code: code, message: fmt.Sprintf(format, args...)}
}

// Error returns the message.
func (e *requestError) Error() string { return e.message }

// errorBody is the answer to a request that was not done.
type errorBody struct {
	Error  string        `json:"error"`
	Code   string        `json:"code,omitempty"`   // codeNoBackend, where a program decides on it
	Errors []configError `json:"errors,omitempty"` // of a configuration, in the order of the file
}

// codeNoBackend is the code of an error that wraps ErrNoBackend.
const codeNoBackend = "no_backend"

// configError is a config.Error on the wire.
type configError struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Key     string `json:"key,omitempty"`
	Value   string `json:"value,omitempty"`
	Message string `json:"message"`
}

// fail answers a request that was not done.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	var request *requestError
	var mistakes config.Errors
	code, body := http.StatusInternalServerError, errorBody{Error: err.Error()}
	switch {
	case errors.As(err, &request):
		code = request.code
	case errors.Is(err, ErrNoBackend):
		code, body.Code = http.StatusNotFound, codeNoBackend
	case errors.As(err, &mistakes):
		code = http.StatusUnprocessableEntity
		for _, m := range mistakes {
			body.Errors = append(body.Errors, configError(*m))
		}
	default:
		h.log.Error("request not done", "path", r.URL.Path, "err", err)
	}
	h.write(w, code, body)
}

func (h *handler) write(w http.ResponseWriter, code int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		h.log.Error("answer not written", "err", err)
		code, data = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", ContentTypeJSON)
	w.WriteHeader(code)
	if _, err := w.Write(append(data, '\n')); err != nil {
		h.log.Debug("answer not sent", "err", err)
	}
}
