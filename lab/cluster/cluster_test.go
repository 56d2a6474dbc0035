package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"

	"gemel/lab/drive/model"
	"gemel/lab/loopdev"
	"gemel/node/config"
)

func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{
		"gemel": true, "t1": true, "a": true,
		"": false, "1a": false, "A": false, "a-b": false, "../x": false, "abcdefghijklmnopq": false,
	} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("CheckName(%q) = %v, want good: %v", name, err, good)
		}
	}
}

func TestNamesOfLabsDoNotMeet(t *testing.T) {
	seen := map[string]string{}
	for _, lab := range []string{"a", "ab", "b"} {
		for _, box := range Boxes() {
			name := ContainerName(lab, box.Name)
			if other, taken := seen[name]; taken {
				t.Errorf("container %s is in lab %s and in lab %s", name, other, lab)
			}
			seen[name] = lab
		}
	}
}

func TestBoxesHaveAddressesAndMACsOfTheirOwn(t *testing.T) {
	seen := map[string]bool{VIP.String(): true}
	for _, box := range Boxes() {
		for _, sw := range box.Cables {
			for _, own := range []string{box.Address(sw).Addr().String(), box.mac(sw).String()} {
				if seen[own] {
					t.Errorf("%s of %s is somebody else's too", own, box.Name)
				}
				seen[own] = true
			}
			if box.mac(sw)[0]&3 != 2 {
				t.Errorf("MAC %s is not locally administered and for one box", box.mac(sw))
			}
		}
	}
}

func TestCableNames(t *testing.T) {
	server, err := boxNamed("server1")
	if err != nil {
		t.Fatal(err)
	}
	if sw, err := server.cable("private"); err != nil || sw != Private {
		t.Errorf("private is %q (%v)", sw, err)
	}
	witness, _ := boxNamed("witness")
	if _, err := witness.cable("priv"); !errors.Is(err, ErrNoCable) {
		t.Errorf("the witness has a private cable: %v", err)
	}
	if _, err := boxNamed("server3"); !errors.Is(err, ErrNoNode) {
		t.Errorf("server3: %v, want ErrNoNode", err)
	}
}

func TestStateFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := loadState(dir); !errors.Is(err, ErrNoLab) {
		t.Fatalf("load of nothing: %v, want ErrNoLab", err)
	}
	if err := newState("a", Options{}).save(dir); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			err := changeState(dir, func(s *State) { s.Pulled[fmt.Sprint(i)] = true })
			if err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	state, err := loadState(dir)
	if err != nil || len(state.Pulled) != 8 || state.DiskSize != defaultDiskSize {
		t.Fatalf("state is %+v (%v), want 8 changes", state, err)
	}
	if err := os.WriteFile(statePath(dir), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadState(dir); err == nil || !strings.Contains(err.Error(), filepath.Base(statePath(dir))) {
		t.Errorf("a broken state file: %v, want an error that names it", err)
	}
}

func TestConfigOfEveryBox(t *testing.T) {
	state := newState("a", Options{})
	state.Loops = map[string]Disk{"server1": {Loop: "/dev/loop5"}, "server2": {Loop: "/dev/loop6"}}
	for box, device := range map[string]string{
		"server1": "/dev/loop5", "server2": "/dev/loop6", "witness": "/dev/loop5", "client": "/dev/loop5",
	} {
		planned, err := boxNamed(box)
		if err != nil {
			t.Fatal(err)
		}
		text, err := renderConfig(planned, state)
		if err != nil {
			t.Fatal(err)
		}
		var read struct {
			Node    string
			Nodes   []struct{ Name string }
			Volumes []struct{ Device string }
		}
		if err := yaml.Unmarshal(text, &read); err != nil {
			t.Fatalf("%s: %v\n%s", box, err, text)
		}
		if read.Node != box || len(read.Nodes) != 2 || read.Volumes[0].Device != device {
			t.Errorf("%s has %+v", box, read)
		}
	}
}

// TestSettingsOfALab: what any settings make is a configuration that the product reads,
// and the power controls are reached over the management network.
func TestSettingsOfALab(t *testing.T) {
	for _, settings := range []Settings{
		{}, {Fencing: FencingOff, WitnessOn: LAN}, {Fencing: FencingOn, WitnessOn: Management},
		{Fencing: FencingRequired}, {Fencing: FencingOn, WitnessOn: NoWitness}, {WitnessOn: NoWitness},
	} {
		for _, box := range Boxes()[:3] { // a client runs no daemon
			read := configOf(t, box, settings)
			if got, want := read.HasArbiter(), settings.WitnessOn != NoWitness || box.Role == Witness; got != want {
				t.Errorf("%+v: %s has a witness: %v, want %v", settings, box.Name, got, want)
			}
			fenced := settings.Fencing == FencingOn || settings.Fencing == FencingRequired
			if read.Fenced() != fenced || read.Fencing.Required != (settings.Fencing == FencingRequired) {
				t.Errorf("%+v: %s has fencing %v, %+v", settings, box.Name, read.Fenced(), read.Fencing)
			}
			for i, node := range read.Nodes {
				for _, device := range node.Fence {
					if want := fmt.Sprintf("https://198.18.%d.%d", number(Management), 11+i); device.Address != want {
						t.Errorf("%s is switched at %s, want %s", node.Name, device.Address, want)
					}
				}
			}
		}
	}
	for _, settings := range []Settings{{Fencing: "maybe"}, {WitnessOn: "moon"}} {
		if settings.check() == nil {
			t.Errorf("%+v is taken", settings)
		}
	}
}

// configOf is a box's configuration as the product reads it.
func configOf(t *testing.T, box Box, settings Settings) *config.Config {
	t.Helper()
	state := newState("a", Options{Settings: settings})
	state.Loops = map[string]Disk{"server1": {Loop: "/dev/loop5"}, "server2": {Loop: "/dev/loop6"}}
	text, err := renderConfig(box, state)
	if err != nil {
		t.Fatal(err)
	}
	read, err := config.Parse("gemel.yaml", text)
	if err != nil {
		t.Fatalf("%+v: %v\n%s", settings, err, text)
	}
	return read
}

// TestServicesOfALab: what any choice of services makes is a configuration that the
// product reads.
func TestServicesOfALab(t *testing.T) {
	for _, names := range [][]string{nil, {"nfs"}, {"nfs", "samba", "postgresql", "web"}, {"nfs", "web@second", "postgresql@second"}} {
		state := newState("a", Options{Services: names})
		state.Loops = map[string]Disk{"server1": {Loop: "/dev/loop5"}, "server2": {Loop: "/dev/loop6"}}
		box, err := boxNamed("server2")
		if err != nil {
			t.Fatal(err)
		}
		text, err := renderConfig(box, state)
		if err != nil {
			t.Fatal(err)
		}
		read, err := config.Parse("gemel.yaml", text)
		if err != nil {
			t.Fatalf("%v: %v\n%s", names, err, text)
		}
		got := 0
		for _, v := range read.Volumes {
			got += len(v.Services)
		}
		if got != max(1, len(names)) {
			t.Errorf("%v: %d services\n%s", names, got, text)
		}
	}
	for _, name := range []string{"nfs@third", "ftp"} {
		if _, err := volumesOf([]string{name}, "/dev/x"); !errors.Is(err, ErrNoService) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEtcdInPlaceOfTheWitness: the product reads what the lab writes, and finds the members
// where they listen.
func TestEtcdInPlaceOfTheWitness(t *testing.T) {
	state := newState("a", Options{Arbiter: ByEtcd, Settings: Settings{WitnessOn: Management}})
	state.Loops = map[string]Disk{"server1": {Loop: "/dev/loop5"}, "server2": {Loop: "/dev/loop6"}}
	if got, want := boxNames(state.boxes()), "server1, server2, client, etcd1, etcd2 and etcd3"; got != want {
		t.Fatalf("boxes are %s, want %s", got, want)
	}
	if got, want := boxNames(newState("a", Options{}).boxes()), "server1, server2, witness and client"; got != want {
		t.Errorf("boxes without etcd are %s, want %s", got, want)
	}
	text, err := renderConfig(state.boxes()[0], state)
	if err != nil {
		t.Fatal(err)
	}
	read, err := config.Parse("gemel.yaml", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if !read.HasEtcd() || read.HasWitness() || len(read.Etcd.Endpoints) != 3 {
		t.Errorf("third voter %q\n%s", read.Arbiter(), text)
	}
	for i, box := range state.boxes()[3:] {
		text, err := renderEtcd(box, state)
		if err != nil {
			t.Fatal(err)
		}
		var member map[string]string
		if err := yaml.Unmarshal(text, &member); err != nil {
			t.Fatalf("%s: %v\n%s", box.Name, err, text)
		}
		if got := member["listen-client-urls"]; member["name"] != box.Name || !strings.Contains(got, read.Etcd.Endpoints[i]) {
			t.Errorf("%s is %q at %s, want %s", box.Name, member["name"], got, read.Etcd.Endpoints[i])
		}
		if got := member["initial-cluster"]; strings.Count(got, "=http://198.18.3.") != 3 {
			t.Errorf("%s knows of %s, want three members on the management network", box.Name, got)
		}
	}
}

func TestArbiterOfALab(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	for arbiter, want := range map[string]string{"": "", ByWitness: "", "raft": "no such third voter", ByEtcd: "lab/testtools.sh etcd"} {
		err := checkArbiter(Options{BinDir: bin, Arbiter: arbiter})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("arbiter %q: %v, want %q", arbiter, err, want)
		}
	}
	etcd := filepath.Join(bin, "tools", "etcd")
	if err := os.MkdirAll(filepath.Dir(etcd), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(etcd, []byte("#!"), 0o755); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if err := errors.Join(checkArbiter(Options{BinDir: bin, Arbiter: ByEtcd}), copyEtcd(bin, to, &State{Arbiter: ByEtcd})); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(to, "etcd")); err != nil {
		t.Error(err)
	}
}

func TestImageOfABuild(t *testing.T) {
	dir := t.TempDir()
	if got := ImageOf(dir); got != latestImage {
		t.Errorf("a build that left no name: %s, want %s", got, latestImage)
	}
	if err := os.WriteFile(filepath.Join(dir, "image"), []byte("gemel-lab/node:12ab\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := ImageOf(dir); got != "gemel-lab/node:12ab" {
		t.Errorf("image is %s", got)
	}
}

func TestKeysAreForRootOnly(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(filepath.Join(from, "key.pem"), []byte("k"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := copyKeys(from, to); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(to, "key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copied key is %v (%v), want mode 0600", info.Mode(), err)
	}
}

func TestOrphansBelongToOneLab(t *testing.T) {
	devices := []loopdev.Device{
		{Path: "disk", Label: "/var/lib/gemel-lab/a/disk.img"},
		{Path: "alive", Label: "gemel.a.server1:data", FileSystem: 50},
		{Path: "dead", Label: "gemel.a.server1:data", FileSystem: 51},
		{Path: "dead too", Label: "gemel.a.server2:data", FileSystem: 52},
		{Path: "another lab's", Label: "gemel.ab.server1:data", FileSystem: 53},
		{Path: "the host's own", Label: "gemel:data", FileSystem: 54},
		{Path: "stranger", Label: "snap", FileSystem: 55},
	}
	living := map[uint32][]int{50: {1}}
	var found []string
	for _, device := range orphansAmong(devices, living, "a") {
		found = append(found, device.Path)
	}
	if want := []string{"dead", "dead too"}; !slices.Equal(found, want) {
		t.Errorf("orphans are %q, want %q", found, want)
	}
	for at, want := range []bool{false, true, true, false, false, false, false} {
		if frontendOf(devices[at], "a", "server1") != want {
			t.Errorf("%s belongs to server1 of lab a: %v, want %v", devices[at].Path, !want, want)
		}
	}
}

func TestAttendantsAreKnownByTheirCommandLine(t *testing.T) {
	own := Dir("a") + "/bin/lab"
	for line, want := range map[string]string{
		own + "\x00attend\x00--lab\x00a\x00relay\x00server1\x00priv\x00": "relay server1 priv of lab a (process 0)",
		own + "\x00attend\x00--lab\x00b\x00relay\x00server1\x00priv\x00": "",
		own + "\x00status\x00--lab\x00a\x00x\x00":                        "",
		"vi\x00attend\x00--lab\x00a\x00relay\x00server1\x00":             "",
		"": "",
	} {
		got, ok := parseAttendant([]byte(line))
		if ok != (want != "") || ok && got.Words() != want {
			t.Errorf("%q is %q (%v), want %q", line, got.Words(), ok, want)
		}
	}
}

func TestDrivesBelongToOneLab(t *testing.T) {
	for name, ours := range map[string]bool{
		DriveName("a", "server1"): true, DriveName("ab", "server1"): false, "a": false, "a-1": false,
	} {
		if ownsDrive("a")(name) != ours {
			t.Errorf("drive %s belongs to lab a: %v, want %v", name, !ours, ours)
		}
	}
	if !strings.HasPrefix(DriveDir("a", "server1"), Dir("a")+"/") {
		t.Error("the drives of a lab are not in its directory")
	}
}

func TestModelOfANewLab(t *testing.T) {
	for _, name := range []string{"", PlainDisk} {
		if params, err := driveModel(name); err != nil || params != nil {
			t.Errorf("model %q: %+v (%v), want a plain disk", name, params, err)
		}
	}
	if params, err := driveModel("2004"); err != nil || params.Platters != 2 {
		t.Errorf("model 2004: %+v (%v)", params, err)
	}
	if _, err := driveModel("floppy"); !errors.Is(err, model.ErrUnknown) {
		t.Errorf("model floppy: %v, want ErrUnknown", err)
	}
	own := filepath.Join(t.TempDir(), "own.yaml")
	if err := os.WriteFile(own, []byte("name: own\nplatter-rate: 30MB/s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	params, err := driveModel(own)
	if err != nil || params.Name != "own" {
		t.Fatalf("a model in a file: %+v (%v)", params, err)
	}
	dir := t.TempDir()
	state := newState("a", Options{})
	state.Model = params
	if err := state.save(dir); err != nil {
		t.Fatal(err)
	}
	if again, err := loadState(dir); err != nil || again.Model == nil || *again.Model != *params {
		t.Errorf("the model is remembered as %+v (%v)", again.Model, err)
	}
}
