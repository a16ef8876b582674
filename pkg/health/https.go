// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"crypto/tls"
	"net"
)

// tlsConfig returns how checks with the given Host header speak TLS. The
// header, without its port, is also the server name; without a header there is
// no name, since an address must not be one (RFC 6066, section 3).
//
// The certificate is not verified, neither its name nor its issuer nor its
// dates: backends often have one for the clients' name or of a private issuer,
// and a check asks whether the backend answers, not whom it is.
func tlsConfig(host string) *tls.Config {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	return &tls.Config{
		ServerName:         name,
		InsecureSkipVerify: true,
		NextProtos:         []string{"http/1.1"},
		// The exchange is no secret worth a post-quantum key share: that is a
		// kilobyte each way, and doubles the arithmetic of the handshake.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
	}
}
