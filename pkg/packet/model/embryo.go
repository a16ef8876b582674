// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package model

// Embryo is an embryonic record: it says where the SYN of a connection went of
// which no other packet has been seen. It has no flow in it, only a tag.
type Embryo struct {
	Tag     uint64 // 40 bits
	Backend uint16 // of the listener's pool
}

// embryoIndexBits is the size of the embryonic table, as a power of two.
const embryoIndexBits = 18

// embryoPlace returns where the embryonic table has a flow of a listener, and
// under which tag. Flows that share a place throw each other out.
func embryoPlace(flowHash uint64, listener uint32) (index uint32, tag uint64) {
	e := (flowHash ^ uint64(listener)) * 0x9e3779b97f4a7c15
	e ^= e >> 32
	return uint32(e & (1<<embryoIndexBits - 1)), e >> 24
}

// embryo returns the backend of the packet's embryonic record, if it has one.
func (m *moving) embryo() (backend uint16, found bool) {
	index, tag := m.embryoPlace()
	e, found := m.config.Embryonic[index]
	if !found || e.Tag != tag {
		return 0, false
	}
	return e.Backend, true
}

// putEmbryo writes the packet's embryonic record over what has its place.
func (m *moving) putEmbryo(backend uint16) {
	if m.config.Embryonic == nil {
		m.config.Embryonic = make(map[uint32]Embryo)
	}
	index, tag := m.embryoPlace()
	m.config.Embryonic[index] = Embryo{Tag: tag, Backend: backend}
}

// deleteEmbryo removes the packet's embryonic record, if it has one.
func (m *moving) deleteEmbryo() {
	if _, found := m.embryo(); found {
		index, _ := m.embryoPlace()
		delete(m.config.Embryonic, index)
	}
}

func (m *moving) embryoPlace() (index uint32, tag uint64) {
	return embryoPlace(m.config.flowHash(m.packet), m.listener.ID)
}
