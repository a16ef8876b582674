// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/lb"
	"github.com/weirlb/weir/pkg/packet"
	"github.com/weirlb/weir/pkg/packet/model"
)

// labClock is what the clock of a lab says, which stands: nanoseconds since
// boot. It fits an instruction.
const labClock = 1_900_000_000

// plenty of answers is more than a test asks for. As the clock stands, none
// are added, and no bound is applied.
const plenty = 1 << 62

// What bpf/lib/limits.h has.
const (
	rejectBurst    = 10_000
	rejectInterval = uint64(100 * time.Microsecond)
)

// stopClock makes a program find labClock whenever it asks for the time.
func stopClock(t testing.TB, spec *ebpf.CollectionSpec) {
	t.Helper()
	replaceCalls(t, spec.Programs[programName], asm.FnKtimeGetCoarseNs, asm.Mov.Imm(asm.R0, labClock))
}

// setBuckets says of all CPUs what they may still answer.
func (t *Tables) setBuckets(b weirRejectBucket) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return err
	}
	return t.maps.RejectBucket.Put(uint32(0), slices.Repeat([]weirRejectBucket{b}, cpus))
}

// spentLab is a standardLab whose CPUs have answered too much just now.
func spentLab(t testing.TB) *lab {
	t.Helper()
	l := standardLab(t)
	if err := l.tables.setBuckets(weirRejectBucket{Filled: labClock}); err != nil {
		t.Fatal(err)
	}
	l.config.AnswersSpent = true
	return l
}

// rejectLimitTests: what would be answered is dropped, and nothing else changes.
func rejectLimitTests() (tests []packetTest) {
	for _, f := range families() {
		limited := func(p lb.Protocol) verdict { return dropsOf("drop_reject_limit", f.vip, portReject, p) }
		tcp := func(port uint16, flags packet.TCPFlags) packet.Frame { return f.in.TCP(clientPort, port, flags) }
		tests = append(tests,
			packetTest{f.name + ", syn", tcp(portReject, packet.SYN), limited(lb.TCP)},
			packetTest{f.name + ", data", tcp(portReject, packet.ACK).Text("data").PadTo(80), limited(lb.TCP)},
			packetTest{f.name + ", udp", f.in.UDP(clientPort, portReject).Text("data"), limited(lb.UDP)},
			packetTest{f.name + ", rst", tcp(portReject, packet.RST), dropsOf("drop_no_backend", f.vip, portReject, lb.TCP)},
			packetTest{f.name + ", on_all_down: drop", tcp(portNone, packet.SYN), dropsOf("drop_no_backend", f.vip, portNone, lb.TCP)},
		)
	}
	return tests
}

// TestRejectBucket: a token for each interval, up to the burst, and one less for
// each answer.
func TestRejectBucket(t *testing.T) {
	_, use := cpus(t)
	use(0)
	l := standardLab(t)
	bucket := func(answers, ago uint64) weirRejectBucket {
		return weirRejectBucket{Answers: answers, Filled: labClock - ago}
	}
	for _, test := range []struct {
		name          string
		before, after weirRejectBucket
		answered      bool
	}{
		{"empty", bucket(0, 0), bucket(0, 0), false},
		{"just not one", bucket(0, rejectInterval-1), bucket(0, rejectInterval-1), false},
		{"just one", bucket(0, rejectInterval), bucket(0, 0), true},
		{"one and a rest", bucket(0, 2*rejectInterval-1), bucket(0, rejectInterval-1), true},
		{"two and a half", bucket(0, 5*rejectInterval/2), bucket(1, rejectInterval/2), true},
		{"the last", bucket(1, 0), bucket(0, 0), true},
		{"two of many", bucket(700, rejectInterval), bucket(700, 0), true},
		{"full", bucket(rejectBurst, 0), bucket(rejectBurst-1, 0), true},
		{"full for long", bucket(rejectBurst, labClock/2), bucket(rejectBurst-1, 0), true},
		{"nearly full", bucket(0, rejectInterval*(rejectBurst-1)), bucket(rejectBurst-2, 0), true},
		{"filled", bucket(0, rejectInterval*rejectBurst), bucket(rejectBurst-1, 0), true},
		{"filled over", bucket(0, rejectInterval*(rejectBurst+1)), bucket(rejectBurst-1, 0), true},
		{"never used", weirRejectBucket{}, bucket(rejectBurst-1, 0), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, in := range []packet.Frame{
				from4.TCP(clientPort, portReject, packet.SYN), from6.UDP(clientPort, portReject),
			} {
				l.config.AnswersSpent = !test.answered
				l.checkTokens(t, in, test.before, test.after)
			}
			for _, in := range []packet.Frame{
				from4.TCP(clientPort, portReject, packet.RST), from4.TCP(clientPort, portIPIP4, packet.SYN),
				from6.UDP(clientPort, portNone), from6.EchoRequest(1, 1),
			} {
				l.checkTokens(t, in, test.before, test.before)
			}
		})
	}
}

// checkTokens sends a frame and compares what it leaves in the buckets: those of
// other CPUs stay as they were.
func (l *lab) checkTokens(t *testing.T, in packet.Frame, before, after weirRejectBucket) {
	t.Helper()
	if err := l.tables.setBuckets(before); err != nil {
		t.Fatal(err)
	}
	l.checkAsModel(t, in.Bytes())
	var got []weirRejectBucket
	if err := l.tables.maps.RejectBucket.Lookup(uint32(0), &got); err != nil {
		t.Fatal(err)
	}
	want := slices.Repeat([]weirRejectBucket{before}, len(got))
	if i := slices.IndexFunc(got, func(b weirRejectBucket) bool { return b != before }); i >= 0 {
		want[i] = after
	} else if before != after {
		t.Errorf("no bucket has changed from %+v to %+v", before, after)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("buckets by CPU (-want +got):\n%s", diff)
	}
}

// TestRejectClock: the bucket goes by a clock of the kernel, and a flood has no
// more answers than are due.
func TestRejectClock(t *testing.T) {
	_, use := cpus(t)
	use(0)
	o := testOptions(t)
	d := openTest(t, o)
	defer closeTest(t, d)
	key := ListenerKey{Address: vip4, Port: portReject, Protocol: lb.TCP}
	entry := Listener{ID: 1, Balancer: 1, TableSize: 7, PoolSize: 1, OnAllDown: lb.AllDownReject}
	if err := d.Tables().PutListener(key, entry); err != nil {
		t.Fatal(err)
	}
	start := coarseClock(t)
	if err := d.Tables().setBuckets(weirRejectBucket{Filled: start}); err != nil {
		t.Fatal(err)
	}
	frame, out := from4.TCP(clientPort, portReject, packet.SYN).Bytes(), make([]byte, maxFrame)
	answers, drops := uint64(0), uint64(0)
	for answers == 0 || coarseClock(t) < start+uint64(50*time.Millisecond) {
		action, _, err := testRun(d.Program(), frame, out)
		if err != nil {
			t.Fatal(err)
		}
		switch model.Action(action) {
		case model.TX:
			answers++
		case model.Drop:
			drops++
		default:
			t.Fatalf("action %d", action)
		}
	}
	if most := (coarseClock(t) - start) / rejectInterval; answers > most {
		t.Errorf("%d answers, %d are due", answers, most)
	}
	reasons, err := d.Tables().ReasonCounters()
	if err != nil {
		t.Fatal(err)
	}
	got := []uint64{reasons[weirReasonREASON_RESET].Packets, reasons[weirReasonREASON_DROP_REJECT_LIMIT].Packets}
	if diff := cmp.Diff([]uint64{answers, drops}, got); diff != "" {
		t.Errorf("counted (-sent +got):\n%s", diff)
	}
	buckets, err := d.Tables().RejectBuckets()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range buckets {
		if b.Filled < time.Duration(start) || b.Filled > time.Duration(coarseClock(t)) || b.Answers > rejectBurst {
			t.Errorf("bucket %+v of a run that began at %s", b, time.Duration(start))
		}
	}
	if len(buckets) == 0 {
		t.Error("no CPU has answered")
	}
}

// coarseClock is the clock that the program goes by: nanoseconds since boot.
func coarseClock(t *testing.T) uint64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &now); err != nil {
		t.Fatal(err)
	}
	return uint64(now.Nano())
}

// TestRejectAfterUpgrade: the maps of a version that could not answer are taken
// over, and the bucket is made beside them.
func TestRejectAfterUpgrade(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	key := ListenerKey{Address: vip4, Port: portReject, Protocol: lb.TCP}
	entry := Listener{ID: 1, Balancer: 1, TableSize: 7, PoolSize: 1, OnAllDown: lb.AllDownReject}
	if err := d.Tables().PutListener(key, entry); err != nil {
		t.Fatal(err)
	}
	closeTest(t, d)
	if err := os.Remove(filepath.Join(mapsDir(o.PinPath), weirMapRejectBucket)); err != nil {
		t.Fatal(err)
	}
	d = openTest(t, o)
	defer closeTest(t, d)
	if d.New() {
		t.Error("the data plane was not taken over")
	}
	frame, out := from4.TCP(clientPort, portReject, packet.SYN).Bytes(), make([]byte, maxFrame)
	if action, _, err := testRun(d.Program(), frame, out); err != nil || model.Action(action) != model.TX {
		t.Errorf("action %d, %v; want that the listener still rejects", action, err)
	}
	tables, err := OpenTables(o.PinPath)
	if err != nil {
		t.Fatal(err)
	}
	defer tables.Close()
	if buckets, err := tables.RejectBuckets(); err != nil || len(buckets) != 1 || buckets[0].Answers != rejectBurst-1 {
		t.Errorf("buckets %+v, %v; want one with an answer less than full", buckets, err)
	}
}

// TestRejectNeedsTheKnob: a program that was loaded without it drops.
func TestRejectNeedsTheKnob(t *testing.T) {
	knobs := labKnobs()
	knobs.Reject = false
	l := labWith(t, knobs)
	for _, f := range families() {
		for _, test := range []packetTest{
			{"tcp", f.in.TCP(clientPort, portReject, packet.SYN), dropsOf("drop_no_backend", f.vip, portReject, lb.TCP)},
			{"udp", f.in.UDP(clientPort, portReject), dropsOf("drop_no_backend", f.vip, portReject, lb.UDP)},
		} {
			t.Run(f.name+", "+test.name, func(t *testing.T) {
				frame := test.in.Bytes()
				l.check(t, frame, test.want.result(l, frame))
			})
		}
	}
}

// TestRejectWithBackends: a listener that rejects forwards as any other as long
// as it has a backend, and is silent while the way there is unknown.
func TestRejectWithBackends(t *testing.T) {
	l := standardLab(t)
	entries, err := l.tables.Listeners()
	if err != nil {
		t.Fatal(err)
	}
	for key, entry := range entries {
		if key.Port == portIPIP4 || key.Port == portNoHop {
			l.reject(t, []netip.Addr{key.Address}, key.Port, key.Protocol, entry)
		}
	}
	w := ways()[0]
	for _, f := range families() {
		in := f.in.TCP(clientPort, w.port, packet.SYN)
		forwarded := w.forwards(f.vip, lb.TCP, w.leaves(in, hashOf(f.client, f.vip, w.port, lb.TCP), outerDF(f, w)...))
		for _, test := range []packetTest{
			{"backend", in, forwarded},
			{"no next hop", f.in.TCP(clientPort, portNoHop, packet.SYN), dropsOf("drop_no_nexthop", f.vip, portNoHop, lb.TCP)},
		} {
			t.Run(fmt.Sprintf("%s, %s", f.name, test.name), func(t *testing.T) { l.checkPacket(t, test) })
		}
	}
}
