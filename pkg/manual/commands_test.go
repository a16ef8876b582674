// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package manual

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weirlb/weir/pkg/cli"
)

// TestCommands compares the commands and flags that the documents name with
// what the commands say of themselves.
func TestCommands(t *testing.T) {
	command := regexp.MustCompile(`\bweir ([a-z]+)((?: [^\n|;&>#]*)?)`)
	flag := regexp.MustCompile(`--[a-z][a-z-]*`)
	seen := 0
	for _, p := range readPages(t) {
		for _, code := range slices.Concat(codeSpans(p.text), fences(p.text)) {
			for _, m := range command.FindAllStringSubmatch(code, -1) {
				help, ok := commandHelp(t, m[1], strings.Fields(m[2]))
				if !ok {
					t.Errorf("%s names the command weir %s, which is not there", p.path, m[1])
					continue
				}
				seen++
				for _, f := range flag.FindAllString(m[2], -1) {
					if !strings.Contains(help, f) {
						t.Errorf("%s names weir %s %s, which is not there:\n%s", p.path, m[1], f, help)
					}
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d commands found in the documents", seen)
	}
}

// commandHelp returns the help of a command, or of its subcommand if the first
// argument names one.
func commandHelp(t *testing.T, name string, args []string) (help string, ok bool) {
	t.Helper()
	paths := [][]string{{name}}
	if len(args) > 0 && regexp.MustCompile(`^[a-z]+$`).MatchString(args[0]) {
		paths = [][]string{{name, args[0]}, {name}}
	}
	for _, path := range paths {
		var out, complaints bytes.Buffer
		env := &cli.Environment{
			Stdin: strings.NewReader(""), Stdout: &out, Stderr: &complaints,
			Getenv: func(string) string { return "" },
		}
		if cli.Run(t.Context(), env, append([]string{"weir", "help"}, path...)) == 0 {
			return out.String(), true
		}
	}
	return "", false
}
