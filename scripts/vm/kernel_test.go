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

func TestArchiveSources(t *testing.T) {
	const option = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
	for addresses, want := range map[string]string{
		"": "",
		"http://mirror.example/ubuntu/\nhttp://ppa.example/someone/debianish\n": "",
		"http://mirror.example/debian/\nhttp://mirror.example/debian\nhttps://safe.example/debian-security/\n": option +
			"http://mirror.example/debian bookworm main\n" + option + "https://safe.example/debian-security bookworm-security main\n",
	} {
		if diff := cmp.Diff(want, archiveSources(addresses)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", addresses, diff)
		}
	}
}
