package redfish

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"gemel/node/fencing"
)

// controller is a Redfish service with its systems' power states by id.
type controller struct {
	mu     sync.Mutex
	states map[string]string
	stuck  bool // accepts orders and does nothing
}

func (c *controller) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	root := strings.TrimSuffix(r.URL.Path, "/") == "/redfish/v1" // the standard lets anybody read it
	if user, password, _ := r.BasicAuth(); !root && (user != "admin" || password != "secret") {
		http.Error(w, `{"error":{"message":"bad credentials"}}`, http.StatusUnauthorized)
		return
	}
	path := strings.TrimSuffix(r.URL.Path, "/")
	switch id, order, _ := strings.Cut(strings.TrimPrefix(path, "/redfish/v1/Systems/"), "/"); {
	case path == "/redfish/v1":
		reply(w, map[string]any{"@odata.id": "/redfish/v1", "Systems": link("/redfish/v1/Systems")})
	case path == "/redfish/v1/Systems":
		members := []any{}
		for id := range c.states {
			members = append(members, link("/redfish/v1/Systems/"+id))
		}
		reply(w, map[string]any{"@odata.id": path, "Members": members, "Members@odata.count": len(members)})
	case order == "" && c.states[id] != "":
		reply(w, map[string]any{"@odata.id": path, "Id": id, "PowerState": c.states[id],
			"Actions": map[string]any{"#ComputerSystem.Reset": map[string]any{
				"target": path + "/Actions/ComputerSystem.Reset"}}})
	case order == "Actions/ComputerSystem.Reset" && r.Method == http.MethodPost:
		c.reset(w, r, id)
	default:
		http.NotFound(w, r)
	}
}

func (c *controller) reset(w http.ResponseWriter, r *http.Request, id string) {
	var body struct{ ResetType string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if state := map[string]string{"ForceOff": "Off", "On": "On"}[body.ResetType]; state != "" && !c.stuck {
		c.states[id] = state
	}
	w.WriteHeader(http.StatusNoContent)
}

func link(path string) map[string]any { return map[string]any{"@odata.id": path} }

func reply(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

func start(t *testing.T, c *controller) (*httptest.Server, Options) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(c.serve))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return server, Options{Endpoint: server.URL, User: "admin", Password: "secret", CA: ca}
}

func device(t *testing.T, opt Options) *Device {
	t.Helper()
	d, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOffAndOn(t *testing.T) {
	_, opt := start(t, &controller{states: map[string]string{"1": "On"}})
	d := device(t, opt)
	for i, want := range []fencing.Power{fencing.On, fencing.Off, fencing.On} {
		if power, err := d.Status(t.Context()); power != want || err != nil {
			t.Fatalf("look %d: %s, %v; want %s", i, power, err, want)
		}
		order := d.PowerOff
		if want == fencing.Off {
			order = d.PowerOn
		}
		if err := order(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOnTheWayIsUnknown(t *testing.T) {
	_, opt := start(t, &controller{states: map[string]string{"1": "PoweringOff"}})
	if power, err := device(t, opt).Status(t.Context()); power != fencing.Unknown || err != nil {
		t.Errorf("%s, %v", power, err)
	}
}

func TestRefusals(t *testing.T) {
	two := map[string]string{"1": "On", "2": "On"}
	for name, c := range map[string]struct {
		states map[string]string
		change func(*Options)
		says   string
	}{
		"wrong password":  {two, func(o *Options) { o.Password = "no" }, "401"},
		"strange CA":      {two, func(o *Options) { o.CA = nil }, "give the controller's certificate with the key ca"},
		"several systems": {two, func(*Options) {}, "name one with the key system"},
		"unknown system":  {two, func(o *Options) { o.System = "9" }, `no system "9"`},
		"no system":       {map[string]string{}, func(*Options) {}, "names no system"},
		"nobody there":    {two, func(o *Options) { o.Endpoint = "https://127.0.0.1:1" }, "refused"},
	} {
		_, opt := start(t, &controller{states: c.states})
		c.change(&opt)
		power, err := device(t, opt).Status(t.Context())
		if err == nil || power != fencing.Unknown || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %s, %v; want %q", name, power, err, c.says)
		}
	}
}

func TestNamedSystemAlone(t *testing.T) {
	c := &controller{states: map[string]string{"1": "On", "2": "On"}}
	_, opt := start(t, c)
	opt.System = "2"
	if err := device(t, opt).PowerOff(t.Context()); err != nil || c.states["1"] != "On" || c.states["2"] != "Off" {
		t.Errorf("%v, %v", err, c.states)
	}
}

func TestNewRefusesAnAddressThatIsNone(t *testing.T) {
	for _, opt := range []Options{{Endpoint: "192.0.2.7"}, {Endpoint: "https://x", CA: []byte("none")}} {
		if _, err := New(opt); err == nil {
			t.Errorf("%+v is taken", opt)
		}
	}
}
