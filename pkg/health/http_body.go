// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"fmt"
	"io"

	"github.com/weirlb/weir/pkg/lb"
)

// maxBody is how much of a body is read, in bytes. The pattern must match
// within that much; what follows is ignored.
const maxBody = 64 << 10

// matchBody passes if the body, or its first maxBody bytes, matches the
// pattern. A body that ends early or not in time fails, whatever came of it.
func (h *httpCheck) matchBody(ctx context.Context, t lb.Target, body io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(body, maxBody))
	if err != nil {
		return fail(ctx, t, "body not complete", "reading the body: ", err)
	}
	if !h.body.Match(text) {
		return fmt.Errorf("body does not match %q", h.body)
	}
	return nil
}
