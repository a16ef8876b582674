// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

// Package history proves that no change breaks a connection. Its tests live
// through histories: backends come and go, listeners change, an agent is killed
// at any operation, time passes, and meanwhile hundreds of clients send packets
// through the real program. What becomes of each packet is compared with the
// model of pkg/packet/model, and with what the client who sent it knows.
//
// The parts: a plane is the loaded program and its tables; an agent is a
// reconciler on tables that fail when they are told to; a client knows where
// its connection is; a world has all of these, and judges every packet. The
// tests draw what happens to a world, or go through it in order.
//
// All of it is in its tests, and no other package imports it.
package history
