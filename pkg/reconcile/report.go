// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package reconcile

// Report counts what a change wrote.
type Report struct {
	ListenersAdded   int `json:"listeners_added"`
	ListenersChanged int `json:"listeners_changed"` // in their entries, pool or slots
	ListenersRemoved int `json:"listeners_removed"`

	Drained int `json:"drained"` // backends whose drain_timeout is over: flows leave them

	Names     int `json:"names"`      // labels written or removed
	Counters  int `json:"counters"`   // set to zero for a new owner
	Backends  int `json:"backends"`   // entries of pools written or emptied
	Slots     int `json:"slots"`      // slots written
	Listeners int `json:"listeners"`  // entries of listeners written or removed
	VIPs      int `json:"vips"`       // entries of addresses written or removed
	OldTables int `json:"old_tables"` // entries of old tables written
	Flows     int `json:"flows"`      // records of flows removed
}

// Writes returns how many entries and slots were written.
func (r Report) Writes() int {
	return r.Names + r.Counters + r.Backends + r.Slots + r.Listeners + r.VIPs + r.OldTables + r.Flows
}

func (r *Report) add(o Report) {
	r.ListenersAdded += o.ListenersAdded
	r.ListenersChanged += o.ListenersChanged
	r.ListenersRemoved += o.ListenersRemoved
	r.Drained += o.Drained
	r.Names += o.Names
	r.Counters += o.Counters
	r.Backends += o.Backends
	r.Slots += o.Slots
	r.Listeners += o.Listeners
	r.VIPs += o.VIPs
	r.OldTables += o.OldTables
	r.Flows += o.Flows
}
