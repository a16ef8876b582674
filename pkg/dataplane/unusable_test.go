// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package dataplane_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/dataplane"
)

// The words of Go are the names that the compiled program has, all of them.
func TestUnusableWords(t *testing.T) {
	names, err := dataplane.UnusableReasons()
	if err != nil {
		t.Fatal(err)
	}
	words := []string{dataplane.Usable.String()}
	for _, u := range dataplane.Unusables() {
		words = append(words, u.String())
	}
	if diff := cmp.Diff(names, words); diff != "" {
		t.Errorf("(-compiled +words):\n%s", diff)
	}
	for i, word := range words {
		var u dataplane.Unusable
		if err := u.UnmarshalText([]byte(word)); err != nil || int(u) != i {
			t.Errorf("%s is read as %d, %v; want %d", word, u, err, i)
		}
	}
	if got := dataplane.Unusable(200).String(); got != "unknown(200)" {
		t.Errorf("200 is %q", got)
	}
	if err := new(dataplane.Unusable).UnmarshalText([]byte("tired")); err == nil {
		t.Error("tired is accepted")
	}
}
