// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/control"
	"github.com/weirlb/weir/pkg/dataplane"
)

// listingFlags are the flags of every listing of what an agent has.
func listingFlags() []cli.Flag { return append([]cli.Flag{outputFlag()}, targetFlags()...) }

// state is what the kernel holds now: from the agent, which knows more, or
// from the pins if none answers.
type state struct {
	client   *control.Client     // nil without an agent
	snapshot *dataplane.Snapshot // nil with an agent
}

// read finds where state comes from. The agent's answer to ask shows whether
// there is one; the reader of a listing is told when there is not.
func (e *Environment) read(ctx context.Context, t target, ask func(*control.Client) error) (state, error) {
	client := e.client(t)
	err := owns(ctx, client, t)
	if err == nil {
		err = ask(client)
	}
	if err == nil {
		return state{client: client}, nil
	}
	if !errors.Is(err, control.ErrNoAgent) || t.socketOnly {
		return state{}, err
	}
	snapshot, err := readPins(t.pinPath)
	if errors.Is(err, dataplane.ErrNotLoaded) && !t.pinsOnly {
		err = fmt.Errorf("%w on %s, and %w under %s: start the agent by: weir agent --config FILE",
			control.ErrNoAgent, t.socket, dataplane.ErrNotLoaded, t.pinPath)
	}
	if err != nil {
		return state{}, err
	}
	e.note("no agent of %s answers on %s; read from the maps, so what its checks say is missing", t.pinPath, t.socket)
	return state{snapshot: snapshot}, nil
}

// owns refuses an agent that has other maps than those that were named. The error
// of both is ErrNoAgent: of these maps there is none.
func owns(ctx context.Context, client *control.Client, t target) error {
	if !t.pinsOnly {
		return nil
	}
	status, err := client.Status(ctx)
	if err == nil && status.PinPath != filepath.Clean(t.pinPath) {
		err = fmt.Errorf("%w: the one on %s has its maps under %s", control.ErrNoAgent, t.socket, status.PinPath)
	}
	return err
}

// readPins reads what the pinned maps have of the last configuration.
func readPins(pinPath string) (*dataplane.Snapshot, error) {
	tables, err := dataplane.OpenTables(pinPath)
	if err != nil {
		return nil, err
	}
	snapshot, err := tables.Snapshot()
	if err := errors.Join(err, tables.Close()); err != nil {
		return nil, err
	}
	return control.Configured(snapshot, control.Status{}, nil), nil
}

// noun is a kind of thing that is listed, in rows of type T.
type noun[T any] struct {
	word    string // in messages
	depth   int    // parts of its name
	ask     func(*control.Client, context.Context) ([]T, error)
	of      func(*dataplane.Snapshot) []T
	name    func(T) string
	matches func(filter, T) bool
	table   func([]T) table

	// others returns the names of what a filter may also name without there
	// being a row of it; nil: nothing.
	others func(context.Context, state) (names []string, err error)
}

// list is the action of a listing's command.
func (n noun[T]) list(env *Environment, c *cli.Context) error {
	format, err := outputFormat(c)
	if err != nil {
		return err
	}
	filters, err := parseFilters(c.Args().Slice(), n.depth)
	if err != nil {
		return err
	}
	all, state, err := n.rows(c.Context, env, c)
	if err != nil {
		return err
	}
	chosen, unused := choose(filters, all, n.matches)
	if err := n.check(c.Context, state, unused, all); err != nil {
		return err
	}
	return env.write(format, listing{value: chosen, table: n.table(chosen)})
}

// rows returns all rows, and the state they are of.
func (n noun[T]) rows(ctx context.Context, env *Environment, c *cli.Context) ([]T, state, error) {
	t, err := env.target(c)
	if err != nil {
		return nil, state{}, err
	}
	var list []T
	s, err := env.read(ctx, t, func(client *control.Client) (err error) {
		list, err = n.ask(client, ctx)
		return err
	})
	if err != nil {
		return nil, state{}, err
	}
	if s.snapshot != nil {
		list = n.of(s.snapshot)
	}
	return list, s, nil
}

// check refuses filters that name nothing, which are likely misspelt.
func (n noun[T]) check(ctx context.Context, s state, unused []filter, all []T) error {
	if len(unused) == 0 {
		return nil
	}
	var names []string
	if n.others != nil {
		var err error
		if names, err = n.others(ctx, s); err != nil {
			return err
		}
		unused = slices.DeleteFunc(unused, func(f filter) bool {
			return slices.ContainsFunc(names, func(name string) bool { return f.matches(strings.Split(name, "/")) })
		})
	}
	for _, row := range all {
		names = append(names, n.name(row))
	}
	if len(unused) == 0 {
		return nil
	}
	return notFound(n.word, unused, names)
}

// listeners returns the listeners of a state.
func (s state) listeners(ctx context.Context) ([]control.ListenerRow, error) {
	if s.snapshot != nil {
		return control.ListenerRows(s.snapshot), nil
	}
	return s.client.Listeners(ctx)
}

// notFound says that filters name nothing of what there is.
func notFound(what string, unused []filter, names []string) error {
	var texts []string
	for _, f := range unused {
		texts = append(texts, f.text)
	}
	if len(names) == 0 {
		return fmt.Errorf("no %s %s: there are none", what, strings.Join(texts, ", "))
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	const most = 10
	if len(names) > most {
		names = append(slices.Sorted(slices.Values(nearer(unused[0].text, names)[:most])), "...")
	}
	return fmt.Errorf("no %s %s: there are %s", what, strings.Join(texts, ", "), strings.Join(names, ", "))
}
