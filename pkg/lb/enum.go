// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"
	"slices"
	"strings"
)

// Protocol is the transport protocol of a listener, numbered as by IANA.
type Protocol uint8

// Protocols that a listener can have.
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

// Forward is how a packet travels from the balancer to a backend. The values
// are those of enum forward in bpf/lib/types.h.
type Forward uint8

// Ways of forwarding.
const (
	DSR  Forward = 1 // the frame is sent on to the backend's MAC address, otherwise unchanged
	IPIP Forward = 2 // the packet travels inside another IP header (RFC 2003, RFC 2473, RFC 4213)
)

// Algorithm is what of a packet decides which slot it falls into.
type Algorithm uint8

// Algorithms.
const (
	Maglev Algorithm = iota // the 5-tuple
	Source                  // the client's address
)

// OnAllDown is what a listener does when none of its backends is healthy.
type OnAllDown uint8

// Reactions to a pool without a healthy backend.
const (
	AllDownOpen   OnAllDown = iota // send to all backends, as if all were healthy
	AllDownDrop                    // drop
	AllDownReject                  // answer with a TCP reset or an ICMP error
)

// OnDown is what becomes of the flows of a backend that went down.
type OnDown uint8

// Reactions to a backend that went down.
const (
	DownRebalance OnDown = iota // its flows go to other backends
	DownPersist                 // its flows stay
)

// Mode is what a backend gets. The values are those of enum mode in
// bpf/lib/types.h.
type Mode uint8

// Modes of a backend.
const (
	ModeAccept Mode = iota // traffic
	ModeDrain              // the flows that it has, and no new ones
	ModeReject             // nothing, not even checks
	ModeBackup             // traffic while no backend of mode accept is healthy
)

// CheckType is the kind of a health check.
type CheckType uint8

// Kinds of health checks.
const (
	CheckNone       CheckType = iota // always healthy
	CheckConnection                  // a TCP connection is accepted
	CheckHTTP                        // an HTTP response has an accepted status
	CheckHTTPBody                    // and its body matches
	CheckHTTPS                       // as http, over TLS without verification of the certificate
	CheckHTTPSBody
)

// names maps the values of one enumeration to the words that configuration,
// tables and JSON use for them.
type names[T ~uint8] map[T]string

func (n names[T]) text(v T) string {
	if s, ok := n[v]; ok {
		return s
	}
	return fmt.Sprintf("unknown(%d)", uint8(v))
}

func (n names[T]) parse(text []byte) (T, error) {
	for v, s := range n {
		if s == string(text) {
			return v, nil
		}
	}
	var zero T
	return zero, fmt.Errorf("%q is not one of %s", text, strings.Join(n.words(), ", "))
}

func (n names[T]) words() []string {
	values := make([]T, 0, len(n))
	for v := range n {
		values = append(values, v)
	}
	slices.Sort(values)
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = n[v]
	}
	return words
}

var (
	protocolNames  = names[Protocol]{TCP: "tcp", UDP: "udp"}
	forwardNames   = names[Forward]{DSR: "dsr", IPIP: "ipip"}
	algorithmNames = names[Algorithm]{Maglev: "maglev", Source: "source"}
	onAllDownNames = names[OnAllDown]{AllDownOpen: "open", AllDownDrop: "drop", AllDownReject: "reject"}
	onDownNames    = names[OnDown]{DownRebalance: "rebalance", DownPersist: "persist"}
	modeNames      = names[Mode]{ModeAccept: "accept", ModeDrain: "drain", ModeReject: "reject", ModeBackup: "backup"}
	checkTypeNames = names[CheckType]{
		CheckNone: "none", CheckConnection: "connection", CheckHTTP: "http",
		CheckHTTPBody: "http_body", CheckHTTPS: "https", CheckHTTPSBody: "https_body",
	}
)

// String returns the word for p in configuration and listings.
func (p Protocol) String() string { return protocolNames.text(p) }

// String returns the word for f in configuration and listings.
func (f Forward) String() string { return forwardNames.text(f) }

// String returns the word for a in configuration and listings.
func (a Algorithm) String() string { return algorithmNames.text(a) }

// String returns the word for o in configuration and listings.
func (o OnAllDown) String() string { return onAllDownNames.text(o) }

// String returns the word for o in configuration and listings.
func (o OnDown) String() string { return onDownNames.text(o) }

// String returns the word for m in configuration and listings.
func (m Mode) String() string { return modeNames.text(m) }

// String returns the word for t in configuration and listings.
func (t CheckType) String() string { return checkTypeNames.text(t) }

// MarshalText returns the word for p.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// MarshalText returns the word for f.
func (f Forward) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// MarshalText returns the word for a.
func (a Algorithm) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// MarshalText returns the word for o.
func (o OnAllDown) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// MarshalText returns the word for o.
func (o OnDown) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// MarshalText returns the word for m.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// MarshalText returns the word for t.
func (t CheckType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText accepts "tcp" and "udp".
func (p *Protocol) UnmarshalText(text []byte) (err error) {
	*p, err = protocolNames.parse(text)
	return err
}

// UnmarshalText accepts "dsr" and "ipip".
func (f *Forward) UnmarshalText(text []byte) (err error) {
	*f, err = forwardNames.parse(text)
	return err
}

// UnmarshalText accepts "maglev" and "source".
func (a *Algorithm) UnmarshalText(text []byte) (err error) {
	*a, err = algorithmNames.parse(text)
	return err
}

// UnmarshalText accepts "open", "drop" and "reject".
func (o *OnAllDown) UnmarshalText(text []byte) (err error) {
	*o, err = onAllDownNames.parse(text)
	return err
}

// UnmarshalText accepts "rebalance" and "persist".
func (o *OnDown) UnmarshalText(text []byte) (err error) {
	*o, err = onDownNames.parse(text)
	return err
}

// UnmarshalText accepts "accept", "drain", "reject" and "backup".
func (m *Mode) UnmarshalText(text []byte) (err error) {
	*m, err = modeNames.parse(text)
	return err
}

// UnmarshalText accepts the words of the check types, such as "http_body".
func (t *CheckType) UnmarshalText(text []byte) (err error) {
	*t, err = checkTypeNames.parse(text)
	return err
}
