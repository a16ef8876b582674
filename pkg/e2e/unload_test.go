// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/control"
)

// TestUnload takes the data plane away, which an agent that runs prevents.
func TestUnload(t *testing.T) {
	l := newServingLab(t, 2)
	a := l.newAgent(agentOptions{keys: []string{"limits: {listeners: 8, backends: 32, slots: 2048}"}})
	a.configure(l.simple())
	unload := func() result {
		return run(t, a.host.Namespace, nil, weirBinary(t), "unload", "--config", a.file)
	}
	unload().fails(t, 1, "no data plane is loaded under "+a.pins)
	a.start()
	a.unchanged(t, func() { unload().fails(t, 1, a.pins, "in use", weirBinary(t)+" agent") })
	l.awaitAnswers(httpClient(l.client), vip4(1), "web-1", "web-2")
	a.stop()
	l.awaitAnswers(httpClient(l.client), vip6(1), "web-1", "web-2")

	// What is pinned cannot be resized; the way out is to unload.
	small := a.yaml(l.simple())
	l.write("weir.yaml", strings.Replace(small, "slots: 2048", "slots: 4096", 1))
	a.runs(nil).fails(t, 1, "agent.limits", "weir unload --pin-path "+a.pins)
	l.awaitAnswers(httpClient(l.client), vip4(1), "web-1", "web-2")

	if out := unload().succeeds(t); !strings.Contains(out, a.pins) {
		t.Errorf("weir unload says %q", out)
	}
	a.leavesNothing(t)
	if _, err := os.Stat(a.pins); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", a.pins, err)
	}
	_ = l.nobodyAnswers(vip4(1)) // why not is the host's to say
	unload().fails(t, 1, "no data plane is loaded under "+a.pins)
	a.weir("backends").fails(t, 1, "no agent answers", "no data plane is loaded")

	a.start()
	l.awaitAnswers(httpClient(l.client), vip4(1), "web-1", "web-2")
}

// TestListingsWithoutAgent compares what the pinned maps show with what the
// agent shows.
func TestListingsWithoutAgent(t *testing.T) {
	l := newServingLab(t, 3)
	ghost := `{label: ghost, address: "192.0.2.99:7"}` // which nobody is
	a := l.startAgent(
		balancerYAML("web", []netip.Addr{vip4(1), vip6(1)},
			listenerYAML(webPort, "ipip", []string{fastCheck, smallTable, "algorithm: source", "on_all_down: drop"}, l.allYAML(6, webPort)...),
			listenerYAML(echoPort, "ipip", []string{noCheck, smallTable}, append(l.allYAML(4, echoPort), ghost)...)),
		balancerYAML("near", []netip.Addr{vip4(2)},
			listenerYAML(webPort, "dsr", []string{noCheck, smallTable}, l.allYAML(4, webPort)...)))
	l.awaitAnswers(httpClient(l.client), vip4(2), "web-1", "web-2", "web-3")
	l.backends[1].stopServing()
	a.awaitBackends("web", func(r control.BackendRow) error {
		if int(r.Port) == webPort && r.Label == "web-2" && r.Slots > 0 {
			return errors.New("want none")
		}
		return nil
	})

	with := a.listings()
	if again := a.listings(); !cmp.Equal(with, again) {
		t.Errorf("two calls show different things:\n%s", cmp.Diff(with, again))
	}
	before := decode[report](a, "status")
	a.kill()
	if diff := cmp.Diff(with, a.listings()); diff != "" {
		t.Errorf("without an agent the listings are different (-with +without):\n%s", diff)
	}

	r := a.weir("status", "-o", "json")
	r.fails(t, 1, "no agent answers on "+a.socket)
	if !strings.Contains(r.stdout, `"agent": null`) || !strings.Contains(r.stdout, `"mode": "native"`) {
		t.Errorf("without an agent weir status shows:\n%s", r.stdout)
	}
	if len(before.Attached) != 1 || len(before.Balancers) != 2 {
		t.Errorf("with an agent weir status shows %+v", before)
	}
	for _, command := range []string{"backends", "listeners", "balancers"} {
		if r := a.weir(command); r.code != 0 || !strings.Contains(r.stderr, "no agent") {
			t.Errorf("weir %s without an agent: exit %d, %q", command, r.code, r.stderr)
		}
	}
}

// listings returns what the commands list that ask the agent if there is one,
// without what only an agent knows.
func (a *agent) listings() map[string]string {
	a.t.Helper()
	rows := decode[[]control.BackendRow](a, "backends")
	var backends []string
	for _, r := range rows {
		r.Since, r.Problem, r.Check = time.Time{}, "", nil
		text, err := json.Marshal(r)
		if err != nil {
			a.t.Fatal(err)
		}
		backends = append(backends, string(text))
	}
	texts := map[string]string{"backends": strings.Join(backends, "\n")}
	for _, command := range []string{"listeners", "balancers"} {
		for _, format := range []string{"table", "json", "yaml"} {
			texts[command+" as "+format] = a.weir(command, "-o", format).succeeds(a.t)
		}
	}
	return texts
}
