// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v4"
)

// Places reads where the agent of a configuration file has its socket and its
// pins, also from a file with mistakes elsewhere. It is not ok if the file does
// not say so clearly.
func Places(path string) (socket, pinPath string, ok bool) {
	var file struct {
		Agent struct {
			Socket  string `yaml:"socket"`
			PinPath string `yaml:"pin_path"`
		} `yaml:"agent"`
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", "", false
	}
	file.Agent.Socket, file.Agent.PinPath = DefaultSocket, DefaultPinPath
	if err := yaml.Unmarshal(data, &file); err != nil {
		return "", "", false
	}
	a := file.Agent
	return a.Socket, filepath.Clean(a.PinPath), filepath.IsAbs(a.Socket) && filepath.IsAbs(a.PinPath)
}

// FromJSON returns JSON in the style of YAML, with the keys in the same order:
// JSON is YAML already, in another style.
func FromJSON(text []byte) ([]byte, error) {
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil {
		return nil, err
	}
	plain(&node)
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	if err := errors.Join(encoder.Encode(&node), encoder.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// plain takes the style of JSON off a node and those below it.
func plain(n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode {
		n.Style = 0 // an empty list or map has no other style
	}
	for _, c := range n.Content {
		plain(c)
	}
}
