// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"testing"
)

// FuzzModel: the balancer's program does with any frame what the model says:
// action, reason, the frame that leaves, and what is counted.
func FuzzModel(f *testing.F) {
	l := fastLab(f)
	for _, group := range packetGroups() {
		for _, test := range group.tests() {
			f.Add(test.in.Bytes())
		}
	}
	for _, good := range goodPackets() {
		f.Add(good.frame.Bytes())
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < minFrame {
			return
		}
		l.checkAsModel(t, frame[:min(len(frame), maxFrame)])
	})
}

// FuzzNode is FuzzModel for the program of a node.
func FuzzNode(f *testing.F) {
	l := openNodeLab(f, countNodeInMemory)
	for _, tests := range [][]nodeTest{decapTests(), nodePassTests(), nodeMalformedTests(), ecnTests()} {
		for _, test := range tests {
			f.Add(test.in.Bytes())
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < minFrame {
			return
		}
		frame = frame[:min(len(frame), maxFrame)]
		l.check(t, frame, nodeModel(frame, vip4, vip6))
	})
}
