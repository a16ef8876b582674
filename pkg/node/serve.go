// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/weirlb/weir/pkg/metrics"
)

// server serves metrics. The zero server serves nothing.
type server struct {
	listener net.Listener
	http     *http.Server
	done     sync.WaitGroup
}

// listen opens the address of the metrics, or nothing for "".
func listen(ctx context.Context, address string) (*server, error) {
	if address == "" {
		return &server{}, nil
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--metrics: %w: name another address", err)
	}
	return &server{listener: listener}, nil
}

// serve answers for a node until close.
func (s *server) serve(n *node) {
	if s.listener == nil {
		return
	}
	s.http = &http.Server{Handler: metrics.NewNodeHandler(n), ReadHeaderTimeout: 5 * time.Second}
	s.done.Go(func() {
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			n.log.Error("metrics are no longer served", "err", err)
		}
	})
}

// close stops serving and waits for what is under way.
func (s *server) close() {
	switch {
	case s.http != nil:
		_ = s.http.Close() // closes the listener too; whoever is connected sees it
		s.done.Wait()
	case s.listener != nil:
		_ = s.listener.Close()
	}
}
