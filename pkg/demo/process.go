// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopPatience is how long a process may take to stop before it is killed.
const stopPatience = 20 * time.Second

// process is a running weir command in a namespace, with what it says.
type process struct {
	name   string
	cmd    *exec.Cmd
	output tail
	exited chan struct{}
	err    error // once exited is closed
}

// start starts a weir command in a host. It runs until it is stopped, also when
// the context ends: the demo stops it then, in its turn.
func start(ctx context.Context, h *host, executable string, args ...string) (*process, error) {
	command := h.Command(context.WithoutCancel(ctx), executable, args...)
	p := &process{
		name:   fmt.Sprintf("weir %s on %s", args[0], h.label),
		cmd:    command.Cmd,
		exited: make(chan struct{}),
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.WaitDelay = stopPatience
	// Ctrl-C is for the demo: the terminal would send it to these too, and they
	// would stop out of turn.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// dead returns why the process is no longer running, nil while it is.
func (p *process) dead() error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s has ended (%w); it said:\n%s", p.name, cmpErr(p.err), p.output.String())
	default:
		return nil
	}
}

func cmpErr(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// stop ends the process and waits for it.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err == nil {
		select {
		case <-p.exited:
		case <-time.After(stopPatience):
			_ = p.cmd.Process.Kill()
			<-p.exited
			return fmt.Errorf("%s did not stop within %s and was killed; it said:\n%s", p.name, stopPatience, p.output.String())
		}
	}
	<-p.exited
	var exit *exec.ExitError
	if errors.As(p.err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM {
		return nil // before it listened to signals, so that it has done nothing yet
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w; it said:\n%s", p.name, p.err, p.output.String())
	}
	return nil
}

// tail keeps the last lines that a process wrote.
type tail struct {
	mu    sync.Mutex
	lines [][]byte
}

const tailLines = 20

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for line := range bytes.Lines(b) {
		t.lines = append(t.lines, bytes.Clone(line))
	}
	t.lines = t.lines[max(0, len(t.lines)-tailLines):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimRight(string(bytes.Join(t.lines, nil)), "\n")
}
