// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// maxDepth bounds the nesting of a file; ours are 7 deep.
const maxDepth = 64

// compose turns data into the root of its tree of nodes. It returns nil after
// it has reported why it cannot.
func (p *parser) compose(data []byte) *yaml.Node {
	if len(data) > maxFileSize {
		p.syntax(1, 1, "the file is larger than %d MiB", maxFileSize>>20)
		return nil
	}
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		p.syntax(1, 1, "the file is UTF-16: save it as UTF-8")
		return nil
	}
	if !p.checkCharacters(data) {
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data),
		yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		p.syntax(1, 1, "%v", err)
		return nil
	}
	document, err := nextDocument(loader)
	if err == nil {
		var second *yaml.Node
		second, err = nextDocument(loader)
		if err == nil {
			p.syntax(second.Line, second.Column, "a second document starts here, a configuration is one document: remove the ---")
			return nil
		}
	}
	if !errors.Is(err, io.EOF) {
		p.syntaxError(err, data)
		return nil
	}
	if document == nil || len(document.Content) == 0 || document.Content[0].ShortTag() == "!!null" {
		p.syntax(1, 1, "the file is empty: write at least agent.interfaces, the interfaces that packets arrive on")
		return nil
	}
	return document.Content[0]
}

// nextDocument returns io.EOF after the last document. The YAML parser panics
// where it contradicts itself; a file must not be able to end the agent, so
// that becomes an error here.
func nextDocument(loader *yaml.Loader) (node *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			node, err = nil, fmt.Errorf("the YAML parser gave up: %v", r)
		}
	}()
	node = new(yaml.Node)
	if err := loader.Load(node); err != nil {
		return nil, err
	}
	return node, nil
}

// checkCharacters reports the first character that YAML does not allow. The
// parser would find it too, but not say where.
func (p *parser) checkCharacters(data []byte) bool {
	line, column := 1, 1
	for rest := data; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			p.syntax(line, column, "byte 0x%02x is not UTF-8: save the file as UTF-8", rest[0])
			return false
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0xfffe, r == 0xffff:
			p.syntax(line, column, "the character U+%04X is not allowed", r)
			return false
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
		rest = rest[size:]
	}
	return true
}

// syntax reports a mistake of the file as a whole.
func (p *parser) syntax(line, column int, format string, args ...any) {
	p.add(&Error{Line: line, Column: column, Message: fmt.Sprintf(format, args...)})
}

// syntaxError reports what the YAML parser says of data.
func (p *parser) syntaxError(err error, data []byte) {
	var load *yaml.LoadError
	if !errors.As(err, &load) || load.Mark.Line < 1 {
		p.syntax(1, 1, "not valid YAML: %v", err)
		return
	}
	at, began := load.Mark, load.ContextMark
	message := load.Message
	if began.Line > 0 && (began.Line != at.Line || began.Column != at.Column) {
		message += fmt.Sprintf(" (%s that begins at %d:%d)", load.ContextMsg, began.Line, began.Column)
	}
	if advice := hint(line(data, at.Line), load.Message); advice != "" {
		message += "; " + advice
	}
	p.syntax(at.Line, max(at.Column, 1), "not valid YAML: %s", message)
}

func line(data []byte, number int) string {
	for ; number > 1; number-- {
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	first, _, _ := bytes.Cut(data, []byte("\n"))
	return string(first)
}

var bracketPattern = regexp.MustCompile(`\s\[[0-9A-Fa-f:.]+\]:\d`)

// hint says what to do about the syntax errors that people make most.
func hint(line, message string) string {
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	switch {
	case strings.Contains(indent, "\t"):
		return "indent with spaces, tabs are not allowed"
	case bracketPattern.MatchString(line):
		return `put an address such as "[2001:db8::1]:80" in quotes`
	case strings.Contains(message, "mapping values are not allowed"):
		return `check the indentation, and put a value that has ": " in it in quotes`
	case strings.Contains(message, "cannot start any token"):
		return "put the value in quotes"
	}
	return ""
}
