// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/weirlb/weir/pkg/lb"
)

// maxModeSize is the largest ModeChange, in bytes.
const maxModeSize = 16 << 10

func (h *handler) mode(r *http.Request) (any, error) {
	if r.URL.RawQuery != "" {
		return nil, requestErrorf(http.StatusBadRequest, "%s takes no parameters", r.URL.Path)
	}
	if err := wantType(r, ContentTypeJSON, "a change of mode"); err != nil {
		return nil, err
	}
	data, err := readBody(r, maxModeSize, fmt.Sprintf("a change of mode has at most %d KiB", maxModeSize>>10))
	if err != nil {
		return nil, err
	}
	change, err := parseModeChange(data)
	if err != nil {
		return nil, requestErrorf(http.StatusBadRequest, "%v", err)
	}
	// As with a configuration: what has arrived is done as a whole.
	return h.agent.SetMode(context.WithoutCancel(r.Context()), change)
}

// modeRequest is a ModeChange whose fields may be missing: a mode that is not
// there must not pass for accept.
type modeRequest struct {
	Balancer *string `json:"balancer"`
	Port     *uint16 `json:"port"`
	Protocol *string `json:"protocol"`
	Backend  *string `json:"backend"`
	Mode     *string `json:"mode"`
}

// parseModeChange reads a ModeChange, and nothing but one.
func parseModeChange(data []byte) (ModeChange, error) {
	var request modeRequest
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		return ModeChange{}, modeSyntax(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return ModeChange{}, errors.New("the body has more than one change of mode")
	}
	return request.change()
}

// change checks the fields of a request.
func (r modeRequest) change() (change ModeChange, err error) {
	for _, field := range []struct {
		name    string
		missing bool
	}{
		{"balancer", r.Balancer == nil || *r.Balancer == ""}, {"port", r.Port == nil}, {"protocol", r.Protocol == nil},
		{"backend", r.Backend == nil || *r.Backend == ""}, {"mode", r.Mode == nil},
	} {
		if field.missing {
			return change, fmt.Errorf("%s is missing: want %s", field.name, modeFields()[field.name])
		}
	}
	if *r.Port == 0 {
		return change, fmt.Errorf("port is 0: want %s", modeFields()["port"])
	}
	change = ModeChange{Balancer: *r.Balancer, Port: *r.Port, Backend: *r.Backend}
	if err := change.Protocol.UnmarshalText([]byte(*r.Protocol)); err != nil {
		return change, fmt.Errorf("protocol: %w", err)
	}
	if err := change.Mode.UnmarshalText([]byte(*r.Mode)); err != nil || change.Mode == lb.ModeBackup {
		return change, fmt.Errorf("mode %q cannot be set by command: want %s", *r.Mode, modeFields()["mode"])
	}
	return change, nil
}

// modeFields says what the fields of a ModeChange are.
func modeFields() map[string]string {
	return map[string]string{
		"balancer": "its label",
		"port":     "a whole number from 1 to 65535",
		"protocol": "tcp or udp",
		"backend":  "its label or ADDRESS:PORT",
		"mode":     "accept, drain or reject",
	}
}

// modeSyntax says what is wrong with JSON in the words of a ModeChange.
func modeSyntax(err error) error {
	var mistyped *json.UnmarshalTypeError
	if errors.As(err, &mistyped) && mistyped.Field != "" {
		return fmt.Errorf("%s: got %s, want %s", mistyped.Field, mistyped.Value, modeFields()[mistyped.Field])
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("unknown field %s: there are balancer, port, protocol, backend and mode", field)
	}
	if mistyped != nil {
		return fmt.Errorf("the body: got %s, want an object with balancer, port, protocol, backend and mode", mistyped.Value)
	}
	return fmt.Errorf("the body is not JSON: %w", err)
}
