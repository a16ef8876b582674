// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"encoding"
	"net/netip"
	"testing"
)

// Words of the configuration, each with the value that it must be read as and
// written from.
func TestWords(t *testing.T) {
	for _, test := range []struct {
		word  string
		value encoding.TextMarshaler
		read  func(text []byte) (encoding.TextMarshaler, error)
	}{
		{"tcp", TCP, read[Protocol]},
		{"udp", UDP, read[Protocol]},
		{"dsr", DSR, read[Forward]},
		{"ipip", IPIP, read[Forward]},
		{"maglev", Maglev, read[Algorithm]},
		{"source", Source, read[Algorithm]},
		{"open", AllDownOpen, read[OnAllDown]},
		{"drop", AllDownDrop, read[OnAllDown]},
		{"reject", AllDownReject, read[OnAllDown]},
		{"rebalance", DownRebalance, read[OnDown]},
		{"persist", DownPersist, read[OnDown]},
		{"accept", ModeAccept, read[Mode]},
		{"drain", ModeDrain, read[Mode]},
		{"reject", ModeReject, read[Mode]},
		{"backup", ModeBackup, read[Mode]},
		{"none", CheckNone, read[CheckType]},
		{"connection", CheckConnection, read[CheckType]},
		{"http", CheckHTTP, read[CheckType]},
		{"http_body", CheckHTTPBody, read[CheckType]},
		{"https", CheckHTTPS, read[CheckType]},
		{"https_body", CheckHTTPSBody, read[CheckType]},
		{"unknown", HealthUnknown, read[Health]},
		{"up", HealthUp, read[Health]},
		{"down", HealthDown, read[Health]},
	} {
		if text, err := test.value.MarshalText(); err != nil || string(text) != test.word {
			t.Errorf("%v is written %q, %v; want %q", test.value, text, err, test.word)
		}
		if value, err := test.read([]byte(test.word)); err != nil || value != test.value {
			t.Errorf("%q is read as %v, %v; want %v", test.word, value, err, test.value)
		}
	}
	if _, err := read[Protocol]([]byte("sctp")); err == nil || err.Error() != `"sctp" is not one of tcp, udp` {
		t.Errorf("an unknown word says %v", err)
	}
}

func read[T any, P interface {
	*T
	encoding.TextMarshaler
	encoding.TextUnmarshaler
}](text []byte) (encoding.TextMarshaler, error) {
	var value T
	err := P(&value).UnmarshalText(text)
	return any(value).(encoding.TextMarshaler), err
}

func TestCheckTarget(t *testing.T) {
	b := Backend{Address: netip.MustParseAddrPort("[2001:db8::1]:443")}
	own := Check{Type: CheckConnection}
	other := Check{Type: CheckConnection, Port: 8080}
	if got := own.Target(b).Address; got != b.Address {
		t.Errorf("without a port the target is %s, want the backend's %s", got, b.Address)
	}
	if got := other.Target(b).Address; got.String() != "[2001:db8::1]:8080" {
		t.Errorf("with port 8080 the target is %s", got)
	}
}

func TestStatusRange(t *testing.T) {
	r := StatusRange{Min: 200, Max: 399}
	for code, want := range map[int]bool{199: false, 200: true, 399: true, 400: false} {
		if r.Contains(code) != want {
			t.Errorf("%s contains %d: %v, want %v", r, code, !want, want)
		}
	}
	if s := (StatusRange{Min: 204, Max: 204}).String(); s != "204" {
		t.Errorf("a single code is written %q", s)
	}
}

func TestListenerKey(t *testing.T) {
	b := Balancer{Label: "web"}
	if s := b.Key(&Listener{Port: 443, Protocol: TCP}).String(); s != "web/443/tcp" {
		t.Errorf("key is written %q", s)
	}
}
