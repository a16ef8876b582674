// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"
	"strconv"
	"strings"

	"github.com/weirlb/weir/pkg/lb"
)

// filter is the name of balancers, listeners or backends on the command line:
// BALANCER, BALANCER/PORT, BALANCER/PORT/PROTO or BALANCER/PORT/PROTO/BACKEND.
type filter struct {
	text  string
	parts []string
}

// parseFilters reads the arguments of a listing whose names have at most depth
// parts.
func parseFilters(args []string, depth int) ([]filter, error) {
	syntax := strings.Join([]string{"BALANCER", "PORT", "PROTO", "BACKEND"}[:depth], "/")
	example := strings.Join([]string{"web", "443", "tcp", "web-1"}[:depth], "/")
	var filters []filter
	for _, arg := range args {
		f := filter{text: arg, parts: strings.Split(arg, "/")}
		if len(f.parts) > depth || slices.Contains(f.parts, "") {
			return nil, usagef("%q is not a name: want %s, such as %s, or the beginning of one", arg, syntax, example)
		}
		if len(f.parts) > 1 {
			if n, err := strconv.ParseUint(f.parts[1], 10, 16); err != nil || n == 0 {
				return nil, usagef("%q: %q is not a port: want %s, such as %s", arg, f.parts[1], syntax, example)
			}
		}
		if len(f.parts) > 2 {
			if err := new(lb.Protocol).UnmarshalText([]byte(f.parts[2])); err != nil {
				return nil, usagef("%q: %v: want %s, such as %s", arg, err, syntax, example)
			}
		}
		filters = append(filters, f)
	}
	return filters, nil
}

// listener returns the listener that a filter of three parts names.
func (f filter) listener() (key lb.ListenerKey, err error) {
	port, err := strconv.ParseUint(f.parts[1], 10, 16)
	if err != nil {
		return key, err
	}
	key = lb.ListenerKey{Balancer: f.parts[0], Port: uint16(port)}
	return key, key.Protocol.UnmarshalText([]byte(f.parts[2]))
}

// matches reports whether the filter names the thing of that full name.
// Its last part has alternatives: a backend goes by its label or its address.
func (f filter) matches(name []string, alternatives ...string) bool {
	for i, part := range f.parts {
		switch {
		case i < len(name):
			if part != name[i] {
				return false
			}
		case !slices.Contains(alternatives, part):
			return false
		}
	}
	return true
}

// ofListener reports whether the filter names a listener, something that has it,
// or something of it.
func (f filter) ofListener(key lb.ListenerKey) bool {
	return filter{parts: f.parts[:min(len(f.parts), 3)]}.matches(listenerName(key))
}

func listenerName(k lb.ListenerKey) []string {
	return []string{k.Balancer, strconv.Itoa(int(k.Port)), k.Protocol.String()}
}

// choose returns the rows that one of the filters names, all if there are no
// filters. It also returns the filters that name none.
func choose[T any](filters []filter, rows []T, matches func(filter, T) bool) (chosen []T, unused []filter) {
	if len(filters) == 0 {
		return rows, nil
	}
	chosen = []T{}
	used := make([]bool, len(filters))
	for _, row := range rows {
		found := false
		for i, f := range filters {
			if matches(f, row) {
				found, used[i] = true, true
			}
		}
		if found {
			chosen = append(chosen, row)
		}
	}
	for i, f := range filters {
		if !used[i] {
			unused = append(unused, f)
		}
	}
	return chosen, unused
}
