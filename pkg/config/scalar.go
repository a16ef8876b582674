// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxShown bounds how much of a wrong value a message repeats, in bytes.
const maxShown = 64

// wrongType reports that v is not what its key wants.
func (v *value) wrongType(want string) {
	kind := describe(v.node)
	switch {
	case v.node.Kind != yaml.ScalarNode:
		v.errorf("is %s, want %s", kind, want)
	case v.node.ShortTag() == "!!null":
		v.errorf("has no value, want %s", want)
	default:
		v.errorf("%s is %s, want %s", v.show(), kind, want)
	}
}

// describe names the type that YAML sees in a node.
func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch node.ShortTag() {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a boolean"
	case "!!timestamp":
		return "a date"
	case "!!null":
		return "empty"
	}
	return "a string"
}

// show returns the value for messages: in quotes if it is in quotes in the
// file, or could not be told from the words around it.
func (v *value) show() string {
	const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if v.node.Style&quoted != 0 {
		return strconv.Quote(shorten(v.node.Value))
	}
	return show(v.node.Value)
}

func show(text string) string {
	if s := shorten(text); s == "" || strings.ContainsFunc(s, unicode.IsSpace) {
		return strconv.Quote(s)
	}
	return printable(text)
}

// printable returns text as it is if it is made of printable characters, else
// in quotes with escapes, and in both cases not too long.
func printable(text string) string {
	s := shorten(text)
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

func shorten(text string) string {
	if len(text) <= maxShown {
		return text
	}
	end := maxShown
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "..."
}

// text returns a string without control characters.
func (v *value) text(want string) (string, bool) {
	s, ok := v.anyText(want)
	if ok && strings.ContainsFunc(s, unicode.IsControl) {
		v.errorf("%s has a control character, want %s", v.show(), want)
		return "", false
	}
	return s, ok
}

// anyText returns a string. What looks like a number or a date is not one: its
// spelling may have changed on the way through the tool that wrote it.
func (v *value) anyText(want string) (string, bool) {
	if !v.is(yaml.ScalarNode, want) {
		return "", false
	}
	if describe(v.node) != "a string" {
		v.wrongType(want)
		return "", false
	}
	return v.node.Value, true
}

var (
	decimalPattern  = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)
	negativePattern = regexp.MustCompile(`^-[0-9]+$`)
	labelPattern    = regexp.MustCompile(`^[A-Za-z0-9._-]{1,63}$`)
)

// integer returns a whole number from least to most. YAML has octal, hexadecimal,
// underscores and more, of which a person who means decimal is surprised.
func (v *value) integer(least, most uint64) (uint64, bool) {
	const want = "a whole number"
	if !v.is(yaml.ScalarNode, want) {
		return 0, false
	}
	text := v.node.Value
	if describe(v.node) != "a number" {
		if describe(v.node) == "a string" && decimalPattern.MatchString(text) {
			v.errorf("%s is a string, want %s: remove the quotes", v.show(), want)
		} else {
			v.wrongType(want)
		}
		return 0, false
	}
	if !decimalPattern.MatchString(text) && !negativePattern.MatchString(text) {
		v.errorf("%s is not %s in decimal digits alone", v.show(), want)
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < least || n > most {
		v.errorf("%s is out of range, allowed: %d-%d", v.show(), least, most)
		return 0, false
	}
	return n, true
}

// duration returns a time from least to most, such as 5s or 1m30s.
func (v *value) duration(least, most time.Duration) (time.Duration, bool) {
	const want = "a duration such as 5s or 500ms"
	if v.node.Kind == yaml.ScalarNode && describe(v.node) == "a number" {
		v.errorf("%s has no unit, want %s", v.show(), want)
		return 0, false
	}
	text, ok := v.text(want)
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		v.errorf("%s is not a duration, want one such as 5s or 500ms", v.show())
		return 0, false
	}
	if strings.HasSuffix(text, "0") { // which Go takes without a unit
		v.errorf("%s has no unit, want %s", v.show(), want)
		return 0, false
	}
	if d < least || d > most {
		v.errorf("%s is out of range, allowed: %s-%s", v.show(), short(least), short(most))
		return 0, false
	}
	return d, true
}

// short returns d without the zero units that time.Duration writes at the end.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// later maps words that this version does not know yet to what to use instead.
type later map[string]string

// pick sets out to that of the built values whose word v is.
func pick[T fmt.Stringer](v *value, out *T, unbuilt later, built ...T) bool {
	words := make([]string, len(built))
	for i, b := range built {
		words[i] = b.String()
	}
	text, ok := v.text("one of " + strings.Join(words, ", "))
	if !ok {
		return false
	}
	if i := slices.Index(words, text); i >= 0 {
		*out = built[i]
		return true
	}
	if instead, ok := unbuilt[text]; ok {
		v.errorf("%s is not built yet: %s", text, instead)
		return false
	}
	suggestion := ""
	if word, ok := closest(text, words); ok {
		suggestion = ", did you mean " + word + "?"
	}
	v.errorf("%s is unknown, allowed: %s%s", v.show(), strings.Join(words, ", "), suggestion)
	return false
}

// word is a value that the file may have and that needs no type of its own,
// because it is the only one that is built.
type word string

// String returns w.
func (w word) String() string { return string(w) }

// only returns the reader of a key that has one built value.
func only(built word, unbuilt later) func(*value) {
	return func(v *value) { pick(v, new(word), unbuilt, built) }
}

// label returns a name for a balancer or a backend. The command line writes
// labels between slashes, and the kernel keeps 63 bytes of them.
func (v *value) label() (string, bool) {
	const want = "1-63 letters, digits, dots, dashes or underscores"
	kind := describe(v.node)
	if v.node.Kind == yaml.ScalarNode && kind != "a string" && labelPattern.MatchString(v.node.Value) {
		v.errorf("%s is %s, want a string: put it in quotes", v.show(), kind)
		return "", false
	}
	text, ok := v.text(want)
	if ok && !labelPattern.MatchString(text) {
		v.errorf("%s is not a label, want %s", v.show(), want)
		return "", false
	}
	return text, ok
}
