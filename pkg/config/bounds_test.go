// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// web returns a file with one balancer, whose only listener has the pool.
func web(pool string) []byte {
	return []byte(`agent: {interfaces: [eth0]}
balancers:
- label: web
  addresses: [203.0.113.10]
  listeners:
  - port: 80
    forward: ipip
    table_size: 131071
    backends:
` + pool)
}

func parseErrors(t *testing.T, data []byte) Errors {
	t.Helper()
	_, err := Parse("weir.yaml", data)
	var errs Errors
	if !errors.As(err, &errs) {
		t.Fatalf("got %v, want mistakes", err)
	}
	checkErrors(t, data, err)
	return errs
}

func TestPoolTooLarge(t *testing.T) {
	var pool strings.Builder
	for i := range MaxBackends + 1 {
		fmt.Fprintf(&pool, "    - address: 10.%d.%d.%d:80\n", i>>16, i>>8&255, i&255)
	}
	errs := parseErrors(t, web(pool.String()))
	want := "weir.yaml:10:5: balancers[0].listeners[0].backends: 32768 backends are too many for one pool, allowed: 32767"
	if errs.Error() != want {
		t.Errorf("got %q, want %q", errs, want)
	}
}

func TestManyMistakes(t *testing.T) {
	const mistakes = maxErrors + 500
	errs := parseErrors(t, web(strings.Repeat("    - weight: 5\n", mistakes)))
	if len(errs) != maxErrors+1 {
		t.Fatalf("got %d mistakes, want %d and one line about the rest", len(errs), maxErrors)
	}
	if got, want := errs[maxErrors].Message, "500 more mistakes are not shown"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAliasBomb gives a file that would stand for 10^9 values.
func TestAliasBomb(t *testing.T) {
	list := func(indent, anchor, item string) string {
		return fmt.Sprintf("%s- &%s\n%s\n", indent, anchor, item) + strings.Repeat(indent+"- *"+anchor+"\n", 1000)
	}
	backends := list("      ", "b", "        address: 10.0.0.11:80")
	listeners := list("    ", "l", "      port: 80\n      forward: ipip\n      backends:\n"+backends)
	balancers := list("", "w", "  label: web\n  addresses: [203.0.113.10]\n  listeners:\n"+listeners)
	data := []byte("agent: {interfaces: [eth0]}\nbalancers:\n" + balancers)
	p := newParser("weir.yaml")
	p.aliasedLeft = 10_000
	_, err := p.parse(data)
	checkErrors(t, data, err)
	if !p.spent || p.aliasedLeft < -10_000 {
		t.Errorf("%d values were still allowed", p.aliasedLeft)
	}
}

// TestAliasBudget gives a file whose values are all in order, were they not
// too many.
func TestAliasBudget(t *testing.T) {
	data, err := os.ReadFile("testdata/good/aliases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := newParser("aliases.yaml")
	p.aliasedLeft = 3
	_, err = p.parse(data)
	checkErrors(t, data, err)
	want := "aliases.yaml:11:13: balancers[1].listeners[0].check.type: " +
		"the aliases (*name) up to here stand for too many values: write fewer"
	if err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if _, err := newParser("aliases.yaml").parse(data); err != nil {
		t.Error(err)
	}
}

func TestFileTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxFileSize+1); err != nil { // a hole takes no space
		t.Fatal(err)
	}
	_, err := Load(path)
	if want := path + ":1:1: the file is larger than 64 MiB"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLoadMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir.yaml")
	_, err := Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want a file that does not exist", err)
	}
	if want := "configuration: open " + path + ": no such file or directory"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

func TestLoadDirectory(t *testing.T) {
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("a directory was accepted")
	}
}

// TestDefaultSeed keeps the seed what it is.
func TestDefaultSeed(t *testing.T) {
	sum := sha256.Sum256([]byte("weir"))
	if got := binary.BigEndian.Uint64(sum[:8]); got != DefaultSeed || Defaults().Seed != DefaultSeed {
		t.Errorf("got %#x, want %#x", got, DefaultSeed)
	}
}

func TestDefaultsAreAllowed(t *testing.T) {
	f, err := Parse("weir.yaml", []byte("agent: {interfaces: [eth0]}"))
	if err != nil {
		t.Fatal(err)
	}
	if got := prime(DefaultTableSize) && prime(MaxTableSize) && prime(MinTableSize); !got {
		t.Error("a size of a table is not a prime")
	}
	if roundUp(f.Agent.Limits.Slots) != f.Agent.Limits.Slots || roundUp(f.Agent.Limits.Backends) != f.Agent.Limits.Backends {
		t.Errorf("limits are not multiples of %d: %+v", poolStep, f.Agent.Limits)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "tcp", 3}, {"tcp", "", 3}, {"tcp", "tcp", 0}, {"tpc", "tcp", 1},
		{"wieght", "weight", 1}, {"chek", "check", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}
