package bmc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// box is a machine that remembers its power.
type box struct {
	mu     sync.Mutex
	on     bool
	broken error
}

func (b *box) On(context.Context) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.on, b.broken
}

func (b *box) set(on bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.on = on
	return b.broken
}

func (b *box) PowerOn(context.Context) error  { return b.set(true) }
func (b *box) PowerOff(context.Context) error { return b.set(false) }

// bench is a box with its power control on a TLS server, and a plain client.
type bench struct {
	*testing.T
	box    *box
	faults Faults
	server *httptest.Server
	token  string
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, box: &box{on: true}}
	control := New(Config{Name: "server1", User: "admin", Password: "secret", Machine: b.box,
		Faults: func() Faults { return b.faults }})
	b.server = httptest.NewTLSServer(control)
	t.Cleanup(func() { b.server.Close(); control.Close() })
	return b
}

// ask sends one request and returns code, body and header.
func (b *bench) ask(method, path string, body any, change ...func(*http.Request)) (int, object, http.Header) {
	b.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		b.Fatal(err)
	}
	request, err := http.NewRequestWithContext(b.Context(), method, b.server.URL+path, bytes.NewReader(data))
	if err != nil {
		b.Fatal(err)
	}
	if b.token != "" {
		request.Header.Set("X-Auth-Token", b.token)
	} else {
		request.SetBasicAuth("admin", "secret")
	}
	for _, c := range change {
		c(request)
	}
	response, err := b.server.Client().Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err = io.ReadAll(response.Body)
	if err != nil {
		b.Fatal(err)
	}
	got := object{}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &got); err != nil {
			b.Fatalf("%s %s: %v: %s", method, path, err, data)
		}
	}
	return response.StatusCode, got, response.Header
}

func (b *bench) reset(kind string) int {
	b.Helper()
	code, _, _ := b.ask("POST", resetPath, object{"ResetType": kind})
	return code
}

func (b *bench) state() string {
	b.Helper()
	_, body, _ := b.ask("GET", systemPath, nil)
	state, _ := body["PowerState"].(string)
	return state
}

func (b *bench) want(what string, got, want any) {
	b.Helper()
	if got != want {
		b.Errorf("%s: %v, want %v", what, got, want)
	}
}

func (b *bench) really(want bool) {
	b.Helper()
	on, _ := b.box.On(b.Context())
	b.want("the box is really on", on, want)
}

// A client that knows nothing but the root finds its way.
func TestFromTheRootToTheSystem(t *testing.T) {
	b := newBench(t)
	follow := func(body object, names ...string) object {
		for _, name := range names {
			next, ok := body[name].(map[string]any)
			if !ok {
				t.Fatalf("no %s in %v", name, body)
			}
			body = next
		}
		return body
	}
	nobody := func(r *http.Request) { r.Header.Del("Authorization") }
	code, root, _ := b.ask("GET", rootPath, nil, nobody)
	b.want("root", code, http.StatusOK)
	path, _ := follow(root, "Systems")["@odata.id"].(string)
	code, systems, _ := b.ask("GET", path, nil)
	b.want("systems", code, http.StatusOK)
	members, ok := systems["Members"].([]any)
	if !ok || len(members) != 1 {
		t.Fatalf("systems are %v", systems)
	}
	first, _ := members[0].(map[string]any)
	path, _ = first["@odata.id"].(string)
	code, system, _ := b.ask("GET", path, nil)
	b.want("system", code, http.StatusOK)
	target, _ := follow(system, "Actions", "#ComputerSystem.Reset")["target"].(string)
	code, _, _ = b.ask("POST", target, object{"ResetType": "ForceOff"})
	b.want("reset", code, http.StatusNoContent)
	b.want("state", b.state(), "Off")
	b.really(false)
}

func TestPower(t *testing.T) {
	b := newBench(t)
	b.want("state", b.state(), "On")
	b.want("off", b.reset("ForceOff"), http.StatusNoContent)
	b.want("off again", b.reset("ForceOff"), http.StatusNoContent)
	b.want("state", b.state(), "Off")
	b.want("on", b.reset("On"), http.StatusNoContent)
	b.want("state", b.state(), "On")
	b.want("restart", b.reset("ForceRestart"), http.StatusNoContent)
	for deadline := time.Now().Add(10 * time.Second); b.state() != "On" && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	b.really(true)
	b.want("nonsense", b.reset("Explode"), http.StatusBadRequest)
	b.box.broken = errors.New("no engine")
	b.want("broken box", b.reset("ForceOff"), http.StatusInternalServerError)
	code, _, _ := b.ask("GET", systemPath, nil)
	b.want("state of a broken box", code, http.StatusInternalServerError)
}

func TestFailing(t *testing.T) {
	b := newBench(t)
	b.faults.Fail = true
	code, body, _ := b.ask("POST", resetPath, object{"ResetType": "ForceOff"})
	b.want("off", code, http.StatusInternalServerError)
	if _, ok := body["error"].(map[string]any); !ok {
		t.Errorf("the refusal is no Redfish error: %v", body)
	}
	b.really(true)
}

// It says off, and the box stays on; being told to switch it on, or being mended, ends
// the lie.
func TestLying(t *testing.T) {
	b := newBench(t)
	b.faults.Lie = true
	b.want("off", b.reset("ForceOff"), http.StatusNoContent)
	b.want("claimed state", b.state(), "Off")
	b.really(true)
	b.want("on", b.reset("On"), http.StatusNoContent)
	b.want("state", b.state(), "On")
	b.want("off", b.reset("ForceOff"), http.StatusNoContent)
	b.want("claimed state", b.state(), "Off")
	b.faults.Lie = false
	b.want("state of a mended one", b.state(), "On")
	b.want("off", b.reset("ForceOff"), http.StatusNoContent)
	b.really(false)
	b.want("words", Faults{Lie: true, Slow: time.Second}.String(), "lies, slow by 1s")
}

func TestSlow(t *testing.T) {
	b := newBench(t)
	b.faults.Slow = 100 * time.Millisecond
	begun := time.Now()
	b.want("state", b.state(), "On")
	if took := time.Since(begun); took < b.faults.Slow {
		t.Errorf("an answer after %v, want at least %v", took, b.faults.Slow)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	b := newBench(t)
	for name, change := range map[string]func(*http.Request){
		"nobody":         func(r *http.Request) { r.Header.Del("Authorization") },
		"wrong password": func(r *http.Request) { r.SetBasicAuth("admin", "public") },
		"wrong user":     func(r *http.Request) { r.SetBasicAuth("root", "secret") },
		"wrong token":    func(r *http.Request) { r.Header.Del("Authorization"); r.Header.Set("X-Auth-Token", "x") },
	} {
		for path, method := range map[string]string{systemPath: "GET", resetPath: "POST", systemsPath: "GET", sessionsPath + "/1": "DELETE"} {
			code, _, _ := b.ask(method, path, object{"ResetType": "ForceOff"}, change)
			b.want(name+" "+path, code, http.StatusUnauthorized)
		}
	}
	b.really(true)
}

func TestSessionAndETag(t *testing.T) {
	b := newBench(t)
	code, _, header := b.ask("POST", sessionsPath, object{"UserName": "admin", "Password": "secret"})
	b.want("login", code, http.StatusCreated)
	b.token = header.Get("X-Auth-Token")
	session := header.Get("Location")
	b.want("state", b.state(), "On")
	_, _, header = b.ask("GET", systemPath, nil)
	code, _, _ = b.ask("GET", systemPath, nil, func(r *http.Request) { r.Header.Set("If-None-Match", header.Get("ETag")) })
	b.want("unchanged", code, http.StatusNotModified)
	b.reset("ForceOff")
	code, _, _ = b.ask("GET", systemPath, nil, func(r *http.Request) { r.Header.Set("If-None-Match", header.Get("ETag")) })
	b.want("changed", code, http.StatusOK)
	code, _, _ = b.ask("DELETE", session, nil)
	b.want("logout", code, http.StatusNoContent)
	code, _, _ = b.ask("GET", systemPath, nil)
	b.want("after logout", code, http.StatusUnauthorized)
	b.token = ""
	code, _, _ = b.ask("POST", sessionsPath, object{"UserName": "admin", "Password": "public"})
	b.want("login with a wrong password", code, http.StatusUnauthorized)
}
