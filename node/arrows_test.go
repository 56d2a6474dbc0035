package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"sort"
	"strings"
	"testing"
)

// arrows is the house's plan: which rooms a room may import, and why. A new
// arrow must be drawn here first, with its reason.
var arrows = map[string]map[string]string{
	"node/block":                     {},
	"node/event":                     {},
	"node/event/chronicle":           {"node/event": "reads decisions out of events"},
	"node/arbiter":                   {},
	"node/arbiter/ballot":            {"node/arbiter": "carries its requests and replies"},
	"node/arbiter/ballot/ballottest": {"node/arbiter": "asks with its requests", "node/arbiter/ballot": "casts votes"},
	"node/arbiter/store": {
		"node/arbiter": "stores its Record",
	},
	"node/arbiter/witness": {
		"node/arbiter":        "runs one Register per volume",
		"node/arbiter/store":  "keeps the records over a restart",
		"node/arbiter/ballot": "answers many votes at once",
	},
	"node/arbiter/etcd": {"node/arbiter": "is a Register over a shared store"},
	"node/failover": {
		"node/arbiter":        "speaks of epochs and sets",
		"node/failover/reign": "the safety core it steers",
	},
	"node/failover/rehearsal":   {"node/arbiter": "asks registers of its own", "node/failover": "plays its machines"},
	"node/failover/reign":       {"node/arbiter": "asks registers"},
	"node/failover/reign/check": {"node/arbiter": "checks it", "node/failover/reign": "checks it"},
	"node/fencing":              {},
	"node/fencing/redfish":      {"node/fencing": "is a device"},
	"node/fencing/ipmi":         {"node/fencing": "is a device"},
	"node/fencing/command":      {"node/fencing": "is a device"},
	"node/fencing/watchdog":     {},
	"node/fencing/selfreboot":   {},
	"node/mount":                {},
	"node/vip":                  {},
	"node/service":              {},
	"node/service/exec":         {"node/service": "is a driver", "node/service/supervisor": "is kept running"},
	"node/service/systemd":      {"node/service": "is a driver", "node/service/supervisor": "is kept running"},
	"node/service/supervisor":   {"node/service": "is most of a driver", "node/service/health": "looks after what runs"},
	"node/service/health":       {},
	"node/service/order":        {},
	"node/frontend":             {"node/block": "shows a Device"},
	"node/frontend/fuseloop": {"node/block": "shows a Device", "node/frontend": "is a frontend",
		"node/frontend/keeper":           "lets a device outlive its process",
		"node/frontend/fuseloop/onefile": "has the kernel's requests answered",
		"node/frontend/claim":            "does not wait for ever inside the kernel"},
	"node/frontend/fuseloop/onefile": {"node/block": "is a Device as a file"},
	"node/frontend/keeper":           {},
	"node/frontend/claim":            {"node/frontend": "fails with its errors"},
	"node/frontend/nbd": {"node/block": "shows a Device", "node/frontend": "is a frontend",
		"node/frontend/claim": "takes a device away that nobody uses"},
	"node/frontend/ublk": {"node/block": "shows a Device", "node/frontend": "is a frontend",
		"node/frontend/claim": "takes a device away that nobody uses"},
	"node/frontend/frontendtest": {
		"node/block": "provides Devices", "node/frontend": "tests frontends"},
	"node/frontend/frontendtest/proof": {"node/block": "counts in blocks"},
	"node/config": {"node/schedule": "checks the times in the file",
		"node/service/order":        "checks who waits for whom",
		"node/replicator/handshake": "checks the names of its policies"},
	"node/schedule":         {},
	"node/identity":         {},
	"node/identity/pairing": {"node/identity": "gives boxes their identity"},
	"node/api": {
		"node/arbiter":            "carries votes",
		"node/arbiter/ballot":     "carries many of them in one request",
		"node/event":              "carries events",
		"node/identity":           "knows who speaks",
		"node/replicator/control": "shows a replica's state",
	},
	"node/cli": {
		"node/replicator/disk":    "looks at a device, without a daemon",
		"node/replicator/meta":    "reads a device's metadata, without a daemon",
		"node/api":                "all it knows of daemons",
		"node/config":             "reads the file",
		"node/event":              "prints events",
		"node/fencing/watchdog":   "looks at this box's device, without a daemon",
		"node/event/chronicle":    "shows decisions with their steps",
		"node/identity":           "makes and loads keys",
		"node/identity/pairing":   "lets people compare words",
		"node/arbiter":            "names sets",
		"node/replicator/control": "names states",
		"node/replicator/undo":    "shows and restores undo files, which need no daemon",
		"node/block":              "speaks of ranges",
	},
	"node/agent": {"*": "carries out what failover decides; the only room that knows all others"},
	"node":       {"*": "wires the binary together"},

	"node/replicator/buffer": {"node/block": "sizes"},
	"node/replicator/digest": {"node/block": "sums blocks"},
	"node/replicator/control": {"node/arbiter": "carries votes to the replica's register",
		"node/arbiter/ballot": "carries many of them in one request"},
	"node/replicator/disk": {
		"node/block":             "speaks of ranges",
		"node/replicator/buffer": "aligned memory",
	},
	"node/replicator/disk/crashdisk": {"node/block": "speaks of ranges", "node/replicator/disk": "is a disk"},
	"node/replicator/meta": {
		"node/replicator/activity": "stores its transactions",
		"node/arbiter":             "stores the register's Record",
		"node/block":               "speaks of blocks",
		"node/replicator/buffer":   "aligned memory",
		"node/replicator/disk":     "writes through it",
	},
	"node/replicator/wire": {"node/arbiter": "carries epochs", "node/block": "speaks of ranges"},
	"node/replicator/link": {
		"node/arbiter":           "carries epochs",
		"node/block":             "sizes",
		"node/identity":          "knows who speaks",
		"node/replicator/buffer": "aligned memory for payloads",
		"node/replicator/wire":   "frames what it sends",
	},
	"node/replicator/handshake": {"node/arbiter": "epochs", "node/block": "generations"},
	"node/replicator/resync":    {"node/block": "speaks of ranges"},
	"node/replicator/activity":  {},
	"node/replicator/vigil":     {},
	"node/replicator/undo":      {"node/arbiter": "numbers nodes", "node/block": "speaks of ranges"},
	"node/replicator/volume/core": {
		"node/replicator/activity":  "which extents are hot",
		"node/arbiter":              "epochs and sets",
		"node/block":                "speaks of ranges",
		"node/replicator/handshake": "verdicts",
		"node/replicator/resync":    "what next, how fast",
	},
	"node/replicator/volume": {"node/arbiter": "owns the register", "node/block": "is a Device",
		"node/replicator/*": "the shell that moves the data plane's parts"},
	"node/replicator": {"node/arbiter": "routes votes", "node/arbiter/ballot": "routes many at once", "node/block": "attaches Devices", "node/config": "is configured",
		"node/identity": "has a certificate", "node/frontend/*": "shows volumes to the kernel",
		"node/frontend": "shows volumes to the kernel", "node/replicator/*": "the data plane's process",
		"node/vip": "drops addresses when a lease runs out, also if the agent hangs"},

	// The lab may use the product; the product never imports the lab.
	"lab":       {"*": "the bench drives everything"},
	"scenarios": {"lab/*": "drives the lab", "lab": "drives the lab", "node/*": "reads statuses"},
	"hardware":  {},
	"packaging": {},
}

// pure rooms decide and compute; they must not see the world.
var pure = []string{"node/block", "node/arbiter", "node/failover", "node/failover/reign",
	"node/replicator/handshake", "node/replicator/resync", "node/replicator/digest", "node/replicator/activity",
	"node/schedule", "node/service/order", "node/replicator/volume/core"}

var world = map[string]string{"os": "files", "net": "network", "log": "logging", "log/slog": "logging",
	"math/rand": "chance", "math/rand/v2": "chance", "crypto/rand": "chance", "syscall": "the kernel",
	"golang.org/x/sys/unix": "the kernel"}

type listed struct {
	ImportPath string
	Name       string
	Imports    []string
	Dir        string
	GoFiles    []string
}

func TestArrows(t *testing.T) {
	for _, p := range list(t) {
		room := strings.TrimPrefix(p.ImportPath, "gemel/")
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, "gemel/")
			if ours && !allowed(t, room, to) {
				t.Errorf("new arrow %s -> %s: draw it in the table of arrows_test.go with its reason, or take it back", room, to)
			}
		}
	}
}

func TestPureRoomsDoNotSeeTheWorld(t *testing.T) {
	byPath := map[string]listed{}
	for _, p := range list(t) {
		byPath[strings.TrimPrefix(p.ImportPath, "gemel/")] = p
	}
	for _, room := range pure {
		p, ok := byPath[room]
		if !ok {
			t.Errorf("room %s is missing", room)
			continue
		}
		for _, imp := range p.Imports {
			if why, bad := world[imp]; bad {
				t.Errorf("%s imports %s: a pure room must not see %s", room, imp, why)
			}
		}
		noClock(t, p)
	}
}

func TestNoVaguePackageNames(t *testing.T) {
	vague := map[string]bool{"util": true, "utils": true, "common": true, "helpers": true, "types": true}
	for _, p := range list(t) {
		if vague[p.Name] {
			t.Errorf("%s: name the package after its idea", p.ImportPath)
		}
	}
}

// noClock finds calls of time.Now and its like in a pure room.
func noClock(t *testing.T, p listed) {
	t.Helper()
	for _, call := range []string{"time.Now(", "time.Since(", "time.After(", "time.Sleep(", "time.NewTimer("} {
		for _, f := range p.GoFiles {
			out, err := exec.Command("grep", "-n", "-F", call, p.Dir+"/"+f).Output()
			if err == nil {
				t.Errorf("%s/%s reads the clock: %s", p.ImportPath, f, strings.TrimSpace(string(out)))
			}
		}
	}
}

// allowed looks an arrow up; rooms below a listed lab room inherit its rule.
func allowed(t *testing.T, from, to string) bool {
	t.Helper()
	if strings.HasPrefix(from, "lab") {
		return true
	}
	if strings.HasPrefix(from, "scenarios") {
		from = "scenarios"
	}
	if strings.HasPrefix(from, "hardware") {
		from = "hardware"
	}
	table, ok := arrows[from]
	if !ok {
		t.Errorf("room %s is not in the plan: add it to the table of arrows_test.go", from)
		return true
	}
	if strings.HasPrefix(from, "node") && strings.HasPrefix(to, "lab") {
		return false
	}
	for pattern := range table {
		if pattern == "*" || pattern == to ||
			strings.HasSuffix(pattern, "/*") && strings.HasPrefix(to, strings.TrimSuffix(pattern, "*")) {
			return true
		}
	}
	return false
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Name,Imports,Dir,GoFiles", "gemel/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].ImportPath < all[j].ImportPath })
	return all
}
