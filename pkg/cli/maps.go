// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/dataplane"
)

func mapsCommand(env *Environment) *cli.Command {
	return &cli.Command{
		Name:      "maps",
		Usage:     "the BPF maps, decoded into words, also without an agent",
		UsageText: "weir maps [FLAGS]\n       weir maps dump NAME [FLAGS]\n       weir maps lookup NAME KEY [FLAGS]",
		Category:  groupLook,
		Description: `Alone, lists the maps. ENTRIES are those in use, of at most MAX; of the map slots
both are slots. agent.limits sets the sizes. Of a cache of listeners MAX is the size
on each CPU, and ENTRIES are the current ones of the CPU that has most.

Examples:
  weir maps
  weir maps dump reason_counters
  weir maps lookup listeners4 203.0.113.10:443/tcp`,
		Flags:       listingFlags(),
		Subcommands: []*cli.Command{mapsDumpCommand(env), mapsLookupCommand(env)},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand("weir maps", c.Args().First(), c.Command.Subcommands)
			}
			return env.inspect(c, func(in *inspection) (listing, error) {
				infos, err := in.tables.Maps()
				return listOf(mapRows(infos), mapColumns(), mapRow.cells), err
			})
		},
	}
}

// mapRow is a map in the listing of all.
type mapRow struct {
	Name       string  `json:"name"`
	Type       string  `json:"type"`
	Entries    uint32  `json:"entries"`
	MaxEntries uint32  `json:"max_entries"`
	Fill       float64 `json:"fill"`  // from 0 to 1
	Fixed      bool    `json:"fixed"` // its entries in use are always the same, however full
	Memory     uint64  `json:"memory_bytes"`
}

func mapRows(infos []dataplane.MapInfo) []mapRow {
	rows := make([]mapRow, 0, len(infos))
	for _, i := range infos {
		rows = append(rows, mapRow{
			Name: i.Name, Type: i.Type, Entries: i.Entries, MaxEntries: i.MaxEntries,
			Fill: float64(i.Entries) / float64(i.MaxEntries), Fixed: i.Fixed, Memory: i.Memory,
		})
	}
	return rows
}

func mapColumns() []column {
	return []column{
		{name: "NAME"}, {name: "TYPE"}, {name: "ENTRIES", right: true}, {name: "MAX", right: true},
		{name: "FILL", right: true}, {name: "MEMORY", right: true},
	}
}

func (r mapRow) cells() []string {
	fill := percentText(r.Entries, r.MaxEntries)
	if r.Fixed {
		fill = "fixed"
	}
	return []string{r.Name, r.Type, countText(r.Entries), countText(r.MaxEntries), fill, bytesText(r.Memory)}
}

// inspection is what a command reads maps with.
type inspection struct {
	tables *dataplane.Tables
	*dataplane.Snapshot
	listenerNames map[uint32]string // by identifier
	backendLabels map[uint32]string // by counter
}

func newInspection(tables *dataplane.Tables) (*inspection, error) {
	snapshot, err := tables.Snapshot()
	if err != nil {
		return nil, err
	}
	in := &inspection{
		tables: tables, Snapshot: snapshot,
		listenerNames: make(map[uint32]string), backendLabels: make(map[uint32]string),
	}
	for _, l := range snapshot.Listeners {
		in.listenerNames[l.Entry.ID] = l.ListenerKey.String()
	}
	for _, b := range snapshot.Backends {
		in.backendLabels[b.Counter] = b.Label
	}
	return in, nil
}

// inspect opens the pinned maps, writes what fn makes of them, and closes
// them.
func (e *Environment) inspect(c *cli.Context, fn func(*inspection) (listing, error)) error {
	format, err := outputFormat(c)
	if err != nil {
		return err
	}
	t, err := e.target(c)
	if err != nil {
		return err
	}
	pinPath, err := e.pins(c.Context, t)
	if err != nil {
		return err
	}
	tables, err := dataplane.OpenTables(pinPath)
	if err != nil {
		return err
	}
	in, err := newInspection(tables)
	if err != nil {
		return errors.Join(err, tables.Close())
	}
	l, err := fn(in)
	if err := errors.Join(err, tables.Close()); err != nil {
		return err
	}
	return e.write(format, l)
}

// listOf makes a listing of rows.
func listOf[T any](rows []T, columns []column, cells func(T) []string) listing {
	if rows == nil {
		rows = []T{} // JSON shows nil as null
	}
	t := table{columns: columns}
	for _, r := range rows {
		t.rows = append(t.rows, cells(r))
	}
	return listing{value: rows, table: t}
}
