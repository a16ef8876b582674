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
}

// NewClient returns a client of the agent on a socket. It connects when it is
// first asked for something.
func NewClient(socket string, dial Dialer) *Client {
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, socket) },
		DisableKeepAlives: true, // a command asks once or twice, and leaves nothing open
	}}}
}

// Status asks for the agent itself.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, http.MethodGet, "/v1/status", nil)
}

// Balancers asks for all balancers.
func (c *Client) Balancers(ctx context.Context) ([]BalancerRow, error) {
	return ask[[]BalancerRow](ctx, c, http.MethodGet, "/v1/balancers", nil)
}

// Listeners asks for all listeners.
func (c *Client) Listeners(ctx context.Context) ([]ListenerRow, error) {
	return ask[[]ListenerRow](ctx, c, http.MethodGet, "/v1/listeners", nil)
}

// Backends asks for the backends of all listeners.
func (c *Client) Backends(ctx context.Context) ([]BackendRow, error) {
	return ask[[]BackendRow](ctx, c, http.MethodGet, "/v1/backends", nil)
}

// Apply has the agent run a configuration. The error is a config.Errors where
// the configuration is at fault.
func (c *Client) Apply(ctx context.Context, name string, data []byte) (ApplyReport, error) {
	if len(data) > MaxConfigSize {
		return ApplyReport{}, fmt.Errorf("%s has %d bytes, and a configuration at most %d MiB", name, len(data), MaxConfigSize>>20)
	}
	return ask[ApplyReport](ctx, c, http.MethodPost, "/v1/apply?name="+url.QueryEscape(name), data)
}

// ask makes one request and reads the answer.
func ask[T any](ctx context.Context, c *Client, method, path string, body []byte) (answer T, err error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://weir"+path, bytes.NewReader(body))
	if err != nil {
		return answer, fmt.Errorf("asking the agent on %s: %w", c.socket, err)
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", ContentTypeYAML)
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
	return fmt.Errorf("the agent on %s: %s", c.socket, body.Error)
}
