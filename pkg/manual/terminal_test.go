// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package manual

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/testutil"
)

// terminal is a shell that commands are typed into, on a machine of its own as
// far as they can tell: /run, /etc, the BPF file system and the processes are
// its own, and all of it is gone when the shell is.
type terminal struct {
	t     testing.TB
	label string
	dir   string // where it stands
	stdin io.WriteCloser
	lines *bufio.Scanner
	log   bytes.Buffer // all that was typed and said
	typed int
}

// machinePrelude makes a machine of a new mount and process namespace.
const machinePrelude = `
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t bpf bpf /sys/fs/bpf
mkdir /run/etc
cp -a /etc/. /run/etc/
mount --bind /run/etc /etc
exec 2>&1
`

// patience bounds what one terminal may take from beginning to end, in
// seconds.
const patience = "120"

// openTerminal opens a terminal in a network namespace; nil stands for a new
// one without any interface but lo. weir is the binary that commands find. The
// shell stops at the first command that fails, and the test with it.
func openTerminal(t testing.TB, weir, label string, host *netdev.Namespace) *terminal {
	t.Helper()
	term := &terminal{t: t, label: label, dir: t.TempDir()}
	// The first process of a process namespace takes all others with it. When
	// this test ends, however it does, the shell reads the end of its input.
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "timeout", "--foreground", "--kill-after=1", patience, "bash", "-euo", "pipefail")
	cmd.Dir = term.dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(weir)+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	cmd.WaitDelay = 5 * time.Second
	start := cmd.Start
	if host == nil {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
	} else {
		start = func() error { return host.Do(cmd.Start) }
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("terminal of %s:\n%s%s", label, term.log.String(), term.logFiles())
		}
		cancel()
		_ = cmd.Wait() // it was killed, or the test has said what is wrong
	})
	term.stdin, term.lines = stdin, bufio.NewScanner(stdout)
	term.run(machinePrelude)
	if host == nil {
		term.run("ip link set lo up")
	}
	return term
}

// run types commands and returns the lines that they print, errors included.
func (term *terminal) run(commands string) []string {
	term.t.Helper()
	term.typed++
	end := fmt.Sprintf("-- end of %d --", term.typed)
	term.log.WriteString(commands)
	if _, err := fmt.Fprintf(term.stdin, "%s\necho '%s'\n", commands, end); err != nil {
		term.t.Fatalf("%s: %v", term.label, err)
	}
	var lines []string
	for term.lines.Scan() {
		line := term.lines.Text()
		if line == end {
			return lines
		}
		lines = append(lines, line)
		term.log.WriteString("  > " + line + "\n")
	}
	term.t.Fatalf("%s: the shell ended in:\n%s", term.label, commands)
	return nil
}

// leaveRunning types a command that goes on running.
func (term *terminal) leaveRunning(command string) {
	term.t.Helper()
	term.run(fmt.Sprintf("{ exec %s\n} > running-%d.log 2>&1 &", strings.TrimSpace(command), term.typed))
}

// runBlock types a block of a page and compares what it prints.
func (term *terminal) runBlock(b block) {
	term.t.Helper()
	if strings.HasSuffix(b.label, ", running") {
		term.leaveRunning(b.text)
		return
	}
	printed := term.run(b.text)
	for _, expected := range b.output {
		for len(printed) > 0 && !matches(expected, printed[0]) {
			printed = printed[1:]
		}
		if len(printed) == 0 {
			term.t.Fatalf("%s: these commands did not print the line %q, in its place:\n%s", term.label, expected, b.text)
		}
		printed = printed[1:]
	}
}

// logFiles returns what processes in the background wrote.
func (term *terminal) logFiles() string {
	var b strings.Builder
	paths, _ := filepath.Glob(filepath.Join(term.dir, "*.log"))
	for _, path := range paths {
		text, _ := os.ReadFile(path)
		fmt.Fprintf(&b, "== %s\n%s", filepath.Base(path), text)
	}
	return b.String()
}

// weirBinary returns the path of a binary called weir: the one that the
// environment names, else one that it builds.
func weirBinary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("WEIR_BINARY"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "weir")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/weir")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building weir: %v\n%s", err, out)
	}
	return path
}

// requireTools skips the test, or fails it where nothing may be skipped, unless
// the commands are there that the README says it needs.
func requireTools(t testing.TB, names ...string) {
	t.Helper()
	testutil.RequireBPF(t)
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if os.Getenv("WEIR_REQUIRE_BPF") == "1" {
			t.Fatalf("the quick start needs %s: install it", name)
		}
		t.Skipf("the quick start needs %s", name)
	}
}
