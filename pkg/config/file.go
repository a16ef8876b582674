// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net/netip"

	"github.com/weirlb/weir/pkg/lb"
)

// File is a configuration file that is right in every respect that can be
// seen without the host: defaults are filled in, and values that must fit
// together do.
type File struct {
	Agent     Agent
	Balancers []lb.Balancer // in the order of the file
	Hash      string        // the first 12 hex digits of the SHA-256 of the file
}

// Agent holds the settings of the agent itself.
type Agent struct {
	Interfaces []string // names, at least one, each once
	XDPMode    XDPMode
	BPFObject  string // BPFEmbedded, BPFCompile, or a path, which has a '/'
	Socket     string // absolute path of the unix socket
	PinPath    string // absolute path of a directory in a BPF file system
	Metrics    string // host:port to serve metrics at; empty: nowhere

	// Seed goes into the hash of every packet and into the tables. Balancers
	// that share addresses must have the same.
	Seed uint64

	// TunnelSource4 and TunnelSource6 are the prefixes that the outer source
	// addresses of tunnelled packets come from.
	TunnelSource4 netip.Prefix
	TunnelSource6 netip.Prefix

	Limits Limits

	// FlowTableSize is how many records of flows tracking keeps at most, of
	// each IP family. A record takes memory while it exists; each family also
	// takes 16 bytes for every one of the next power of two, always.
	FlowTableSize int
}

// Limits are the sizes of the BPF maps.
type Limits struct {
	Listeners int // entries: each listener has one for each address of its balancer
	Backends  int // entries: each pool has one more than backends, rounded up to a multiple of 16
	Slots     int // each listener has its table_size, rounded up to a multiple of 16
}

// What BPFObject says other than a path.
const (
	BPFEmbedded = "embedded" // the objects inside the binary
	BPFCompile  = "compile"  // the source inside the binary, compiled on this host
)

// Values that other packages need without a file.
const (
	DefaultSocket  = "/run/weir/weir.sock"
	DefaultPinPath = "/sys/fs/bpf/weir"
	DefaultMetrics = "127.0.0.1:9417"

	// DefaultSeed is the first 64 bits of the SHA-256 of "weir". It must never
	// change: balancers of different versions that share addresses would choose
	// differently.
	DefaultSeed uint64 = 0x9e1b_d4e5_8bdc_27cb
)

// Defaults returns the settings of an agent whose file says nothing. It has
// no interfaces: those must be named.
func Defaults() Agent {
	return Agent{
		XDPMode:       XDPAuto,
		BPFObject:     BPFEmbedded,
		Socket:        DefaultSocket,
		PinPath:       DefaultPinPath,
		Metrics:       DefaultMetrics,
		Seed:          DefaultSeed,
		TunnelSource4: netip.MustParsePrefix("198.18.0.0/15"), // RFC 2544, not routed on the internet
		TunnelSource6: netip.MustParsePrefix("100::/64"),      // RFC 6666, discard-only
		Limits: Limits{
			Listeners: 4096,
			Backends:  131_072,
			Slots:     16_777_216,
		},
		FlowTableSize: 1_048_576,
	}
}

// XDPMode is how the programs are attached to an interface.
type XDPMode uint8

// Modes of attaching.
const (
	XDPAuto    XDPMode = iota // native where the driver can, else generic with a warning
	XDPNative                 // in the driver, or not at all
	XDPGeneric                // in the network stack, which is slow and always works
)

// String returns the word for m in configuration and listings.
func (m XDPMode) String() string {
	switch m {
	case XDPAuto:
		return "auto"
	case XDPNative:
		return "native"
	case XDPGeneric:
		return "generic"
	}
	return fmt.Sprintf("unknown(%d)", uint8(m))
}

// MarshalText returns the word for m.
func (m XDPMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }
