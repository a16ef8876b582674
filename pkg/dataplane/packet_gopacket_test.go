// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet/model"
)

// reading is what a decoder that is not ours finds in a frame.
type reading struct {
	Layers     []gopacket.LayerType
	Complaints []gopacket.LayerType // layers that it cannot decode or whose checksum is wrong
}

// checkGopacket reads a frame that leaves. Of one that was forwarded, or of the
// reply to a ping, it is to say what it says of the frame that came in, but for
// the outer header. Another answer has nothing of that and is right altogether.
func checkGopacket(t *testing.T, in, out []byte, r model.Result) {
	t.Helper()
	want, got := readGopacket(t, in), readGopacket(t, out)
	switch {
	case r.Reason == "reset":
		want = reading{Layers: append(want.Layers[:2:2], layers.LayerTypeTCP)}
	case r.Reason == "unreachable":
		icmp := layers.LayerTypeICMPv4
		if want.Layers[1] == layers.LayerTypeIPv6 {
			icmp = layers.LayerTypeICMPv6
		}
		want = reading{Layers: append(want.Layers[:2:2], icmp, gopacket.LayerTypePayload)}
	case r.Backend != nil && r.Backend.Forward == lb.IPIP:
		outer := layers.LayerTypeIPv4
		if r.Backend.Address.Is6() {
			outer = layers.LayerTypeIPv6
		}
		want.Layers = slices.Insert(want.Layers, 1, gopacket.LayerType(outer))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("gopacket finds (-before +after):\n%s", diff)
	}
}

func readGopacket(t *testing.T, frame []byte) (r reading) {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeStreamsAsDatagrams)
	var network gopacket.NetworkLayer
	for _, l := range p.Layers() {
		if l == p.ErrorLayer() {
			r.Complaints = append(r.Complaints, l.LayerType())
			break
		}
		if n, ok := l.(gopacket.NetworkLayer); ok {
			network = n
		}
		// A checksum that covers a pseudo header covers that of the IP header
		// before it, which is the innermost.
		upper, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		})
		if ok {
			if err := upper.SetNetworkLayerForChecksum(network); err != nil {
				t.Fatal(err)
			}
		}
		r.Layers = append(r.Layers, l.LayerType())
	}
	err, mismatches := p.VerifyChecksums()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mismatches {
		r.Complaints = append(r.Complaints, m.Layer.LayerType())
	}
	return r
}
