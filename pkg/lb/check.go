// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"
	"net/netip"
	"time"
)

// Check says how the health of a listener's backends is found out. It is
// comparable, so that equal checks of one target can be made once.
type Check struct {
	Type     CheckType
	Port     uint16 // 0: the backend's
	Path     string // of the HTTP request, with its query
	Host     string // Host header and TLS server name; empty: the target's address
	Body     string // regular expression (RE2) that some part of the body must match
	Status   StatusRange
	Interval time.Duration // from the start of one check to the start of the next
	Timeout  time.Duration // of one check as a whole
	Fall     int           // failures in a row that take a backend down
	Rise     int           // successes in a row that bring it back
}

// StatusRange is the range of accepted HTTP status codes, both ends included.
type StatusRange struct{ Min, Max uint16 }

// String returns the range as configuration writes it: "200" or "200-399".
func (r StatusRange) String() string {
	if r.Min == r.Max {
		return fmt.Sprint(r.Min)
	}
	return fmt.Sprintf("%d-%d", r.Min, r.Max)
}

// Contains reports whether code is in the range.
func (r StatusRange) Contains(code int) bool {
	return int(r.Min) <= code && code <= int(r.Max)
}

// Target is one thing to check: an address and how. Backends of any number of
// listeners that have the same target share one check.
type Target struct {
	Address netip.AddrPort
	Check   Check
}

// Target returns what is to be checked for backend b under check c.
func (c Check) Target(b Backend) Target {
	addr := b.Address
	if c.Port != 0 {
		addr = netip.AddrPortFrom(addr.Addr(), c.Port)
	}
	return Target{Address: addr, Check: c}
}

// Health is what the checks say of a target.
type Health uint8

// Healths of a target. The values are those of enum health in
// bpf/lib/types.h.
const (
	HealthUnknown Health = iota // no check has ended yet
	HealthUp
	HealthDown
)

var healthNames = names[Health]{HealthUnknown: "unknown", HealthUp: "up", HealthDown: "down"}

// String returns "unknown", "up" or "down".
func (h Health) String() string { return healthNames.text(h) }

// MarshalText returns the word for h.
func (h Health) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText accepts "unknown", "up" and "down".
func (h *Health) UnmarshalText(text []byte) (err error) {
	*h, err = healthNames.parse(text)
	return err
}
