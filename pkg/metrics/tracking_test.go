// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/dataplane"
	"github.com/weirlb/weir/pkg/lb"
)

func listenerState(forwarded, dropped uint64, tracking dataplane.TrackingTraffic) dataplane.ListenerState {
	return dataplane.ListenerState{
		ListenerKey: lb.ListenerKey{Balancer: "web", Port: 443, Protocol: lb.TCP},
		Forwarded:   dataplane.Traffic{Packets: forwarded}, Dropped: dataplane.Traffic{Packets: dropped}, Tracking: tracking,
	}
}

func TestSteadyPackets(t *testing.T) {
	var p steadyPackets
	for _, step := range []struct {
		what  string
		state dataplane.ListenerState
		want  uint64
	}{
		{"only steady slots", listenerState(90, 10, dataplane.TrackingTraffic{}), 100},
		{"others too", listenerState(100, 11, dataplane.TrackingTraffic{New: 1, Record: 2, Previous: 3, Current: 4}), 101},
		{"counted between the two readings", listenerState(100, 11, dataplane.TrackingTraffic{Record: 20}), 101},
		{"all others", listenerState(130, 11, dataplane.TrackingTraffic{Record: 30}), 111},
		{"removed and back", listenerState(5, 0, dataplane.TrackingTraffic{Record: 2}), 3},
		{"more others than all", listenerState(5, 0, dataplane.TrackingTraffic{Record: 9}), 3},
	} {
		if got := p.update([]dataplane.ListenerState{step.state})[0]; got != step.want {
			t.Errorf("%s: %d, want %d", step.what, got, step.want)
		}
	}
	if got := new(steadyPackets).update([]dataplane.ListenerState{listenerState(1, 0, dataplane.TrackingTraffic{New: 2})})[0]; got != 0 {
		t.Errorf("more others than all: %d, want 0", got)
	}
}

// A counter never goes down, however the readings are torn, and it misses none
// of the steady packets in the end.
func TestSteadyPacketsNeverGoDown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p steadyPackets
		var all, others, last uint64
		packets := rapid.Uint64Range(0, 1000)
		for range rapid.IntRange(1, 20).Draw(t, "scrapes") {
			all += packets.Draw(t, "steady")
			between := packets.Draw(t, "others")
			all, others = all+between, others+between
			torn := packets.Draw(t, "counted between the two readings")
			got := p.update([]dataplane.ListenerState{listenerState(all, 0, dataplane.TrackingTraffic{Record: others + torn})})[0]
			if got < last {
				t.Fatalf("%d after %d", got, last)
			}
			last = got
			all, others = all+torn, others+torn
		}
		if got := p.update([]dataplane.ListenerState{listenerState(all, 0, dataplane.TrackingTraffic{Record: others})})[0]; got != all-others {
			t.Fatalf("%d in the end, want %d", got, all-others)
		}
	})
}
