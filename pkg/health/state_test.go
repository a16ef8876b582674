// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirlb/weir/pkg/lb"
)

// trace returns the health after each of results, where '+' passed and '-'
// failed, as one letter each: u(p) or d(own).
func trace(start lb.Health, results string, fall, rise int) string {
	s := state{health: start}
	var out strings.Builder
	for _, r := range results {
		s = s.next(r == '+', fall, rise)
		out.WriteByte(s.health.String()[0])
	}
	return out.String()
}

func TestStateNext(t *testing.T) {
	tests := []struct {
		name       string
		start      lb.Health
		fall, rise int
		results    string
		want       string
	}{
		{"the first success decides", lb.HealthUnknown, 3, 3, "+", "u"},
		{"the first failure decides", lb.HealthUnknown, 3, 3, "-", "d"},
		{"fall failures in a row take down", lb.HealthUnknown, 3, 2, "+---", "uuud"},
		{"a success between begins the row anew", lb.HealthUnknown, 3, 2, "+--+---", "uuuuuud"},
		{"rise successes in a row bring back", lb.HealthUnknown, 2, 3, "-+++", "dddu"},
		{"a failure between begins the row anew", lb.HealthUnknown, 2, 3, "-++-+++", "ddddddu"},
		{"one is enough if so configured", lb.HealthUnknown, 1, 1, "+-+-", "udud"},
		{"known as up, the first failure does not decide", lb.HealthUp, 2, 2, "--", "ud"},
		{"known as down, the first success does not decide", lb.HealthDown, 2, 2, "++", "du"},
		{"no fall and no rise are as one", lb.HealthUnknown, 0, 0, "+-+", "udu"},
		{"up and down and up", lb.HealthUnknown, 2, 2, "+--++--", "uudduud"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := trace(tt.start, tt.results, tt.fall, tt.rise); got != tt.want {
				t.Errorf("health after each of %q:\n got %s\nwant %s", tt.results, got, tt.want)
			}
		})
	}
}

// TestStateProperty compares next with the rule said another way: health turns
// exactly when the last fall (or rise) results since it turned, all of them,
// speak against it.
func TestStateProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fall := rapid.IntRange(1, 5).Draw(t, "fall")
		rise := rapid.IntRange(1, 5).Draw(t, "rise")
		start := rapid.SampledFrom([]lb.Health{lb.HealthUnknown, lb.HealthUp, lb.HealthDown}).Draw(t, "start")
		results := rapid.StringOfN(rapid.SampledFrom([]rune("+-")), 0, 60, -1).Draw(t, "results")

		want, health, turned := "", start, 0
		for i := range results {
			since := results[turned : i+1]
			switch {
			case health != lb.HealthUp && (health == lb.HealthUnknown && since == "+" ||
				health == lb.HealthDown && strings.HasSuffix(since, strings.Repeat("+", rise))):
				health, turned = lb.HealthUp, i+1
			case health != lb.HealthDown && (health == lb.HealthUnknown && since == "-" ||
				health == lb.HealthUp && strings.HasSuffix(since, strings.Repeat("-", fall))):
				health, turned = lb.HealthDown, i+1
			}
			want += health.String()[:1]
		}
		if got := trace(start, results, fall, rise); got != want {
			t.Fatalf("health after each of %q from %s, fall %d, rise %d:\n got %s\nwant %s",
				results, start, fall, rise, got, want)
		}
	})
}
