// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v4"
)

// maxFileSize bounds the memory that a file can take. A listener with a pool
// of 100 takes some 8 KB, so thousands of such listeners fit.
const maxFileSize = 64 << 20

// Load reads the configuration file at path. It returns Errors if the file has
// mistakes.
func Load(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a configuration from data. The name stands for the file in
// messages. It returns Errors if there are mistakes.
func Parse(name string, data []byte) (*File, error) {
	return newParser(name).parse(data)
}

func (p *parser) parse(data []byte) (*File, error) {
	root := p.compose(data)
	file := &File{Agent: Defaults()}
	if root != nil {
		readRoot(p.root(root), file)
	}
	if errs := p.errors(); len(errs) > 0 {
		return nil, errs
	}
	sum := sha256.Sum256(data)
	file.Hash = hex.EncodeToString(sum[:6])
	return file, nil
}

func rootFields(f *File) []field {
	return []field{
		{name: "agent", read: func(v *value) { readAgent(v, &f.Agent) }},
		{name: "balancers", read: func(v *value) { f.Balancers = readBalancers(v) }},
		notBuilt("firewalls", "filter before the balancer or on the backends, and remove the key"),
	}
}

func readRoot(v *value, f *File) {
	if v.node.Kind != yaml.MappingNode {
		v.p.syntax(v.line, v.column, "the file is %s, want keys and values, agent: to begin with", describe(v.node))
		return
	}
	b, ok := v.block(rootFields(f))
	if !ok {
		return
	}
	if b.get("agent") == nil {
		b.missing("agent", "write agent.interfaces, the interfaces that packets arrive on")
	}
	v.p.checkLoops()
	checkLimits(b, f)
}
