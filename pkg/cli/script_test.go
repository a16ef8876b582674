// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirlb/weir/pkg/cli"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/testutil"
)

// The scripts in testdata show every command as a person would use it.

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"weir": func() { os.Exit(weir()) }})
}

// weir is the binary, but for its default configuration, which is a script's
// own. With FORCE_TERMINAL its output counts as one.
func weir() int {
	return cli.Run(context.Background(), &cli.Environment{
		Stdin:      os.Stdin,
		Stdout:     os.Stdout,
		Stderr:     os.Stderr,
		Terminal:   os.Getenv("FORCE_TERMINAL") != "",
		Getenv:     os.Getenv,
		Now:        time.Now,
		ConfigPath: filepath.Join(os.Getenv("WORK"), "default.yaml"),
		Hangups:    cli.Hangups,
		Dial: func(ctx context.Context, socket string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}, os.Args)
}

func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"fakeagent": startFakeAgent, "exits": exits, "expand": expand,
		"packet": sendPacket, "listener": changeListener, "bucket": spendAnswers,
		"recordflows": recordFlows, "moveslots": moveSlots, "embryonic": firstEmbryonic,
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                scriptCommands(),
		Setup: func(env *testscript.Env) error {
			hurry(env)
			return nil
		},
	})
}

// hurry keeps the race detector from waiting for a second whenever a command
// ends.
func hurry(env *testscript.Env) { env.Setenv("GORACE", "atexit_sleep_ms=0") }

// TestScriptsOnPins runs scripts on a real data plane without an agent, whose
// pins are at $PINS.
func TestScriptsOnPins(t *testing.T) {
	testutil.RequireBPF(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/root",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                scriptCommands(),
		Setup: func(env *testscript.Env) error {
			path := testutil.PinPath(t)
			hurry(env)
			env.Setenv("PINS", path)
			return makePins(t.Context(), path)
		},
	})
}

// makePins leaves a data plane pinned.
func makePins(ctx context.Context, path string) error {
	d, err := dataplane.Open(ctx, dataplane.Options{
		PinPath: path,
		Object:  "embedded",
		Limits:  dataplane.Limits{Listeners: 64, Backends: 128, Slots: 1024},
		Knobs: dataplane.Knobs{
			TunnelSource4: netip.MustParsePrefix("198.18.0.0/15"),
			TunnelSource6: netip.MustParsePrefix("100::/64"),
		},
	})
	if err != nil {
		return err
	}
	defer d.Close()
	return fillTables(d.Tables())
}
