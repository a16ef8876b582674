// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/netdev"
	"github.com/weirlb/weir/pkg/testutil"
)

// clientPatience is how long a client waits for what should come at once. A
// TCP client that is not answered tries for much longer.
const clientPatience = 10 * time.Second

// TestRejectClients: the kernel of a client takes the answers for what they are,
// and tells the program that nobody listens.
func TestRejectClients(t *testing.T) {
	o := testOptions(t)
	hosts := testutil.LAN(t, "client", "balancer")
	client, balancer := hosts[0], hosts[1]
	for vip, gateway := range map[netip.Addr]netip.Addr{vip4: balancer.IPv4(), vip6: balancer.IPv6()} {
		route := netdev.Route{Destination: netip.PrefixFrom(vip, vip.BitLen()), Gateway: gateway}
		if err := client.SetRoute(route); err != nil {
			t.Fatal(err)
		}
	}
	d := openTest(t, o)
	defer closeTest(t, d)
	entry := Listener{ID: 1, Balancer: 1, TableSize: 7, PoolSize: 1, OnAllDown: lb.AllDownReject}
	for _, vip := range []netip.Addr{vip4, vip6} {
		for _, p := range []lb.Protocol{lb.TCP, lb.UDP} {
			key := ListenerKey{Address: vip, Port: portReject, Protocol: p}
			if err := d.Tables().PutListener(key, entry); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, mode := range []Mode{Native, Generic} {
		t.Run(string(mode), func(t *testing.T) {
			err := balancer.Do(func() error {
				attach(t, d, eth0(t), mode)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families() {
				address := netip.AddrPortFrom(f.vip, portReject).String()
				t.Run(f.name+", tcp", func(t *testing.T) { seeTCPRefused(t, client, address) })
				for _, bytes := range []int{0, 5, 1400} {
					t.Run(fmt.Sprintf("%s, udp of %d bytes", f.name, bytes), func(t *testing.T) {
						seeUDPRefused(t, client, address, bytes)
					})
				}
			}
		})
	}
	reasons, err := d.Tables().ReasonCounters()
	if err != nil {
		t.Fatal(err)
	}
	// A client sends its SYN again if the machine is too busy for it.
	resets, errs := reasons[weirReasonREASON_RESET].Packets, reasons[weirReasonREASON_UNREACHABLE].Packets
	if resets < 4 || errs != 12 {
		t.Errorf("%d resets and %d ICMP errors, want 4 or more and 12", resets, errs)
	}
}

func seeTCPRefused(t *testing.T, client *testutil.Host, address string) {
	ctx, cancel := context.WithTimeout(t.Context(), clientPatience)
	defer cancel()
	c, err := client.DialContext(ctx, "tcp", address)
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("connecting to %s: %v, want that it is refused", address, err)
	}
}

// seeUDPRefused sends a datagram and reads the error that comes back.
func seeUDPRefused(t *testing.T, client *testutil.Host, address string, bytes int) {
	c, err := client.DialContext(t.Context(), "udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(clientPatience)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(make([]byte, bytes)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("reading from %s: %v, want that it is refused", address, err)
	}
}
