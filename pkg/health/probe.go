// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/weirlb/weir/pkg/lb"
)

// Probe checks a target once. It returns nil if the target passes, else an
// error that says why not in a few words that need no address beside them.
//
// It returns soon after ctx ends, whatever the target does. The deadline of ctx
// is that of the check as a whole.
type Probe func(ctx context.Context, t lb.Target) error

// ErrInconclusive is in the chain of a Probe's error that says nothing about
// the target, such as this host being out of file descriptors. Such a result
// changes no health: it must not take down every backend at once.
var ErrInconclusive = errors.New("no verdict, this host is short of resources")

// NewProbe returns the probe for targets with check c. It is made once for many
// targets and may be called from many goroutines at a time.
//
// If c cannot be carried out, such as a body pattern that is no regular
// expression, every call of the probe says so.
func NewProbe(c lb.Check) Probe {
	switch c.Type {
	case lb.CheckNone:
		return func(context.Context, lb.Target) error { return nil }
	case lb.CheckConnection:
		return probeConnection
	case lb.CheckHTTP, lb.CheckHTTPBody, lb.CheckHTTPS, lb.CheckHTTPSBody:
		h, err := newHTTPCheck(c)
		if err != nil {
			return unusable(err)
		}
		return h.probe
	default:
		return unusable(fmt.Errorf("no such check: %s", c.Type))
	}
}

// unusable returns a probe for a check that cannot be carried out.
func unusable(err error) Probe {
	return func(context.Context, lb.Target) error { return err }
}

// failure is an error whose text is written for an operator, who knows the
// target already. The cause stays in its chain.
type failure struct {
	text  string
	cause error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.cause }

// fail returns the failure for err, which ended a step of a check: prefix is
// put before what went wrong, unless it was the time that ran out. Then
// missing, such as "no answer", says what there was not, and the text adds
// within what time.
func fail(ctx context.Context, t lb.Target, missing, prefix string, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded):
		text := fmt.Sprintf("%s within %s", missing, t.Check.Timeout)
		return &failure{text, context.DeadlineExceeded}
	}
	return &failure{prefix + reason(err), err}
}

// maxReason bounds what a failure quotes, in bytes: servers may send anything.
const maxReason = 160

// reason returns what went wrong in err without the operation, the addresses
// and the package that the standard library puts before it.
func reason(err error) string {
	var written *failure
	if errors.As(err, &written) {
		return written.text
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "connection closed early"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	text := strings.TrimPrefix(err.Error(), "tls: ")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}
