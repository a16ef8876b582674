// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"time"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

// Agent is what the server needs of a running agent.
type Agent interface {
	// Status describes the agent itself.
	Status() Status
	// Snapshot reads the kernel's tables.
	Snapshot() (*dataplane.Snapshot, error)
	// Conditions says what the agent knows of each backend.
	Conditions() map[BackendKey]Condition
	// Apply makes a configuration the running one, as a whole or not at all.
	// name is the file that data came from, for messages. The error is a
	// config.Errors where the configuration is at fault.
	Apply(ctx context.Context, name string, data []byte) (ApplyReport, error)
}

// BackendKey names a backend of a listener.
type BackendKey struct {
	Listener lb.ListenerKey
	Address  string // as netip.AddrPort prints it
}

// Condition is what only the agent knows of a backend.
type Condition struct {
	Health    lb.Health
	Since     time.Time     // of that health
	Check     time.Duration // how long the last check took, 0 before the first
	Successes uint64        // checks that passed so far
	Failures  uint64        // checks that failed so far
	Problem   string        // why it takes no traffic, empty if it does
}

// Status describes a running agent.
type Status struct {
	Version    string            `json:"version"`
	PID        int               `json:"pid"`
	Started    time.Time         `json:"started"`
	Ready      bool              `json:"ready"`               // traffic is served
	NotReady   string            `json:"not_ready,omitempty"` // why not
	Config     ConfigStatus      `json:"config"`
	PinPath    string            `json:"pin_path"`
	Interfaces []InterfaceStatus `json:"interfaces"`
	Problems   []string          `json:"problems"` // what an operator should look at, sorted
}

// ConfigStatus describes the running configuration.
type ConfigStatus struct {
	File       string    `json:"file"`               // where the running configuration came from
	Own        string    `json:"own_file,omitempty"` // the agent's --config: read at start and by SIGHUP
	Hash       string    `json:"hash"`
	LastReload time.Time `json:"last_reload"` // successful or not
	ReloadOK   bool      `json:"reload_ok"`
	Error      string    `json:"error,omitempty"` // of the last reload
}

// InterfaceStatus describes an interface of the configuration.
type InterfaceStatus struct {
	Name    string         `json:"name"`
	Index   int            `json:"index"` // 0 while the interface does not exist
	Mode    dataplane.Mode `json:"mode"`  // empty while nothing is attached
	Problem string         `json:"problem,omitempty"`
}

// ApplyReport says what a new configuration changed.
type ApplyReport struct {
	Hash      string        `json:"hash"`
	Duration  time.Duration `json:"duration_ns"`
	Added     int           `json:"listeners_added"`
	Removed   int           `json:"listeners_removed"`
	Changed   int           `json:"listeners_changed"`
	Slots     int           `json:"slots_changed"`
	MapWrites int           `json:"map_writes"`
	Warnings  []string      `json:"warnings,omitempty"`
}
