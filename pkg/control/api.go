// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"net/netip"
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
	// Plan says what Apply would change, and changes nothing. Its errors are
	// those of Apply.
	Plan(ctx context.Context, name string, data []byte) (PlanReport, error)
	// SetMode changes the mode of one backend now. The mode lasts until the
	// configuration changes it. The error wraps ErrNoBackend where there is
	// no such backend.
	SetMode(ctx context.Context, change ModeChange) (ModeReport, error)
}

// ErrNoBackend is wrapped by the error of a mode for a backend that the running
// configuration does not have.
var ErrNoBackend = errors.New("no such backend")

// ModeChange is a mode for one backend.
type ModeChange struct {
	Balancer string      `json:"balancer"`
	Port     uint16      `json:"port"`
	Protocol lb.Protocol `json:"protocol"`
	Backend  string      `json:"backend"` // its label or ADDRESS:PORT
	Mode     lb.Mode     `json:"mode"`    // accept, drain or reject
}

// ModeReport says what a mode for one backend changed.
type ModeReport struct {
	Balancer   string         `json:"balancer"`
	Port       uint16         `json:"port"`
	Protocol   lb.Protocol    `json:"protocol"`
	Backend    string         `json:"backend"` // its label
	Address    netip.AddrPort `json:"address"`
	Before     lb.Mode        `json:"before"`
	Mode       lb.Mode        `json:"mode"`
	Configured lb.Mode        `json:"configured"` // Mode is by command if this differs
	Slots      int            `json:"slots_changed"`
	Until      time.Time      `json:"until,omitzero"`     // its flows may stay on a backend that drains; zero if unknown
	Warnings   []string       `json:"warnings,omitempty"` // such as that no backend is left for new flows
}

// PlanReport says what a configuration would change.
type PlanReport struct {
	Hash      string         `json:"hash"`
	Listeners []ListenerPlan `json:"listeners"` // all, sorted by balancer, port and protocol
	Warnings  []string       `json:"warnings,omitempty"`
}

// Ways in which a configuration changes a listener.
const (
	PlanAdded     = "added"
	PlanRemoved   = "removed"
	PlanChanged   = "changed"
	PlanUnchanged = "unchanged"
)

// ListenerPlan says what a configuration would change in a listener.
type ListenerPlan struct {
	Balancer  string      `json:"balancer"`
	Port      uint16      `json:"port"`
	Protocol  lb.Protocol `json:"protocol"`
	Change    string      `json:"change"` // PlanAdded and the like
	Added     []string    `json:"backends_added"`
	Removed   []string    `json:"backends_removed"`
	Changed   []string    `json:"backends_changed"` // in weight, mode or label
	Reasons   []string    `json:"reasons"`          // what differs, such as "table_size 8191 -> 16381"
	TableSize uint32      `json:"table_size"`
	Slots     int         `json:"slots_changed"` // that would lead new flows to another backend
	Flows     int         `json:"flows"`         // recorded now
	Moved     int         `json:"flows_moved"`   // of these, those that would have to change backends
}

// TrackingStatus says how much is being tracked.
type TrackingStatus struct {
	Unsteady  uint32        `json:"slots_unsteady"` // slots whose flows are looked up
	Records4  int           `json:"records_ipv4"`   // at the last scan
	Records6  int           `json:"records_ipv6"`
	TableSize uint32        `json:"flow_table_size"` // records of each family that fit
	Embryonic int           `json:"embryonic"`       // flows of which only SYNs were seen
	Scanned   time.Time     `json:"scanned"`         // when the last scan began; zero before the first
	Scan      time.Duration `json:"scan_ns"`         // how long it took

	// OverflowBefore is what the overflow of listeners was when the agent started,
	// by BALANCER/PORT/PROTO, where it was not 0.
	OverflowBefore map[string]uint64 `json:"overflow_before,omitempty"`
}

// ModeStatus is a mode that was set by command and is in force.
type ModeStatus struct {
	Balancer   string         `json:"balancer"`
	Port       uint16         `json:"port"`
	Protocol   lb.Protocol    `json:"protocol"`
	Backend    string         `json:"backend"`
	Address    netip.AddrPort `json:"address"`
	Mode       lb.Mode        `json:"mode"`
	Configured lb.Mode        `json:"configured"`
	Since      time.Time      `json:"since"`
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
	Tracking   TrackingStatus    `json:"tracking,omitzero"` // absent until traffic is served
	Modes      []ModeStatus      `json:"modes"`             // set by command, sorted by listener and address
	Problems   []string          `json:"problems"`          // what an operator should look at, sorted
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
