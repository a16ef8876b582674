// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/weirlb/weir/pkg/dataplane/passall"
	"github.com/weirlb/weir/pkg/netdev"
)

// backendCount is how many backends the demo has.
const backendCount = 3

// namePrefix begins the names of all namespaces and pins of demos; the number
// of the process follows.
const namePrefix = "weir-demo-"

// host is one machine of the demo.
type host struct {
	*netdev.Namespace
	label      string
	ipv4, ipv6 netip.Addr
}

// lab is the network of the demo. All hosts are on one switch; the client
// reaches the balancer's addresses by routes to the balancer.
type lab struct {
	id       string // of this demo, in all names
	dir      string // for sockets, configuration and logs
	bridge   *netdev.Namespace
	client   *host
	balancer *host
	backends []*host
	programs []io.Closer // on the ports of the switch
}

// way is one way from the client to the backends: an address of a balancer.
type way struct {
	forward string
	family  string
	address netip.Addr
}

// port is where the backends serve HTTP, and the balancers listen.
const port = 80

func ways() []way {
	return []way{
		{"ipip", "IPv4", netip.MustParseAddr("203.0.113.10")},
		{"ipip", "IPv6", netip.MustParseAddr("2001:db8:a::10")},
		{"dsr", "IPv4", netip.MustParseAddr("203.0.113.20")},
		{"dsr", "IPv6", netip.MustParseAddr("2001:db8:a::20")},
	}
}

// newLab builds the network. What it returns has to be closed, also when it
// returns an error.
func newLab() (*lab, error) {
	l := &lab{id: namePrefix + strconv.Itoa(os.Getpid())}
	if err := removeLeftovers(); err != nil {
		return l, err
	}
	var err error
	if l.dir, err = os.MkdirTemp("", l.id+"-"); err != nil {
		return l, fmt.Errorf("making a directory for sockets and logs: %w", err)
	}
	if l.bridge, err = netdev.NewNamespace(l.id + "-switch"); err != nil {
		return l, err
	}
	if err := l.bridge.AddBridge("lan"); err != nil {
		return l, err
	}
	if l.client, err = l.plug("client", 1); err != nil {
		return l, err
	}
	if l.balancer, err = l.plug("balancer", 2); err != nil {
		return l, err
	}
	for i := range backendCount {
		backend, err := l.plug(fmt.Sprintf("web-%d", i+1), 11+i)
		if err != nil {
			return l, err
		}
		l.backends = append(l.backends, backend)
	}
	return l, l.route()
}

// plug makes a host with the given last number in its addresses and connects
// it to the switch.
func (l *lab) plug(label string, number int) (*host, error) {
	ns, err := netdev.NewNamespace(l.id + "-" + label)
	if err != nil {
		return nil, err
	}
	h := &host{
		Namespace: ns, label: label,
		ipv4: netip.AddrFrom4([4]byte{192, 0, 2, byte(number)}),
		ipv6: netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%d", number)),
	}
	err = netdev.Connect(
		netdev.Port{Namespace: ns, Name: "eth0", Addresses: []netip.Prefix{
			netip.PrefixFrom(h.ipv4, 24), netip.PrefixFrom(h.ipv6, 64),
		}},
		netdev.Port{Namespace: l.bridge, Name: label})
	if err == nil {
		err = l.openPort(label)
	}
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return h, nil
}

// openPort makes the switch forward what comes by one of its interfaces.
func (l *lab) openPort(name string) error {
	if err := l.bridge.AddBridgePort("lan", name); err != nil {
		return err
	}
	link, err := l.bridge.Interface(name)
	if err != nil {
		return err
	}
	return l.bridge.Do(func() error {
		program, err := passall.Attach(link.Index)
		if err == nil {
			l.programs = append(l.programs, program)
		}
		return err
	})
}

// route tells the client that the balancers' addresses are behind the
// balancer, as a router would be told in a real network.
func (l *lab) route() error {
	for _, w := range ways() {
		gateway := l.balancer.ipv4
		if w.address.Is6() {
			gateway = l.balancer.ipv6
		}
		destination := netip.PrefixFrom(w.address, w.address.BitLen())
		if err := l.client.SetRoute(netdev.Route{Destination: destination, Gateway: gateway}); err != nil {
			return err
		}
	}
	return nil
}

// config writes the configuration of the agent and returns its path. The
// backends of the tunnelled balancer are of both families, so that packets
// travel in all four combinations of inner and outer header.
func (l *lab) config() (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "agent:\n  interfaces: [eth0]\n  socket: %s\n  pin_path: %s\n  metrics: \"off\"\nbalancers:\n",
		l.socket(), l.pinPath())
	for _, forward := range []string{"ipip", "dsr"} {
		var addresses []string
		for _, w := range ways() {
			if w.forward == forward {
				addresses = append(addresses, strconv.Quote(w.address.String()))
			}
		}
		fmt.Fprintf(&b, "- label: %s\n  addresses: [%s]\n  listeners:\n  - port: %d\n    protocol: tcp\n    forward: %s\n",
			forward, strings.Join(addresses, ", "), port, forward)
		b.WriteString("    check: {type: http, path: /healthz, interval: 400ms, timeout: 400ms, fall: 2, rise: 2}\n    backends:\n")
		for i, backend := range l.backends {
			address := backend.ipv4
			if i == backendCount-1 {
				address = backend.ipv6
			}
			fmt.Fprintf(&b, "    - {label: %s, address: %q}\n", backend.label, netip.AddrPortFrom(address, port))
		}
	}
	path := filepath.Join(l.dir, "weir.yaml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return "", fmt.Errorf("writing the configuration: %w", err)
	}
	return path, nil
}

func (l *lab) socket() string  { return filepath.Join(l.dir, "weir.sock") }
func (l *lab) pinPath() string { return filepath.Join(pinRoot, l.id) }
func (l *lab) nodePins(h *host) string {
	return filepath.Join(pinRoot, l.id+"-"+h.label)
}

// close takes the network down.
func (l *lab) close() error {
	var errs []error
	for _, program := range l.programs {
		errs = append(errs, program.Close())
	}
	for _, h := range append([]*host{l.client, l.balancer}, l.backends...) {
		if h != nil {
			errs = append(errs, h.Close())
		}
	}
	if l.bridge != nil {
		errs = append(errs, l.bridge.Close())
	}
	if l.dir != "" {
		errs = append(errs, os.RemoveAll(l.dir))
	}
	return errors.Join(errs...)
}

// run runs a command of weir in a namespace and returns what it printed.
func (h *host) run(ctx context.Context, executable string, args ...string) error {
	out, err := h.Command(ctx, executable, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("weir %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
