// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ErrKernel is wrapped by errors that say what the kernel lacks.
var ErrKernel = errors.New("kernel cannot run Weir's data plane")

// Features are the parts of the program that a configuration can leave unused;
// the kernel does not even load those.
type Features struct {
	DSR, IPIP4, IPIP6 bool // ways of forwarding, IPIP by the outer header
	SourceHash        bool // algorithm: source
	Reject            bool // on_all_down: reject
}

// Union returns the features that f or o has.
func (f Features) Union(o Features) Features {
	return Features{
		DSR: f.DSR || o.DSR, IPIP4: f.IPIP4 || o.IPIP4, IPIP6: f.IPIP6 || o.IPIP6,
		SourceHash: f.SourceHash || o.SourceHash, Reject: f.Reject || o.Reject,
	}
}

// Knobs are what is fixed in a program when it is loaded.
type Knobs struct {
	Features
	Seed          uint64       // of the packet hash
	TunnelSource4 netip.Prefix // of the outer source addresses
	TunnelSource6 netip.Prefix
}

// set turns the knobs of bpf/lib/config.h.
func (k Knobs) set(spec *ebpf.CollectionSpec) error {
	source4, mask4 := lastWord(k.TunnelSource4)
	source6, mask6 := lastWord(k.TunnelSource6)
	words := toBE(k.TunnelSource6.Masked().Addr())
	for name, value := range map[string]any{
		"hash_seed":              k.Seed,
		"use_dsr":                k.DSR,
		"use_ipip4":              k.IPIP4,
		"use_ipip6":              k.IPIP6,
		"use_source_hash":        k.SourceHash,
		"use_reject":             k.Reject,
		"tunnel_source4":         source4,
		"tunnel_host_mask4":      mask4,
		"tunnel_source6":         [3]uint32(words[:3]),
		"tunnel_source6_last":    source6,
		"tunnel_host_mask6_last": mask6,
	} {
		v, ok := spec.Variables[name]
		if !ok {
			return fmt.Errorf("the BPF object has no variable %s: it was built from another version of Weir", name)
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return nil
}

// lastWord returns the last 32 bits of a prefix, and which of them are its
// hosts', in host byte order.
func lastWord(p netip.Prefix) (word, hostMask uint32) {
	p = p.Masked()
	b := p.Addr().AsSlice()
	host := min(p.Addr().BitLen()-p.Bits(), 32)
	return binary.BigEndian.Uint32(b[len(b)-4:]), uint32(uint64(1)<<host - 1)
}

// loadSpec reads the balancer's program from where bpf_object says: "embedded",
// "compile" or a path.
func loadSpec(ctx context.Context, object string) (*ebpf.CollectionSpec, error) {
	switch object {
	case "embedded":
		return loadWeir()
	case "compile":
		return compile(ctx, "weir_xdp.c")
	}
	spec, err := ebpf.LoadCollectionSpec(object)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("agent.bpf_object: %s does not exist", object)
	}
	if err != nil {
		return nil, fmt.Errorf("agent.bpf_object: %s is not a BPF object: %w", object, err)
	}
	return spec, checkLayout(object, spec)
}

// checkLayout refuses an object whose maps are not those of this binary.
func checkLayout(object string, spec *ebpf.CollectionSpec) error {
	want, err := loadWeir()
	if err != nil {
		return fmt.Errorf("reading the embedded program: %w", err)
	}
	if spec.Programs[programName] == nil {
		return fmt.Errorf("agent.bpf_object: %s has no program %s", object, programName)
	}
	for name, w := range want.Maps {
		if strings.HasPrefix(name, ".") {
			continue
		}
		m := spec.Maps[name]
		if m == nil {
			return fmt.Errorf("agent.bpf_object: %s has no map %s", object, name)
		}
		if m.Type != w.Type || m.KeySize != w.KeySize || m.ValueSize != w.ValueSize {
			return fmt.Errorf("agent.bpf_object: map %s of %s has another layout than this version of Weir's",
				name, object)
		}
	}
	return nil
}

// programName is the balancer's program in its object.
const programName = "weir_xdp"

// resize sets the sizes of the maps.
func resize(spec *ebpf.CollectionSpec, l Limits) {
	if l.Flows == 0 {
		l.Flows = spec.Maps[weirMapFlows4].MaxEntries
	}
	for name, size := range mapSizes(l) {
		spec.Maps[name].MaxEntries = size
	}
}

// limitKey returns the key of the configuration that sets the size of a map.
func limitKey(name string) string {
	if name == weirMapFlows4 || name == weirMapFlows6 {
		return "agent.flow_table_size"
	}
	return "agent.limits"
}

// mapSizes returns the sizes of the maps that limits are about, by name.
func mapSizes(l Limits) map[string]uint32 {
	return map[string]uint32{
		weirMapListeners4:       l.Listeners,
		weirMapListeners6:       l.Listeners,
		weirMapVips:             l.Listeners,
		weirMapListenerCounters: l.Listeners,
		weirMapTrackingCounters: l.Listeners,
		weirMapOldTables:        l.Listeners,
		weirMapBackends:         l.Backends,
		weirMapBackendCounters:  l.Backends,
		weirMapNames:            l.Backends + l.Listeners,
		weirMapSlots:            lines(l.Slots),
		weirMapFlows4:           l.Flows,
		weirMapFlows6:           l.Flows,
	}
}

// isLimited reports whether agent.limits sets the size of a map.
func isLimited(name string) bool {
	_, ok := mapSizes(Limits{})[name]
	return ok
}

// loadError says what a person can do about a program or map that the kernel
// refused.
func loadError(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES) && !errors.As(err, &verifier):
		return fmt.Errorf("the kernel refuses to load BPF programs: run as root, or with CAP_BPF, "+
			"CAP_NET_ADMIN and CAP_PERFMON: %w", err)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("not enough memory for the maps: lower agent.limits or agent.flow_table_size: %w", err)
	case errors.Is(err, ebpf.ErrNotSupported), errors.As(err, &verifier), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: Linux %s, needed is 5.15 or newer with CONFIG_BPF_SYSCALL and "+
			"CONFIG_BPF_JIT: %w", ErrKernel, kernelRelease(), err)
	}
	return fmt.Errorf("loading the BPF program: %w", err)
}

func kernelRelease() string {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "of unknown version"
	}
	return unix.ByteSliceToString(uts.Release[:])
}
