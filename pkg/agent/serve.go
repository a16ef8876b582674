// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/metrics"
)

// listenMetrics opens the address of the metrics, or nothing for "".
func listenMetrics(ctx context.Context, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", address)
}

func (a *Agent) serveControl(ctx context.Context, l net.Listener) error {
	return serve(ctx, l, control.NewServer(a, a.log))
}

func (a *Agent) serveMetrics(ctx context.Context, l net.Listener) error {
	if l == nil {
		return nil
	}
	return serve(ctx, l, &http.Server{
		Handler:           metrics.NewHandler(a),
		ReadHeaderTimeout: 5 * time.Second,
	})
}

// serve serves until the context ends, then lets requests under way finish.
func serve(ctx context.Context, l net.Listener, server *http.Server) error {
	const patience = 2 * time.Second
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		err := server.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = server.Close() // a client that takes its time must not make the end look like a failure
		}
		stopped <- err
	})
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
