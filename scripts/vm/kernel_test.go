// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCompareNatural(t *testing.T) {
	names := []string{
		"linux-image-6.12.101+deb12-cloud-amd64",
		"linux-image-6.1.0-10-cloud-amd64",
		"linux-image-6.12.9+deb12-cloud-amd64",
		"linux-image-6.1.0-9-cloud-amd64",
	}
	slices.SortFunc(names, compareNatural)
	want := []string{
		"linux-image-6.1.0-9-cloud-amd64",
		"linux-image-6.1.0-10-cloud-amd64",
		"linux-image-6.12.9+deb12-cloud-amd64",
		"linux-image-6.12.101+deb12-cloud-amd64",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}
