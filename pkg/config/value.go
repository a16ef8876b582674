// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxAliased bounds how many values may be reached through aliases. A list of
// aliases of lists of aliases grows as a power of the size of the file.
const maxAliased = 1_000_000

// parser holds what is known of a file while it is read.
type parser struct {
	file   string
	found  Errors
	unsaid int // mistakes beyond maxErrors

	aliasedLeft int  // values that may still be reached through aliases
	spent       bool // there were more, which was reported

	vips     unique[netip.Addr] // addresses of balancers
	backends []backendAddress   // of all pools
	limits   *block             // agent.limits; nil where the file has none
}

func newParser(file string) *parser {
	return &parser{file: file, aliasedLeft: maxAliased, vips: unique[netip.Addr]{}}
}

func (p *parser) add(e *Error) {
	if p.full() {
		return
	}
	e.File = p.file
	p.found = append(p.found, e)
}

// full reports whether enough is said of the file; if so, it counts what is not.
func (p *parser) full() bool {
	if len(p.found) < maxErrors {
		return false
	}
	p.unsaid++
	return true
}

// errors returns what is wrong with the file, in its order.
func (p *parser) errors() Errors {
	p.found.sort()
	if p.unsaid > 0 {
		last := p.found[len(p.found)-1]
		p.found = append(p.found, &Error{
			File: p.file, Line: last.Line, Column: last.Column,
			Message: fmt.Sprintf("%d more mistakes are not shown", p.unsaid),
		})
	}
	return p.found
}

// value is a node of the file together with the way to it.
type value struct {
	p            *parser
	node         *yaml.Node // what an alias stands for, never the alias
	line, column int        // of the alias, where there is one
	parent       *value
	key          string // in the parent's mapping; empty: see index
	index        int    // in the parent's list
	aliased      bool   // the way to it goes through an alias
}

func (p *parser) root(node *yaml.Node) *value {
	return (&value{p: p}).child(node)
}

// child returns the value of a node below v.
func (v *value) child(node *yaml.Node) *value {
	c := &value{
		p: v.p, node: node, parent: v, aliased: v.aliased,
		line: max(node.Line, 1), column: max(node.Column, 1),
	}
	for c.node.Kind == yaml.AliasNode && c.node.Alias != nil {
		c.node, c.aliased = c.node.Alias, true
	}
	if c.aliased {
		v.p.aliasedLeft--
	}
	return c
}

// path returns the keys that lead to v, such as "balancers[0].label".
func (v *value) path() string {
	if v.parent == nil {
		return ""
	}
	if v.key == "" {
		if v.parent.parent == nil {
			return ""
		}
		return fmt.Sprintf("%s[%d]", v.parent.path(), v.index)
	}
	return join(v.parent.path(), v.key)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// errorf reports a mistake in v.
func (v *value) errorf(format string, args ...any) {
	if v.p.full() {
		return
	}
	e := &Error{
		Line: v.line, Column: v.column, Key: v.path(),
		Message: fmt.Sprintf(format, args...),
	}
	if v.node.Kind == yaml.ScalarNode {
		e.Value = v.node.Value
	}
	v.p.add(e)
}

// position returns where v is, for messages about another place of the file.
func (v *value) position() string { return fmt.Sprintf("%d:%d", v.line, v.column) }

// is reports whether v is of a kind and may be looked into; if not, it says
// that it wants another value.
func (v *value) is(kind yaml.Kind, want string) bool {
	if v.p.aliasedLeft < 0 {
		if !v.p.spent {
			v.p.spent = true
			v.errorf("the aliases (*name) up to here stand for too many values: write fewer")
		}
		return false
	}
	if v.insideItself() {
		v.errorf("is an alias of a block that it is a part of")
		return false
	}
	if v.node.Style&yaml.TaggedStyle != 0 || v.node.Tag == "!" {
		v.errorf("has the tag %s, and tags are not supported: remove it", show(v.node.Tag))
		return false
	}
	if v.node.Kind != kind {
		v.wrongType(want)
		return false
	}
	return true
}

// insideItself reports whether v is an alias of something around it, which
// would have no end.
func (v *value) insideItself() bool {
	if !v.aliased {
		return false
	}
	for a := v.parent; a != nil; a = a.parent {
		if a.node == v.node {
			return true
		}
	}
	return false
}

// list returns the items of a list.
func (v *value) list(want string) ([]*value, bool) {
	if !v.is(yaml.SequenceNode, want) {
		return nil, false
	}
	items := make([]*value, len(v.node.Content))
	for i, node := range v.node.Content {
		items[i] = v.child(node)
		items[i].index = i
	}
	return items, true
}

// field is a key that a block may have, and what to do with its value.
type field struct {
	name    string
	read    func(*value)
	unbuilt bool // read refuses every value
}

// block is a mapping of known keys.
type block struct {
	*value
	fields []field
	keys   []*yaml.Node // of each of fields; nil where the file has none
	values []*value     // of each of fields, as keys
}

// block reads v as a mapping of fields. It calls them in the order of fields,
// whatever the order of the file is, so that a later one can rely on an
// earlier one.
func (v *value) block(fields []field) (*block, bool) {
	if !v.is(yaml.MappingNode, "keys and values") {
		return nil, false
	}
	b := &block{
		value: v, fields: fields,
		keys: make([]*yaml.Node, len(fields)), values: make([]*value, len(fields)),
	}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		b.add(v.node.Content[i], v.node.Content[i+1])
	}
	for i, f := range fields {
		if b.values[i] != nil {
			f.read(b.values[i])
		}
	}
	return b, true
}

// add takes one key of the file and its value.
func (b *block) add(key, val *yaml.Node) {
	i := slices.IndexFunc(b.fields, func(f field) bool { return f.name == key.Value })
	if i < 0 || b.keys[i] != nil || key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0 || key.Tag == "!" {
		b.wrongKey(key, i)
	}
	if i >= 0 && b.keys[i] == nil {
		b.keys[i], b.values[i] = key, b.child(val)
		b.values[i].key = b.fields[i].name
	}
}

// wrongKey reports what is wrong with a key, whose field is i, or none if i is
// negative.
func (b *block) wrongKey(node *yaml.Node, i int) {
	key := b.child(node)
	if node.Kind != yaml.ScalarNode {
		key.parent, key.key, key.index = b.parent, b.key, b.index
		key.errorf("a key is %s, want a word", describe(node))
		return
	}
	key.key = printable(node.Value)
	switch {
	case !key.is(yaml.ScalarNode, "a word"):
	case node.Value == "<<":
		key.errorf("merge keys are not supported: write the keys out, or use an alias for the whole block")
	case i < 0:
		key.errorf("unknown key, %s", b.known(key.key))
	default:
		key.errorf("is here twice, first at %d:%d: remove one", b.keys[i].Line, b.keys[i].Column)
	}
}

func (b *block) known(word string) string {
	var names []string
	for _, f := range b.fields {
		if !f.unbuilt {
			names = append(names, f.name)
		}
	}
	if strings.EqualFold(word, "name") && slices.Contains(names, "label") {
		return "did you mean label?"
	}
	if name, ok := closest(word, names); ok {
		return "did you mean " + name + "?"
	}
	return "known here: " + strings.Join(names, ", ")
}

// get returns the value of a key, or nil if the file has none.
func (b *block) get(name string) *value {
	i := slices.IndexFunc(b.fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return nil
	}
	return b.values[i]
}

// missing reports that a key is absent which must not be.
func (b *block) missing(name, remedy string) {
	b.p.add(&Error{
		Line: b.line, Column: b.column, Key: join(b.path(), name),
		Message: "is missing: " + remedy,
	})
}

// notBuilt returns the field of a key that this version does not have yet.
func notBuilt(name, instead string) field {
	return field{
		name:    name,
		read:    func(v *value) { v.errorf("is not built yet: %s", instead) },
		unbuilt: true,
	}
}

// unique finds values that a file must not have twice.
type unique[K comparable] map[K]*value

// add reports whether key is new. If not, it reports the mistake in v, where
// what says what key is already.
func (u unique[K]) add(key K, v *value, what string) bool {
	if first, ok := u[key]; ok {
		v.errorf("%v is %s already, at %s", key, what, first.position())
		return false
	}
	u[key] = v
	return true
}
