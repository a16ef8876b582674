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
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/weirlb/weir/pkg/config"
)

// ErrNoAgent is wrapped by the error of a socket that no agent answers on.
var ErrNoAgent = errors.New("no agent answers")

// Dialer connects to a unix socket.
type Dialer func(ctx context.Context, socket string) (net.Conn, error)

// Client speaks to an agent over its socket. Its errors name the socket and
// what to do.
type Client struct {
	socket string
	http   *http.Client

	reading, changing time.Duration // how long it waits for an answer
}

// How long a Client waits for an answer. A change waits for checks and neighbours,
// and for the change before it.
const (
	readTimeout   = 10 * time.Second
	changeTimeout = 30 * time.Second
)

// NewClient returns a client of the agent on a socket. It connects when it is
// first asked for something.
func NewClient(socket string, dial Dialer) *Client {
	return &Client{socket: socket, reading: readTimeout, changing: changeTimeout, http: &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, socket) },
		DisableKeepAlives: true, // a command asks once or twice, and leaves nothing open
	}}}
}

// Status asks for the agent itself.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/v1/status")
}

// Balancers asks for all balancers.
func (c *Client) Balancers(ctx context.Context) ([]BalancerRow, error) {
	return get[[]BalancerRow](ctx, c, "/v1/balancers")
}

// Listeners asks for all listeners.
func (c *Client) Listeners(ctx context.Context) ([]ListenerRow, error) {
	return get[[]ListenerRow](ctx, c, "/v1/listeners")
}

// Backends asks for the backends of all listeners.
func (c *Client) Backends(ctx context.Context) ([]BackendRow, error) {
	return get[[]BackendRow](ctx, c, "/v1/backends")
}

// Apply has the agent run a configuration. The error is a config.Errors where
// the configuration is at fault.
func (c *Client) Apply(ctx context.Context, name string, data []byte) (ApplyReport, error) {
	return asked(ctx, c, func(ctx context.Context) (ApplyReport, error) {
		return askAbout[ApplyReport](ctx, c, "/v1/apply", name, data)
	})
}

// Plan asks what Apply would change. The error is a config.Errors where the
// configuration is at fault.
func (c *Client) Plan(ctx context.Context, name string, data []byte) (PlanReport, error) {
	return within(ctx, c, c.changing, func(ctx context.Context) (PlanReport, error) {
		return askAbout[PlanReport](ctx, c, "/v1/plan", name, data)
	})
}

// SetMode changes the mode of one backend. The error wraps ErrNoBackend where
// the agent has no such backend.
func (c *Client) SetMode(ctx context.Context, change ModeChange) (ModeReport, error) {
	body, err := json.Marshal(change)
	if err != nil {
		return ModeReport{}, fmt.Errorf("asking the agent on %s: %w", c.socket, err)
	}
	return asked(ctx, c, func(ctx context.Context) (ModeReport, error) {
		return ask[ModeReport](ctx, c, http.MethodPost, "/v1/mode", ContentTypeJSON, body)
	})
}

// askAbout sends a configuration that comes from the file name.
func askAbout[T any](ctx context.Context, c *Client, path, name string, data []byte) (answer T, err error) {
	if len(data) > MaxConfigSize {
		return answer, fmt.Errorf("%s has %d bytes, and a configuration at most %d MiB", name, len(data), MaxConfigSize>>20)
	}
	return ask[T](ctx, c, http.MethodPost, path+"?name="+url.QueryEscape(name), ContentTypeYAML, data)
}

// get asks for what the agent has.
func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	return within(ctx, c, c.reading, func(ctx context.Context) (T, error) {
		return ask[T](ctx, c, http.MethodGet, path, "", nil)
	})
}

// errSilent is wrapped by the error of an agent that takes too long.
var errSilent = errors.New("has not answered within")

// within has f ask, and waits no longer than a limit.
func within[T any](ctx context.Context, c *Client, limit time.Duration, f func(context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer, err := f(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		err = fmt.Errorf("the agent on %s %w %v", c.socket, errSilent, limit)
	}
	return answer, err
}

// asked is within for what may be done although nobody waits any longer.
func asked[T any](ctx context.Context, c *Client, f func(context.Context) (T, error)) (T, error) {
	answer, err := within(ctx, c, c.changing, f)
	if errors.Is(err, errSilent) {
		err = fmt.Errorf("%w; it may still do what it was asked", err)
	}
	return answer, err
}

// ask makes one request and reads the answer.
func ask[T any](ctx context.Context, c *Client, method, path, contentType string, body []byte) (answer T, err error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://weir"+path, bytes.NewReader(body))
	if err != nil {
		return answer, fmt.Errorf("asking the agent on %s: %w", c.socket, err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer, c.connectError(ctx, err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return answer, fmt.Errorf("the agent on %s stopped in the middle of its answer: %w", c.socket, err)
	}
	if response.StatusCode != http.StatusOK {
		return answer, c.answerError(response.StatusCode, data)
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return answer, fmt.Errorf("what answers on %s is no agent of this version: %w", c.socket, err)
	}
	return answer, nil
}

// connectError says why there is no answer.
func (c *Client) connectError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the agent on %s has not answered yet: %w", c.socket, ctx.Err())
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w on %s: is it running? start it by: weir agent --config FILE", ErrNoAgent, c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: permission denied: run as root", c.socket)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // the rest names a URL that means nothing to a person
	}
	return fmt.Errorf("asking the agent on %s: %w", c.socket, err)
}

// answerError turns the answer to a request that was not done into the error
// that the agent had.
func (c *Client) answerError(code int, data []byte) error {
	var body errorBody
	if err := json.Unmarshal(data, &body); err != nil || body.Error == "" {
		return fmt.Errorf("what answers on %s is no agent: status %d without a reason", c.socket, code)
	}
	if len(body.Errors) > 0 {
		mistakes := make(config.Errors, len(body.Errors))
		for i, e := range body.Errors {
			mistake := config.Error(e)
			mistakes[i] = &mistake
		}
		return mistakes
	}
	if body.Code == codeNoBackend {
		return fmt.Errorf("the agent on %s: %w", c.socket, &noBackendError{body.Error})
	}
	return fmt.Errorf("the agent on %s: %s", c.socket, body.Error)
}

// noBackendError is ErrNoBackend in the words of an agent.
type noBackendError struct{ message string }

// Error returns the agent's words.
func (e *noBackendError) Error() string { return e.message }

// Unwrap returns ErrNoBackend.
func (e *noBackendError) Unwrap() error { return ErrNoBackend }
