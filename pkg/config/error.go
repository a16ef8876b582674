// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxErrors bounds what is said about one file. A person stops reading long
// before, and a file made to hurt cannot fill the memory.
const maxErrors = 1000

// Error is one mistake in a configuration file.
type Error struct {
	File         string
	Line, Column int    // from 1, in characters
	Key          string // path of the key, such as "balancers[0].listeners[1].port"; empty: the file as a whole
	Value        string // as the file has it; empty where there is none
	Message      string // what is wrong and what is allowed, in one line
}

// Error returns FILE:LINE:COLUMN, the key and the message, in one line.
func (e *Error) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", e.File, e.Line, e.Column, e.Key, e.Message)
}

// Errors are the mistakes in a configuration file, in the order of the file.
type Errors []*Error

// Error returns one line for each mistake.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the mistakes, for errors.As.
func (es Errors) Unwrap() []error {
	list := make([]error, len(es))
	for i, e := range es {
		list[i] = e
	}
	return list
}

func (es Errors) sort() {
	slices.SortStableFunc(es, func(a, b *Error) int {
		return cmp.Or(
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Key, b.Key),
		)
	})
}
