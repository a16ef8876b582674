// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"net/url"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"

	"github.com/weirlb/weir/pkg/lb"
)

// Defaults and ranges of a check.
const (
	defaultInterval = 5 * time.Second
	minInterval     = 100 * time.Millisecond
	maxInterval     = time.Hour

	defaultTimeout = 3 * time.Second
	minTimeout     = 10 * time.Millisecond

	defaultCount = 2 // of fall and rise
	maxCount     = 100

	maxPath = 2048 // bytes
	maxBody = 1024 // bytes of the expression
)

var hostPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$`)

// defaultCheck is that of a listener without the block.
func defaultCheck(protocol lb.Protocol) lb.Check {
	if protocol != lb.TCP {
		return lb.Check{Type: lb.CheckNone}
	}
	return checkOfType(lb.CheckConnection)
}

// checkOfType returns a check with the defaults for what its type uses, so
// that equal checks are equal values.
func checkOfType(t lb.CheckType) lb.Check {
	if t == lb.CheckNone {
		return lb.Check{}
	}
	c := lb.Check{
		Type: t, Interval: defaultInterval, Timeout: defaultTimeout,
		Fall: defaultCount, Rise: defaultCount,
	}
	if usesHTTP(t) {
		c.Path, c.Status = "/", lb.StatusRange{Min: 200, Max: 399}
	}
	return c
}

func usesHTTP(t lb.CheckType) bool { return t != lb.CheckNone && t != lb.CheckConnection }

func usesBody(t lb.CheckType) bool { return t == lb.CheckHTTPBody || t == lb.CheckHTTPSBody }

// uses reports whether a check of type t looks at a key of its block.
func uses(t lb.CheckType, key string) bool {
	switch key {
	case "type", "via":
		return true
	case "path", "host", "status":
		return usesHTTP(t)
	case "body":
		return usesBody(t)
	}
	return t != lb.CheckNone
}

func checkFields(c *lb.Check, wrong *bool) []field {
	count := func(out *int) func(*value) {
		return func(v *value) {
			n, _ := v.integer(1, maxCount)
			*out = int(n)
		}
	}
	return []field{
		{name: "type", read: func(v *value) { *wrong = !readCheckType(v, c) }},
		{name: "via", read: only("direct", later{"forward": "use direct"})},
		{name: "port", read: func(v *value) { c.Port = v.port(0) }},
		{name: "path", read: func(v *value) { c.Path = readPath(v) }},
		{name: "host", read: func(v *value) { c.Host = readHost(v) }},
		{name: "body", read: func(v *value) { c.Body = readBody(v) }},
		{name: "status", read: func(v *value) { c.Status = readStatus(v) }},
		{name: "interval", read: func(v *value) {
			if d, ok := v.duration(minInterval, maxInterval); ok {
				c.Interval = d
				c.Timeout = min(c.Timeout, d)
			}
		}},
		{name: "timeout", read: func(v *value) { readTimeout(v, c) }},
		{name: "fall", read: count(&c.Fall)},
		{name: "rise", read: count(&c.Rise)},
	}
}

// readCheck reads the block check of a listener of the protocol.
func readCheck(v *value, protocol lb.Protocol) lb.Check {
	c := defaultCheck(protocol)
	var wrong bool // the type is, so that nothing is known of what it uses
	b, ok := v.block(checkFields(&c, &wrong))
	if !ok || wrong || protocol == 0 && b.get("type") == nil {
		return c
	}
	for _, f := range b.fields {
		at := b.get(f.name)
		if at == nil || uses(c.Type, f.name) || at.stateNothing(f.name) {
			continue
		}
		if b.get("type") == nil && c.Type == lb.CheckNone {
			at.errorf("is not used by a check of type none, the default for %s: write a type, or remove it", protocol)
		} else {
			at.errorf("is not used by a check of type %s: remove it", c.Type)
		}
	}
	if usesBody(c.Type) && b.get("body") == nil {
		b.missing("body", "a check of type "+c.Type.String()+" wants a regular expression that the body matches")
	}
	if at := b.get("body"); usesBody(c.Type) && at != nil && at.stateNothing("body") {
		at.errorf("is empty, and a check of type %s wants a regular expression that the body matches", c.Type)
	}
	return c
}

// stateNothing reports whether v says of a key what its absence says too.
func (v *value) stateNothing(key string) bool {
	switch key {
	case "port":
		return v.node.Value == "0"
	case "host", "body":
		return v.node.Value == "" && describe(v.node) == "a string"
	}
	return false
}

// readCheckType also sets the defaults for the type.
func readCheckType(v *value, c *lb.Check) bool {
	var t lb.CheckType
	ok := pick(v, &t, later{"udp": "use connection to a TCP port of the backend, or none"},
		lb.CheckNone, lb.CheckConnection, lb.CheckHTTP, lb.CheckHTTPBody, lb.CheckHTTPS, lb.CheckHTTPSBody)
	*c = checkOfType(t)
	return ok
}

func readPath(v *value) string {
	const want = "a path such as /healthz"
	text, ok := v.text(want)
	if !ok {
		return ""
	}
	_, err := url.ParseRequestURI(text)
	switch {
	case !strings.HasPrefix(text, "/"):
		v.errorf("%s does not begin with a '/', want %s", v.show(), want)
	case len(text) > maxPath:
		v.errorf("%s is too long, allowed: %d bytes", v.show(), maxPath)
	case err != nil || strings.ContainsAny(text, " #"):
		v.errorf("%s cannot be in an HTTP request, want %s, with other characters as %%XX", v.show(), want)
	}
	return text
}

func readHost(v *value) string {
	text, ok := v.text("a host name")
	if ok && text != "" && !hostPattern.MatchString(text) {
		v.errorf("%s is not a host name such as www.example.com", v.show())
	}
	return text
}

func readBody(v *value) string {
	text, ok := v.anyText("a regular expression")
	if !ok {
		return ""
	}
	if len(text) > maxBody {
		v.errorf("%s is too long, allowed: %d bytes", v.show(), maxBody)
		return ""
	}
	if _, err := regexp.Compile(text); err != nil {
		reason := err.Error()
		if e := new(syntax.Error); errors.As(err, &e) {
			reason = e.Code.String()
		}
		v.errorf("%s is not a regular expression (RE2): %s", v.show(), reason)
	}
	return text
}

// readStatus takes a number, 200, and a range, 200-399.
func readStatus(v *value) lb.StatusRange {
	if describe(v.node) == "a number" {
		n, _ := v.integer(100, 599)
		return lb.StatusRange{Min: uint16(n), Max: uint16(n)}
	}
	const want = "a status such as 200 or a range such as 200-399"
	text, ok := v.text(want)
	if !ok {
		return lb.StatusRange{}
	}
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	if !decimalPattern.MatchString(from) || !decimalPattern.MatchString(to) {
		v.errorf("%s is not %s", v.show(), want)
		return lb.StatusRange{}
	}
	least, errLeast := strconv.ParseUint(from, 10, 16)
	most, errMost := strconv.ParseUint(to, 10, 16)
	switch {
	case errLeast != nil, errMost != nil, min(least, most) < 100, max(least, most) > 599:
		v.errorf("%s is out of range, allowed: 100-599", v.show())
	case least > most:
		v.errorf("%s is the wrong way round, want %d-%d", v.show(), most, least)
	}
	return lb.StatusRange{Min: uint16(least), Max: uint16(most)}
}

// readTimeout needs the interval that c has.
func readTimeout(v *value, c *lb.Check) {
	d, ok := v.duration(minTimeout, maxInterval)
	if !ok {
		return
	}
	if d > c.Interval {
		v.errorf("%s is longer than the interval, %s: a check must end before the next begins", v.show(), short(c.Interval))
		return
	}
	c.Timeout = d
}
