// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// answer has the handler of agent answer one request.
func answer(agent Agent, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	newHandler(agent, slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
	return w
}

func TestRows(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/balancers": `[{"label":"web","addresses":["203.0.113.10","2001:db8::10"],"listeners":1,"backends":2,` +
			`"backends_up":1,"forwarded":{"packets":12,"bytes":3456},"dropped":{"packets":1,"bytes":60}}]`,
		"/v1/listeners": `[{"balancer":"web","port":443,"protocol":"tcp","addresses":["203.0.113.10","2001:db8::10"],` +
			`"algorithm":"source","table_size":251,"on_all_down":"drop","slots_unsteady":40,"backends":2,"backends_up":1,` +
			`"forwarded":{"packets":12,"bytes":3456},"dropped":{"packets":1,"bytes":60},` +
			`"tracking":{"new":5,"record":4,"previous":2,"current":1,` +
			`"broken":{"down":0,"drained":0,"rejected":0,"removed":1,"unreachable":0},"overflow":3}}]`,
		"/v1/backends": `[{"balancer":"web","port":443,"protocol":"tcp","label":"web-1","address":"10.0.0.11:8443",` +
			`"forward":"ipip","weight":100,"mode":"accept","configured":"accept","health":"up","since":"2023-11-14T22:15:00Z","slots":251,"table_size":251,` +
			`"forwarded":{"packets":12,"bytes":3456},` +
			`"next_hop":{"interface":"lo","interface_index":1,"source_mac":"02:00:00:00:00:01","dest_mac":"02:00:00:00:00:02","mtu":1500}},` +
			`{"balancer":"web","port":443,"protocol":"tcp","label":"web-2","address":"[2001:db8:1::12]:8443",` +
			`"forward":"ipip","weight":50,"mode":"drain","configured":"accept","health":"down","since":"2023-11-14T22:16:40Z","problem":"connection refused",` +
			`"slots":0,"table_size":251,"forwarded":{"packets":0,"bytes":0}}]`,
		"/v1/status": `{"version":"v1","pid":42,"started":"2023-11-14T22:13:20Z","ready":true,` +
			`"config":{"file":"","hash":"","last_reload":"0001-01-01T00:00:00Z","reload_ok":false},` +
			`"pin_path":"","interfaces":[],` +
			`"tracking":{"slots_unsteady":40,"records_ipv4":0,"records_ipv6":0,"flow_table_size":1024,"embryonic":0,` +
			`"scanned":"0001-01-01T00:00:00Z","scan_ns":0},"modes":[],"problems":[]}`,
	} {
		agent := webAgent()
		first := answer(agent, httptest.NewRequest(http.MethodGet, path, nil))
		if first.Code != http.StatusOK || first.Header().Get("Content-Type") != "application/json" {
			t.Errorf("GET %s: status %d, type %q", path, first.Code, first.Header().Get("Content-Type"))
		}
		if diff := cmp.Diff(want+"\n", first.Body.String()); diff != "" {
			t.Errorf("GET %s (-want +got):\n%s", path, diff)
		}
		second := answer(agent, httptest.NewRequest(http.MethodGet, path, nil))
		if first.Body.String() != second.Body.String() {
			t.Errorf("GET %s: two calls over the same state differ", path)
		}
	}
}

// Without an agent's conditions the tables alone say what is wrong.
func TestBackendRowsWithoutAgent(t *testing.T) {
	rows := BackendRows(webAgent().snapshot, nil)
	if got, want := rows[1].Problem, "its checks fail"; got != want || rows[1].Check != nil || !rows[1].Since.IsZero() {
		t.Errorf("problem %q, check %v, since %v; want %q and nothing else", got, rows[1].Check, rows[1].Since, want)
	}
}

func TestGarbageRequests(t *testing.T) {
	const yaml = "application/yaml"
	apply := func(query, contentType string, body io.Reader) *http.Request {
		return post("/v1/apply"+query, contentType, body)
	}
	for name, test := range map[string]garbage{
		"unknown path": {
			httptest.NewRequest(http.MethodGet, "/v1/nonsense", nil), 404,
			"no such path, there are: /v1/apply, /v1/backends, /v1/balancers, /v1/listeners, /v1/mode, /v1/plan, /v1/status",
		},
		"root": {
			httptest.NewRequest(http.MethodGet, "/", nil), 404,
			"no such path, there are: /v1/apply, /v1/backends, /v1/balancers, /v1/listeners, /v1/mode, /v1/plan, /v1/status",
		},
		"unclean path": {
			httptest.NewRequest(http.MethodGet, "/v1/../v1/status", nil), 404,
			"no such path, there are: /v1/apply, /v1/backends, /v1/balancers, /v1/listeners, /v1/mode, /v1/plan, /v1/status",
		},
		"wrong method": {httptest.NewRequest(http.MethodDelete, "/v1/status", nil), 405, "/v1/status takes GET only"},
		"no method":    {httptest.NewRequest("NONSENSE", "/v1/backends", nil), 405, "/v1/backends takes GET only"},
		"apply by GET": {httptest.NewRequest(http.MethodGet, "/v1/apply?name=a.yaml", nil), 405, "/v1/apply takes POST only"},
		"parameters":   {httptest.NewRequest(http.MethodGet, "/v1/backends?x=1", nil), 400, "/v1/backends takes no parameters"},
		"body": {
			httptest.NewRequest(http.MethodGet, "/v1/backends", strings.NewReader("x")), 400, "/v1/backends takes no body",
		},
		"no name":      {apply("", yaml, strings.NewReader("x")), 400, "want one parameter, name, the file that the configuration comes from"},
		"empty name":   {apply("?name=", yaml, strings.NewReader("x")), 400, "want one parameter, name, the file that the configuration comes from"},
		"two names":    {apply("?name=a&name=b", yaml, strings.NewReader("x")), 400, "want one parameter, name, the file that the configuration comes from"},
		"other key":    {apply("?name=a&force=1", yaml, strings.NewReader("x")), 400, "want one parameter, name, the file that the configuration comes from"},
		"control name": {apply("?name=a%0ab", yaml, strings.NewReader("x")), 400, "name must be the name of a file, at most 4096 bytes without control characters"},
		"binary name":  {apply("?name=%ff", yaml, strings.NewReader("x")), 400, "name must be the name of a file, at most 4096 bytes without control characters"},
		"long name": {
			apply("?name="+strings.Repeat("a", 4097), yaml, strings.NewReader("x")), 400,
			"name must be the name of a file, at most 4096 bytes without control characters",
		},
		"bad query":  {apply("?name=%zz", yaml, strings.NewReader("x")), 400, `the query is malformed: invalid URL escape "%zz"`},
		"no type":    {apply("?name=a", "", strings.NewReader("x")), 415, "the body must be a configuration, Content-Type: application/yaml"},
		"wrong type": {apply("?name=a", "application/json", strings.NewReader("x")), 415, "the body must be a configuration, Content-Type: application/yaml"},
		"too large": {
			apply("?name=a", yaml, strings.NewReader(strings.Repeat("#", MaxConfigSize+1))), 413,
			"a configuration has at most 16 MiB",
		},
		"too large without length": {
			apply("?name=a", yaml, io.MultiReader(strings.NewReader(strings.Repeat("#", MaxConfigSize+1)))), 413,
			"a configuration has at most 16 MiB",
		},
		"cut off": {
			apply("?name=a", yaml, io.MultiReader(strings.NewReader("#"), brokenReader{})), 400,
			"reading the body: connection reset",
		},
	} {
		t.Run(name, test.check)
	}
}

func TestGarbagePlansAndModes(t *testing.T) {
	const yaml, json = "application/yaml", "application/json"
	for name, test := range map[string]garbage{
		"plan by GET":      {httptest.NewRequest(http.MethodGet, "/v1/plan?name=a.yaml", nil), 405, "/v1/plan takes POST only"},
		"plan of no name":  {post("/v1/plan", yaml, strings.NewReader("x")), 400, "want one parameter, name, the file that the configuration comes from"},
		"plan of no type":  {post("/v1/plan?name=a", "", strings.NewReader("x")), 415, "the body must be a configuration, Content-Type: application/yaml"},
		"mode by GET":      {httptest.NewRequest(http.MethodGet, "/v1/mode", nil), 405, "/v1/mode takes POST only"},
		"mode of a name":   {post("/v1/mode?name=a", json, strings.NewReader("{}")), 400, "/v1/mode takes no parameters"},
		"mode of no type":  {post("/v1/mode", "", strings.NewReader("{}")), 415, "the body must be a change of mode, Content-Type: application/json"},
		"mode of a novel":  {post("/v1/mode", json, strings.NewReader(strings.Repeat(" ", maxModeSize+1))), 413, "a change of mode has at most 16 KiB"},
		"mode of nonsense": {post("/v1/mode", json, strings.NewReader("{")), 400, "the body is not JSON: unexpected EOF"},
	} {
		t.Run(name, test.check)
	}
}

func post(path, contentType string, body io.Reader) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, body)
	r.Header.Set("Content-Type", contentType)
	return r
}

// garbage is a request that is not one, and how it is answered.
type garbage struct {
	request *http.Request
	code    int
	message string
}

// check has an agent answer, which must hear nothing of it.
func (g garbage) check(t *testing.T) {
	agent := webAgent()
	w := answer(agent, g.request)
	if got := errorText(t, w); w.Code != g.code || got != g.message {
		t.Errorf("got %d %q, want %d %q", w.Code, got, g.code, g.message)
	}
	if w.Header().Get("Content-Type") != "application/json" || agent.applied != nil || agent.planned != nil || agent.modes != nil {
		t.Errorf("type %q, applied %v, planned %v, modes %v", w.Header().Get("Content-Type"), agent.applied, agent.planned, agent.modes)
	}
}

// errorText returns why a request was not done.
func errorText(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var body errorBody
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%v: %q", err, w.Body)
	}
	return body.Error
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestSnapshotError(t *testing.T) {
	for _, path := range []string{"/v1/balancers", "/v1/listeners", "/v1/backends"} {
		agent := webAgent()
		agent.snapshotErr = errors.New("reading slots: bad file descriptor")
		w := answer(agent, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "bad file descriptor") {
			t.Errorf("GET %s: %d %s", path, w.Code, w.Body)
		}
	}
}
