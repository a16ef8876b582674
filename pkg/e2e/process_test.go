// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirlb/weir/pkg/netdev"
)

// process is a program that runs in a namespace until it is stopped, at the
// latest when the test ends.
type process struct {
	t      testing.TB
	name   string
	cmd    *exec.Cmd
	output output
	exited chan struct{}
}

// output is what a process wrote so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write keeps b.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

// String returns everything that was written.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start starts a program. What it prints is shown if the test fails.
func start(t testing.TB, ns *netdev.Namespace, name string, prepare func(*exec.Cmd), argv ...string) *process {
	t.Helper()
	command := ns.Command(context.Background(), argv[0], argv[1:]...)
	p := &process{t: t, name: name, cmd: command.Cmd, exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if prepare != nil {
		prepare(p.cmd)
	}
	if err := command.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.end()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.output.String())
		}
	})
	return p
}

// end stops the process if it still runs, by force if need be.
func (p *process) end() {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.signal(syscall.SIGKILL)
		<-p.exited
		p.t.Errorf("%s did not stop within %v and was killed", p.name, patience)
	}
}

// signal sends a signal, which does nothing if the process has ended.
func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// stop ends the process as its users do, and fails the test unless it exits
// with 0.
func (p *process) stop() {
	p.t.Helper()
	p.end()
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Fatalf("%s exited with %d; it said:\n%s", p.name, code, p.output.String())
	}
}

// kill ends the process without asking it.
func (p *process) kill() {
	p.t.Helper()
	if !p.running() {
		p.t.Fatalf("%s has ended already; it said:\n%s", p.name, p.output.String())
	}
	p.signal(syscall.SIGKILL)
	<-p.exited
}

// running reports whether the process has not ended yet.
func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// result is what a command that ended left.
type result struct {
	line           string // the command
	stdout, stderr string
	code           int
}

// run runs a program to its end.
func run(t testing.TB, ns *netdev.Namespace, prepare func(*exec.Cmd), argv ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := ns.Command(ctx, argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if prepare != nil {
		prepare(command.Cmd)
	}
	err := command.Run()
	r := result{
		line: strings.Join(argv, " "), stdout: stdout.String(), stderr: stderr.String(),
		code: command.ProcessState.ExitCode(),
	}
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		t.Fatalf("%s: %v (%v)\n%s%s", r.line, err, ctx.Err(), r.stdout, r.stderr)
	}
	return r
}

// succeeds fails the test unless the command exited with 0. It returns what the
// command printed.
func (r result) succeeds(t testing.TB) string {
	t.Helper()
	if r.code != 0 {
		t.Fatalf("%s: exit %d\n%s%s", r.line, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// fails fails the test unless the command exited with code and said each of
// these, in one line where the code is not that of a wrong configuration.
func (r result) fails(t testing.TB, code int, says ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("%s: exit %d, want %d\n%s%s", r.line, r.code, code, r.stdout, r.stderr)
	}
	for _, s := range says {
		if !strings.Contains(r.stderr, s) {
			t.Errorf("%s: stderr does not have %q:\n%s", r.line, s, r.stderr)
		}
	}
}
