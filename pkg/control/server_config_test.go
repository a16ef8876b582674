// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/config"
	"github.com/weirlb/weir/pkg/lb"
)

// sendConfig sends a configuration as a client does.
func sendConfig(agent Agent, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path+"?name=a.yaml", strings.NewReader("agent: {}"))
	r.Header.Set("Content-Type", "application/yaml; charset=utf-8")
	return answer(agent, r)
}

// A configuration that cannot be applied cannot be planned, for the same
// reasons.
func TestConfigErrors(t *testing.T) {
	mistakes := config.Errors{
		{File: "a.yaml", Line: 3, Column: 5, Key: "agent.socket", Value: "x", Message: "is wrong"},
		{File: "a.yaml", Line: 4, Column: 1, Message: "is wrong too"},
	}
	for _, test := range []struct {
		err  error
		code int
		want string
	}{
		{
			fmt.Errorf("applying: %w", mistakes), 422,
			`{"error":"applying: a.yaml:3:5: agent.socket: is wrong\na.yaml:4:1: is wrong too","errors":[` +
				`{"file":"a.yaml","line":3,"column":5,"key":"agent.socket","value":"x","message":"is wrong"},` +
				`{"file":"a.yaml","line":4,"column":1,"message":"is wrong too"}]}`,
		},
		{errors.New("the disk is on fire"), 500, `{"error":"the disk is on fire"}`},
	} {
		for _, path := range []string{"/v1/apply", "/v1/plan"} {
			agent := webAgent()
			agent.applyErr = test.err
			w := sendConfig(agent, path)
			if w.Code != test.code {
				t.Errorf("%s: status %d, want %d", path, w.Code, test.code)
			}
			if diff := cmp.Diff(test.want+"\n", w.Body.String()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", path, diff)
			}
			got := map[string]map[string]string{"/v1/apply": agent.applied, "/v1/plan": agent.planned}[path]["a.yaml"]
			if got != "agent: {}" {
				t.Errorf("%s: the agent got %q", path, got)
			}
		}
	}
}

func TestPlan(t *testing.T) {
	agent := webAgent()
	w := sendConfig(agent, "/v1/plan")
	if want := `{"hash":"","listeners":[]}` + "\n"; w.Code != http.StatusOK || w.Body.String() != want {
		t.Errorf("status %d: %q, want %q", w.Code, w.Body, want)
	}
	agent.planReport = PlanReport{
		Hash: "abc", Warnings: []string{"slow"},
		Listeners: []ListenerPlan{
			{Balancer: "dns", Port: 53, Protocol: lb.UDP, Change: PlanUnchanged, TableSize: 251},
			{
				Balancer: "web", Port: 443, Protocol: lb.TCP, Change: PlanChanged, Added: []string{"web-3"},
				TableSize: 251, Slots: 83, Flows: 17, Moved: 4,
			},
		},
	}
	want := `{"hash":"abc","listeners":[` +
		`{"balancer":"dns","port":53,"protocol":"udp","change":"unchanged","backends_added":[],"backends_removed":[],` +
		`"backends_changed":[],"reasons":[],"table_size":251,"slots_changed":0,"flows":0,"flows_moved":0},` +
		`{"balancer":"web","port":443,"protocol":"tcp","change":"changed","backends_added":["web-3"],"backends_removed":[],` +
		`"backends_changed":[],"reasons":[],"table_size":251,"slots_changed":83,"flows":17,"flows_moved":4}],"warnings":["slow"]}` + "\n"
	if diff := cmp.Diff(want, sendConfig(agent, "/v1/plan").Body.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if agent.applied != nil {
		t.Error("a plan was applied")
	}
}
