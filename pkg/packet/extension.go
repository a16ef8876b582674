// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"fmt"
)

// Extension is an IPv6 extension header other than the fragment header.
type Extension struct {
	Kind uint8 // ProtoHopByHop, ProtoRouting, ProtoDestOpts or ProtoAH
	Next uint8
	Body []byte // all after the first two bytes
}

// Fragment is an IPv6 fragment header.
type Fragment struct {
	Next   uint8
	Offset uint16 // in bytes, a multiple of 8
	More   bool
	ID     uint32
}

// HopByHop adds a hop-by-hop options header of 8*units bytes, all padding.
func (f Frame) HopByHop(units int) Frame { return f.add(options(ProtoHopByHop, units)) }

// DestOpts adds a destination options header of 8*units bytes, all padding.
func (f Frame) DestOpts(units int) Frame { return f.add(options(ProtoDestOpts, units)) }

// Routing adds a routing header of 8*units bytes with no segments left.
func (f Frame) Routing(units int) Frame {
	body := make([]byte, 8*units-2)
	body[0] = 253 // an experimental type
	return f.add(Extension{Kind: ProtoRouting, Body: body})
}

// AH adds an authentication header with a check value of 4*words bytes.
func (f Frame) AH(words int) Frame {
	return f.add(Extension{Kind: ProtoAH, Body: make([]byte, 10+4*words)})
}

// Fragment adds an IPv6 fragment header. offset is in bytes, a multiple of 8.
func (f Frame) Fragment(offset uint16, more bool, id uint32) Frame {
	return f.add(Fragment{Offset: offset, More: more, ID: id})
}

// options returns a header that holds a PadN option (RFC 8200, 4.2).
func options(kind uint8, units int) Extension {
	body := make([]byte, 8*units-2)
	if units > 32 {
		panic("packet: one padding option fills 32 units at most")
	}
	body[0], body[1] = 1, uint8(len(body)-2)
	return Extension{Kind: kind, Body: body}
}

func (x Extension) String() string {
	name := map[uint8]string{
		ProtoHopByHop: "hop-by-hop", ProtoRouting: "routing", ProtoDestOpts: "destination options", ProtoAH: "ah",
	}[x.Kind]
	return fmt.Sprintf("%s next %d body %s", name, x.Next, bytesText(x.Body))
}

func (x Fragment) String() string {
	return fmt.Sprintf("fragment next %d at %d more %v id 0x%08x", x.Next, x.Offset, x.More, x.ID)
}

func (Extension) etherType() uint16 { return 0 }
func (Fragment) etherType() uint16  { return 0 }

func (x Extension) protocol() uint8 { return x.Kind }
func (Fragment) protocol() uint8    { return ProtoFragment }

func (x Extension) encode(_, inner []Layer, body []byte) []byte {
	length := (len(x.Body)+2)/8 - 1
	if x.Kind == ProtoAH {
		length = (len(x.Body)+2)/4 - 2
	}
	b := append([]byte{nextProtocol(inner, x.Next), uint8(length)}, x.Body...)
	return append(b, body...)
}

func (x Fragment) encode(_, inner []Layer, body []byte) []byte {
	offset := x.Offset &^ 7
	if x.More {
		offset |= 1
	}
	b := []byte{nextProtocol(inner, x.Next), 0}
	b = binary.BigEndian.AppendUint16(b, offset)
	b = binary.BigEndian.AppendUint32(b, x.ID)
	return append(b, body...)
}
