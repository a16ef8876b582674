// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"

	"github.com/weirlb/weir/pkg/lb"
)

// probeConnection passes if the target accepts a TCP connection: the handshake
// completes, then the connection is closed without a byte sent.
func probeConnection(ctx context.Context, t lb.Target) error {
	conn, err := dial(ctx, t)
	if err != nil {
		return err
	}
	conn.Close() // whatever it returns, the handshake was the check
	return nil
}
