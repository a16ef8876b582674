// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"slices"

	"github.com/weirlb/weir/pkg/lb"
)

// Layer is one header of a frame, or its payload. The types that are layers
// are those with a String method in this package. Lengths, checksums and the
// numbers of the next layer are what Decode found; a Frame computes its own.
type Layer interface {
	// String returns the layer in one line.
	String() string
	// etherType is the number of the layer in an Ethernet header.
	etherType() uint16
	// protocol is the number of the layer in an IP header.
	protocol() uint8
	// encode returns the layer followed by body, which is all that lies below
	// it. The layers of the frame around it are outer and inner.
	encode(outer, inner []Layer, body []byte) []byte
}

// Frame is a recipe for an Ethernet frame. The zero value is empty; Eth starts
// one.
type Frame struct {
	layers []Layer
	edits  []func([]byte) []byte // of the encoded frame, in order
}

// Eth starts a frame.
func Eth(src, dst lb.MAC) Frame {
	return Frame{layers: []Layer{Ethernet{Src: src, Dst: dst}}}
}

// VLAN adds an 802.1Q tag with VLAN identifier id.
func (f Frame) VLAN(id uint16) Frame { return f.add(VLAN{ID: id}) }

// EtherType sets what an Ethernet header without a known layer behind it says.
func (f Frame) EtherType(t uint16) Frame {
	f.layers = slices.Clone(f.layers)
	e := f.layers[0].(Ethernet)
	e.Type = t
	f.layers[0] = e
	return f
}

// Payload adds data.
func (f Frame) Payload(data []byte) Frame { return f.add(Payload(data)) }

// Text adds data given as text.
func (f Frame) Text(data string) Frame { return f.add(Payload(data)) }

// Inner adds the IP packet of another frame, without that frame's edits.
func (f Frame) Inner(other Frame) Frame { return f.add(other.ip()...) }

// Quote adds the first n bytes of the IP packet of another frame, as an ICMP
// message about that packet does.
func (f Frame) Quote(other Frame, n int) Frame {
	packet := encode(other.ip())
	return f.Payload(packet[:min(n, len(packet))])
}

// With lets edit change the bytes of the finished frame. Nothing is computed
// again afterwards.
func (f Frame) With(edit func(frame []byte)) Frame {
	return f.edit(func(b []byte) []byte {
		edit(b)
		return b
	})
}

// TruncateTo cuts the finished frame off after n bytes.
func (f Frame) TruncateTo(n int) Frame {
	return f.edit(func(b []byte) []byte { return b[:min(n, len(b))] })
}

// PadTo fills the finished frame with zeros up to n bytes, as network cards do
// with frames shorter than 60.
func (f Frame) PadTo(n int) Frame {
	return f.edit(func(b []byte) []byte { return append(b, make([]byte, max(0, n-len(b)))...) })
}

// Bytes returns the finished frame. The caller may change it.
func (f Frame) Bytes() []byte {
	b := encode(f.layers)
	for _, edit := range f.edits {
		b = edit(b)
	}
	return b
}

func (f Frame) add(layers ...Layer) Frame {
	f.layers = append(slices.Clip(f.layers), layers...)
	return f
}

func (f Frame) edit(e func([]byte) []byte) Frame {
	f.edits = append(slices.Clip(f.edits), e)
	return f
}

// ip returns the layers from the first IP header on.
func (f Frame) ip() []Layer {
	return f.layers[slices.IndexFunc(f.layers, isIP):]
}

func isIP(l Layer) bool {
	switch l.(type) {
	case IPv4, IPv6:
		return true
	}
	return false
}

// Encode puts layers together to a frame, as they say or compute it.
func Encode(layers Layers) []byte { return encode(layers) }

func encode(layers []Layer) []byte {
	if n := len(layers) - 1; n >= 0 {
		if p, ok := layers[n].(Padding); ok { // no header's length counts it
			return append(encode(layers[:n]), p...)
		}
	}
	var body []byte
	for i, l := range slices.Backward(layers) {
		body = l.encode(layers[:i], layers[i+1:], body)
	}
	return body
}
