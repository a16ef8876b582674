// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirlb/weir/pkg/lb"
)

// sendMode sends a change of mode as a client does.
func sendMode(agent Agent, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/v1/mode", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return answer(agent, r)
}

const drainWeb2 = `{"balancer":"web","port":443,"protocol":"tcp","backend":"web-2","mode":"drain"}`

func TestMode(t *testing.T) {
	agent := webAgent()
	agent.modeReport = ModeReport{
		Balancer: "web", Port: 443, Protocol: lb.TCP, Backend: "web-2", Address: netip.MustParseAddrPort("10.0.0.12:8443"),
		Before: lb.ModeAccept, Mode: lb.ModeDrain, Configured: lb.ModeAccept, Slots: 83, Warnings: []string{"none is left"},
	}
	w := sendMode(agent, drainWeb2)
	want := `{"balancer":"web","port":443,"protocol":"tcp","backend":"web-2","address":"10.0.0.12:8443",` +
		`"before":"accept","mode":"drain","configured":"accept","slots_changed":83,"warnings":["none is left"]}` + "\n"
	if diff := cmp.Diff(want, w.Body.String()); diff != "" || w.Code != http.StatusOK {
		t.Errorf("status %d (-want +got):\n%s", w.Code, diff)
	}
	change := ModeChange{Balancer: "web", Port: 443, Protocol: lb.TCP, Backend: "web-2", Mode: lb.ModeDrain}
	if diff := cmp.Diff([]ModeChange{change}, agent.modes); diff != "" {
		t.Errorf("the agent got (-want +got):\n%s", diff)
	}
}

func TestModeErrors(t *testing.T) {
	for _, test := range []struct {
		err  error
		code int
		want string
	}{
		{fmt.Errorf("%w web/443/tcp/web-9", ErrNoBackend), 404, `{"error":"no such backend web/443/tcp/web-9","code":"no_backend"}`},
		{errors.New("the disk is on fire"), 500, `{"error":"the disk is on fire"}`},
	} {
		agent := webAgent()
		agent.modeErr = test.err
		w := sendMode(agent, drainWeb2)
		if w.Code != test.code || w.Body.String() != test.want+"\n" {
			t.Errorf("status %d: %s, want %d %s", w.Code, w.Body, test.code, test.want)
		}
	}
}

// What is not a change of mode is refused in words, and nothing is done.
func TestModeMistakes(t *testing.T) {
	with := func(old, changed string) string { return strings.Replace(drainWeb2, old, changed, 1) }
	for body, want := range map[string]string{
		``:        `the body is not JSON: EOF`,
		`drain`:   `the body is not JSON: invalid character 'd' looking for beginning of value`,
		`[]`:      `the body: got array, want an object with balancer, port, protocol, backend and mode`,
		`"drain"`: `the body: got string, want an object with balancer, port, protocol, backend and mode`,
		`{}`:      `balancer is missing: want its label`,
		`null`:    `balancer is missing: want its label`,

		drainWeb2 + drainWeb2: `the body has more than one change of mode`,
		drainWeb2 + `}`:       `the body has more than one change of mode`,

		with(`"backend"`, `"backends"`):     `unknown field "backends": there are balancer, port, protocol, backend and mode`,
		with(`"balancer":"web",`, ``):       `balancer is missing: want its label`,
		with(`"port":443,`, ``):             `port is missing: want a whole number from 1 to 65535`,
		with(`"protocol":"tcp",`, ``):       `protocol is missing: want tcp or udp`,
		with(`"backend":"web-2",`, ``):      `backend is missing: want its label or ADDRESS:PORT`,
		with(`,"mode":"drain"`, ``):         `mode is missing: want accept, drain or reject`,
		with(`"drain"`, `null`):             `mode is missing: want accept, drain or reject`,
		with(`"web-2"`, `""`):               `backend is missing: want its label or ADDRESS:PORT`,
		with(`443`, `0`):                    `port is 0: want a whole number from 1 to 65535`,
		with(`443`, `-1`):                   `port: got number -1, want a whole number from 1 to 65535`,
		with(`443`, `70000`):                `port: got number 70000, want a whole number from 1 to 65535`,
		with(`443`, `443.5`):                `port: got number 443.5, want a whole number from 1 to 65535`,
		with(`443`, `"443"`):                `port: got string, want a whole number from 1 to 65535`,
		with(`"tcp"`, `6`):                  `protocol: got number, want tcp or udp`,
		with(`"tcp"`, `"TCP"`):              `protocol: "TCP" is not one of tcp, udp`,
		with(`"web-2"`, `["web-2"]`):        `backend: got array, want its label or ADDRESS:PORT`,
		with(`"drain"`, `"backup"`):         `mode "backup" cannot be set by command: want accept, drain or reject`,
		with(`"drain"`, `"stop"`):           `mode "stop" cannot be set by command: want accept, drain or reject`,
		with(`"drain"`, `true`):             `mode: got bool, want accept, drain or reject`,
		with(`"web"`, `{"label": "web"}`):   `balancer: got object, want its label`,
		with(`"web"`, `"web","balancer":1`): `balancer: got number, want its label`,
	} {
		agent := webAgent()
		w := sendMode(agent, body)
		if got := errorText(t, w); w.Code != http.StatusBadRequest || got != want {
			t.Errorf("%s\ngot  %d %s\nwant 400 %s", body, w.Code, got, want)
		}
		if agent.modes != nil {
			t.Errorf("%s: the agent got %+v", body, agent.modes)
		}
	}
}
