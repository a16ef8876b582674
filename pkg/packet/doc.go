// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package packet makes and reads Ethernet frames for tests. A Frame is put
// together layer by layer and comes out with right lengths and checksums:
//
//	syn := packet.Eth(router, balancer).IP(client, vip).TCP(40000, 443, packet.SYN)
//	frame := syn.Text("hello").Bytes()
//
// Frames are values: every method returns a new one, so that test cases can be
// mutations of one good packet. Decode reads a frame and checks every length
// and checksum in it; Diff shows how two frames differ, in words.
//
// It is for tests and for nothing else. It imports the standard library and
// pkg/lb.
package packet
