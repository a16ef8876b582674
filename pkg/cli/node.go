// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"net"
	"net/netip"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/node"
)

// stateDir is where a node keeps how to undo what it changes.
const stateDir = "/run/weir"

func nodeCommand(env *Environment) *cli.Command {
	return &cli.Command{
		Name:      "node",
		Usage:     "on a backend host: serve the balancers' addresses",
		UsageText: "weir node --interface IF --vip ADDR... [FLAGS]",
		Category:  groupRun,
		Description: `Takes packets for the VIPs, the balancers' addresses, out of the tunnel in which
they come (forward: ipip); those that come without one (forward: dsr) it lets
pass. Gives the VIPs to lo without answering ARP for them, and lets replies leave
by another way than requests come. Needs root.

SIGTERM and SIGINT stop it and undo all of that. Killed, it leaves everything in
place, so that traffic goes on; started again, it takes over.

Examples:
  weir node --interface eth0 --vip 203.0.113.10 --vip 2001:db8::10
  weir node --interface eth0 --vip 203.0.113.10,203.0.113.11 --metrics :9418`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "interface", Usage: "`IF` that balancers' packets arrive on"},
			&cli.StringSliceFlag{Name: "vip", Usage: "`ADDR` of a balancer; give it once for each"},
			&cli.StringFlag{Name: "xdp-mode", Value: string(dataplane.Auto), Usage: "`MODE`: auto, native or generic"},
			&cli.StringFlag{Name: flagPinPath, Usage: "`DIR` to pin at (default: /sys/fs/bpf/weir-node-IF)"},
			&cli.StringFlag{Name: "state-dir", Value: stateDir, Usage: "`DIR` for what it needs to undo its changes"},
			&cli.StringFlag{Name: "metrics", Usage: "`HOST:PORT` to serve /metrics, /healthz and /readyz at (default: nowhere)"},
		}, logFlags()...),
		Action: func(c *cli.Context) error {
			o, err := nodeOptions(env, c)
			if err != nil {
				return err
			}
			return node.Run(c.Context, o)
		},
	}
}

func nodeOptions(env *Environment, c *cli.Context) (node.Options, error) {
	log, err := env.logger(c)
	if err != nil {
		return node.Options{}, err
	}
	o := node.Options{
		Interface: c.String("interface"),
		Mode:      dataplane.Mode(c.String("xdp-mode")),
		PinPath:   c.String(flagPinPath),
		StateDir:  c.String("state-dir"),
		Metrics:   c.String("metrics"),
		Version:   version,
		Logger:    log,
	}
	if o.Interface == "" {
		return o, usagef("--interface is missing: name the interface that balancers' packets arrive on")
	}
	if !slices.Contains([]dataplane.Mode{dataplane.Auto, dataplane.Native, dataplane.Generic}, o.Mode) {
		return o, usagef("--xdp-mode %s: want auto, native or generic", o.Mode)
	}
	if o.Metrics != "" {
		if _, _, err := net.SplitHostPort(o.Metrics); err != nil {
			return o, usagef("--metrics %s: want HOST:PORT, such as 127.0.0.1:9418", o.Metrics)
		}
	}
	if o.PinPath == "" {
		o.PinPath = dataplane.NodePinPath(o.Interface)
	}
	// Arguments are VIPs too: --vip A B is what people write.
	o.VIPs, err = parseVIPs(slices.Concat(c.StringSlice("vip"), c.Args().Slice()))
	return o, err
}

func parseVIPs(texts []string) ([]netip.Addr, error) {
	const example = "such as --vip 203.0.113.10 --vip 2001:db8::10"
	if len(texts) == 0 {
		return nil, usagef("--vip is missing: name the balancers' addresses, %s", example)
	}
	var vips []netip.Addr
	for _, text := range texts {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return nil, usagef("--vip %s: not an address, %s", text, example)
		}
		addr = addr.Unmap()
		if is, ok := config.Special(addr); ok {
			return nil, usagef("--vip %s: %s, want that of a balancer, %s", text, is, example)
		}
		if !slices.Contains(vips, addr) {
			vips = append(vips, addr)
		}
	}
	return vips, nil
}
