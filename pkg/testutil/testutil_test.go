// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package testutil

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// recorder is a test that is watched by another test. What ends a test ends
// the goroutine, as it does in package testing.
type recorder struct {
	testing.TB
	outcome string
	cleanup []func()
}

func (r *recorder) Helper()                   {}
func (r *recorder) Cleanup(fn func())         { r.cleanup = append(r.cleanup, fn) }
func (r *recorder) Errorf(f string, a ...any) { r.outcome = "fail: " + fmt.Sprintf(f, a...) }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...); runtime.Goexit() }
func (r *recorder) Fatal(a ...any)            { r.Fatalf("%s", fmt.Sprint(a...)) }
func (r *recorder) Skip(a ...any)             { r.outcome = "skip: " + fmt.Sprint(a...); runtime.Goexit() }

// observe runs fn as a test of its own and returns how it ended.
func observe(t *testing.T, fn func(testing.TB)) string {
	r := &recorder{TB: t, outcome: "pass"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(r)
	}()
	<-done
	for i := len(r.cleanup) - 1; i >= 0; i-- {
		r.cleanup[i]()
	}
	return r.outcome
}

func TestSkipFailsWhereEverythingIsRequired(t *testing.T) {
	missing := func(t testing.TB) { skip(t, "this needs a thing") }
	t.Setenv(requireEnv, "")
	if got, want := observe(t, missing), "skip: this needs a thing"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	t.Setenv(requireEnv, "1")
	if got, want := observe(t, missing), "fail: WEIR_REQUIRE_BPF=1, but this needs a thing"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWaitFor(t *testing.T) {
	left := 3
	got := observe(t, func(t testing.TB) {
		WaitFor(t, time.Minute, func() error {
			if left--; left > 0 {
				return errors.New("not yet")
			}
			return nil
		})
	})
	if got != "pass" {
		t.Errorf("got %q", got)
	}
	got = observe(t, func(t testing.TB) {
		WaitFor(t, 0, func() error { return errors.New("never") })
	})
	if want := "fail: not within 0s: never"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestGolden(t *testing.T) {
	t.Chdir(t.TempDir())
	compare := func(text string) string {
		return observe(t, func(t testing.TB) { Golden(t, "dir/name.txt", []byte(text)) })
	}
	if got := compare("a\n"); !strings.Contains(got, "run the test with -update to write it") {
		t.Errorf("without the file: %q", got)
	}
	*update = true
	got := compare("a\n")
	*update = false
	if got != "pass" {
		t.Errorf("with -update: %q", got)
	}
	if got := compare("a\n"); got != "pass" {
		t.Errorf("same text: %q", got)
	}
	if got := compare("b\n"); !strings.Contains(got, "testdata/dir/name.txt differs") {
		t.Errorf("other text: %q", got)
	}
}

func TestPinPathIsRemovedWithEverythingInIt(t *testing.T) {
	RequireBPF(t)
	var path string
	got := observe(t, func(t testing.TB) {
		path = PinPath(t)
		dir := filepath.Join(path, "a", "b")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if err := m.Pin(filepath.Join(dir, "map")); err != nil {
			t.Fatal(err)
		}
		if pins, err := ownPins(); err != nil || len(pins) != 1 || pins[0] != path {
			t.Errorf("ownPins: %q, %v", pins, err)
		}
	})
	if got != "pass" {
		t.Error(got)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", path, err)
	}
}

func TestLANsAreConnectedAndSeparate(t *testing.T) {
	n := NewTopology(t)
	near := n.LAN("a", "router")
	far := n.LAN("router", "b")
	if near[1] != far[0] {
		t.Error("the router is two hosts")
	}
	router := near[1]
	if len(router.Ports) != 2 || router.Ports[1].Name != "eth1" ||
		router.Ports[1].IPv4 != netip.MustParsePrefix("198.51.100.1/24") ||
		router.Ports[1].IPv6 != netip.MustParsePrefix("2001:db8:2::1/64") {
		t.Errorf("the router's ports are %+v", router.Ports)
	}
	for _, c := range []struct {
		from, to *Host
		addr     netip.Addr
		reaches  bool
	}{
		{near[0], router, near[1].IPv4(), true},
		{near[0], router, near[1].IPv6(), true},
		{far[1], router, router.Ports[1].IPv4.Addr(), true},
		{far[1], router, router.Ports[1].IPv6.Addr(), true},
		{near[0], far[1], far[1].IPv4(), false},
	} {
		listener, err := c.to.Listen("tcp", netip.AddrPortFrom(c.addr, 80).String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := c.from.DialContext(t.Context(), "tcp", listener.Addr().String())
		if (err == nil) != c.reaches {
			t.Errorf("from %s to %s: %v", c.from.Label, c.addr, err)
		}
		if err == nil {
			_ = conn.Close()
		}
		_ = listener.Close()
	}
}

func TestTopologyIsTakenDown(t *testing.T) {
	RequireRoot(t)
	s := takeStock()
	if got := observe(t, func(t testing.TB) { LAN(t, "a", "b") }); got != "pass" {
		t.Error(got)
	}
	if err := s.leaks(); err != nil {
		t.Error(err)
	}
}

func TestLeaksAreFound(t *testing.T) {
	s := takeStock()
	if err := s.leaks(); err != nil {
		t.Errorf("nothing was left behind, but: %v", err)
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		<-stop
	}()
	err = s.leaks()
	for _, want := range []string{"open file", os.DevNull, "TestLeaksAreFound"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("leaks do not mention %q: %v", want, err)
		}
	}
	_ = file.Close()
	close(stop)
	<-ended
}

func TestLeakedNamespacesAndPinsAreFound(t *testing.T) {
	RequireBPF(t)
	s := takeStock()
	n := NewTopology(t)
	path := PinPath(t)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	err := s.leaks()
	for _, want := range []string{"network namespace " + n.Switch().Name(), "pin " + path} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("leaks do not mention %q: %v", want, err)
		}
	}
}
