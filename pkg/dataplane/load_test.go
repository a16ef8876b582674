// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenWithObject(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage.o")
	if err := os.WriteFile(garbage, []byte("no ELF"), 0o600); err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(t.TempDir(), "node.o")
	if err := os.WriteFile(node, _NodeBytes, 0o600); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), "weir.o")
	if err := os.WriteFile(own, _WeirBytes, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ object, want string }{
		{own, ""},
		{"/nonexistent/weir.o", "agent.bpf_object: /nonexistent/weir.o does not exist"},
		{garbage, "agent.bpf_object: " + garbage + " is not a BPF object"},
		{node, "agent.bpf_object: " + node + " has no program weir_xdp"},
	} {
		o := testOptions(t)
		o.Object = test.object
		d, err := Open(t.Context(), o)
		if err == nil {
			closeTest(t, d)
		}
		if got := errorText(err); !strings.HasPrefix(got, test.want) || (test.want == "") != (err == nil) {
			t.Errorf("%s: %q, want %q", test.object, got, test.want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestCompile(t *testing.T) {
	if _, err := findCompiler(); err != nil {
		t.Skip("no clang on this host")
	}
	o := testOptions(t)
	o.Object = "compile"
	d := openTest(t, o)
	closeTest(t, d)
}

func TestCompileWithoutClang(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := compile(t.Context(), "weir_xdp.c")
	if !errors.Is(err, ErrNoCompiler) {
		t.Fatalf("compile says %v, want ErrNoCompiler", err)
	}
	for _, want := range []string{"apt install clang", "bpf_object: embedded"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}

func TestCompileWithoutHeaders(t *testing.T) {
	err := compileError("clang", "weir_xdp.c:9:10: fatal error: 'bpf/bpf_helpers.h' file not found\n", errors.New("exit status 1"))
	if !errors.Is(err, ErrNoCompiler) || !strings.Contains(err.Error(), "package libbpf-dev") {
		t.Errorf("error %q does not name the package", err)
	}
}

// The flags stand twice: go generate cannot read them from Go.
func TestGenerateFlags(t *testing.T) {
	source, err := os.ReadFile("generate.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(string(source)) {
		if !strings.HasPrefix(line, "//go:generate") {
			continue
		}
		found++
		_, flags, _ := strings.Cut(line, " -- ")
		if got := strings.Fields(flags); !slices.Equal(got, compileFlags()) {
			t.Errorf("generate.go has the flags %q, compile.go %q", got, compileFlags())
		}
	}
	if found != 2 {
		t.Errorf("%d programs are generated, want 2", found)
	}
}

func TestLoadErrors(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{unix.EPERM, "run as root"},
		{unix.ENOMEM, "lower agent.limits"},
		{unix.EINVAL, "needed is 5.15 or newer"},
	} {
		if got := loadError(test.err).Error(); !strings.Contains(got, test.want) {
			t.Errorf("loadError(%v) says %q, want %q in it", test.err, got, test.want)
		}
	}
	if !errors.Is(loadError(unix.EINVAL), ErrKernel) {
		t.Error("a program that the kernel refuses is not ErrKernel")
	}
}

func TestLastWord(t *testing.T) {
	for _, test := range []struct {
		prefix     string
		word, mask uint32
	}{
		{"198.18.0.0/15", 0xc6120000, 0x0001ffff},
		{"192.0.2.1/32", 0xc0000201, 0},
		{"0.0.0.0/0", 0, 0xffffffff},
		{"100::/64", 0, 0xffffffff},
		{"2001:db8::1:0/112", 0x00010000, 0x0000ffff},
	} {
		word, mask := lastWord(netip.MustParsePrefix(test.prefix))
		if word != test.word || mask != test.mask {
			t.Errorf("%s: %#x, %#x; want %#x, %#x", test.prefix, word, mask, test.word, test.mask)
		}
	}
}

func TestReasons(t *testing.T) {
	reasons, err := Reasons()
	if err != nil {
		t.Fatal(err)
	}
	if len(reasons) != int(weirReasonREASON_MAX) || reasons[weirReasonREASON_DROP_TOO_BIG] != "drop_too_big" {
		t.Errorf("reasons are %q", reasons)
	}
	node, err := NodeReasons()
	if err != nil {
		t.Fatal(err)
	}
	if len(node) != int(nodeNodeReasonNODE_REASON_MAX) || node[nodeNodeReasonNODE_REASON_DECAPSULATED] != "decapsulated" {
		t.Errorf("reasons of the node are %q", node)
	}
}
