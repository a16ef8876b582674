// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

func (h *handler) apply(r *http.Request) (any, error) {
	name, data, err := configuration(r)
	if err != nil {
		return nil, err
	}
	// A configuration that has arrived is applied even if whoever sent it does
	// not wait for the answer: half of a change helps nobody.
	return h.agent.Apply(context.WithoutCancel(r.Context()), name, data)
}

func (h *handler) plan(r *http.Request) (any, error) {
	name, data, err := configuration(r)
	if err != nil {
		return nil, err
	}
	report, err := h.agent.Plan(r.Context(), name, data)
	if err != nil {
		return nil, err
	}
	// JSON shows what is nil as null, and lists are never that.
	report.Listeners = append([]ListenerPlan{}, report.Listeners...)
	for i := range report.Listeners {
		l := &report.Listeners[i]
		l.Added = append([]string{}, l.Added...)
		l.Removed = append([]string{}, l.Removed...)
		l.Changed = append([]string{}, l.Changed...)
		l.Reasons = append([]string{}, l.Reasons...)
	}
	return report, nil
}

// configuration returns the configuration that is the body of a request, and
// the file that it comes from.
func configuration(r *http.Request) (name string, data []byte, err error) {
	if name, err = configName(r); err != nil {
		return "", nil, err
	}
	if err := wantType(r, ContentTypeYAML, "a configuration"); err != nil {
		return "", nil, err
	}
	data, err = readBody(r, MaxConfigSize, fmt.Sprintf("a configuration has at most %d MiB", MaxConfigSize>>20))
	return name, data, err
}

// configName returns the file that a configuration comes from.
func configName(r *http.Request) (string, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", requestErrorf(http.StatusBadRequest, "the query is malformed: %v", err)
	}
	names := query["name"]
	if len(query) != 1 || len(names) != 1 || names[0] == "" {
		return "", requestErrorf(http.StatusBadRequest, "want one parameter, name, the file that the configuration comes from")
	}
	if len(names[0]) > maxNameLength || !utf8.ValidString(names[0]) || strings.ContainsFunc(names[0], unicode.IsControl) {
		return "", requestErrorf(http.StatusBadRequest, "name must be the name of a file, at most %d bytes without control characters", maxNameLength)
	}
	return names[0], nil
}

// wantType refuses a body of another type than what is wanted.
func wantType(r *http.Request, want, what string) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != want {
		return requestErrorf(http.StatusUnsupportedMediaType, "the body must be %s, Content-Type: %s", what, want)
	}
	return nil
}

// readBody reads a body of at most limit bytes. tooLarge is what to say of more.
func readBody(r *http.Request, limit int64, tooLarge string) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, requestErrorf(http.StatusRequestEntityTooLarge, "%s", tooLarge)
	}
	data, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	var exceeded *http.MaxBytesError
	if errors.As(err, &exceeded) {
		return nil, requestErrorf(http.StatusRequestEntityTooLarge, "%s", tooLarge)
	}
	if err != nil {
		return nil, requestErrorf(http.StatusBadRequest, "reading the body: %v", err)
	}
	return data, nil
}
