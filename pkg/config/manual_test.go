// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/lb"
)

func manual(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestManualHasEveryKey looks for a row of the manual for every key that the
// parser knows, in the section of its block.
func TestManualHasEveryKey(t *testing.T) {
	blocks := map[string][]field{
		"## `agent`":         agentFields(new(Agent)),
		"### `agent.limits`": limitsFields(new(Limits)),
		"## `balancers`":     balancerFields(new(lb.Balancer)),
		"### `listeners`":    listenerFields(new(lb.Listener)),
		"### `check`":        checkFields(new(lb.Check), new(bool)),
		"### `backends`":     backendFields(new(lb.Backend)),
	}
	text := manual(t)
	for heading, fields := range blocks {
		_, section, found := strings.Cut(text, "\n"+heading+"\n")
		if !found {
			t.Errorf("no section %s", heading)
		}
		section, _, _ = strings.Cut(section, "\n##")
		for _, f := range fields {
			row := regexp.MustCompile("(?m)^\\|[a-z_`, ]*`" + f.name + "`[a-z_`, ]*\\|")
			if !row.MatchString(section) {
				t.Errorf("section %s has no row for %s", heading, f.name)
			}
			if _, unbuilt, _ := strings.Cut(text, "\n## Not built yet\n"); f.unbuilt && !strings.Contains(unbuilt, "`"+f.name+"`") {
				t.Errorf("%s is not among what is not built", f.name)
			}
		}
	}
	for _, f := range rootFields(new(File)) {
		if !strings.Contains(text, "`"+f.name+"`") {
			t.Errorf("nothing about %s", f.name)
		}
	}
}

// TestManualExamples parses what the manual shows.
func TestManualExamples(t *testing.T) {
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(manual(t), -1)
	if len(examples) != 4 {
		t.Fatalf("%d examples, want 4", len(examples))
	}
	for _, example := range examples[:3] {
		if _, err := Parse("manual", []byte(example[1])); err != nil {
			t.Error(err)
		}
	}
	full, err := Parse("manual", []byte(examples[1][1]))
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Interfaces = []string{"eth0"}
	if diff := cmp.Diff(want, full.Agent, compareNetip()...); diff != "" {
		t.Errorf("the manual has other defaults (-want +got):\n%s", diff)
	}
	for _, block := range [][]field{
		agentFields(new(Agent)), limitsFields(new(Limits)), balancerFields(new(lb.Balancer)),
		listenerFields(new(lb.Listener)), checkFields(new(lb.Check), new(bool)), backendFields(new(lb.Backend)),
	} {
		for _, f := range block {
			if !f.unbuilt && !strings.Contains(examples[1][1], " "+f.name+":") {
				t.Errorf("the example with every key lacks %s", f.name)
			}
		}
	}
}

// TestManualMistakes compares the messages in the manual with those of today.
func TestManualMistakes(t *testing.T) {
	text := manual(t)
	for _, name := range []string{"testdata/bad/several.yaml", "testdata/bad/several.txt"} {
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "\n"+string(want)+"```\n") {
			t.Errorf("the manual does not have %s as it is", name)
		}
	}
}
