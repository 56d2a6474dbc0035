package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write docs/operating/configuration.md and golden files anew")

func TestExampleLoads(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gemel.yaml")
	if err := os.WriteFile(file, []byte(Example), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.SelfIndex() != 0 || c.Self().Name != "server1" || c.Peer().Name != "server2" || c.IsWitness() || !c.HasWitness() {
		t.Errorf("who is who: %+v", c)
	}
	if c.Timing.Lease != 3*time.Second || c.Timing.Heartbeat != 250*time.Millisecond || c.Ports.API != 7789 || c.DeviceDir != "/dev/gemel" {
		t.Errorf("defaults: %+v %+v", c.Timing, c.Ports)
	}
	v := c.Volume("data")
	if v == nil || v.Mount.Fsck != "journal" || !v.Mount.FormatIfNew || v.Mount.Options[0] != "noatime" {
		t.Fatalf("volume: %+v", v)
	}
	s := v.Services[0]
	if s.StartWait != 20*time.Second || s.Restarts != 3 || s.RestartsIn != 5*time.Minute || s.Signal() != syscall.SIGTERM || s.Health.Failures != 3 || len(s.Command) != 4 {
		t.Errorf("service: %+v", s)
	}
	if got := c.ReplicationLinks(); !reflect.DeepEqual(got, []string{"private"}) {
		t.Errorf("replication links %v", got)
	}
	if c.Self().Link("lan").Address != "198.18.0.1" || c.Volume("none") != nil || c.Path() != file {
		t.Error("helpers")
	}
}

func TestMistakes(t *testing.T) {
	tests := []struct{ name, from, to, want string }{
		{"unknown key", "mount:", "mont:", "t.yaml:17: volumes[0].mont: unknown key; did you mean mount?"},
		{"key of another section", "cluster: lab", "cluster: lab\nlease: 3s", "t.yaml:2: lease: unknown key here; did you mean timing.lease?"},
		{"capital", "cluster:", "Cluster:", "t.yaml:1: Cluster: unknown key; did you mean cluster?"},
		{"missing", "cluster: lab\n", "", "t.yaml: cluster: missing; give a name"},
		{"twice", "cluster: lab", "cluster: lab\ncluster: b", "t.yaml:1: cluster: given twice, again on line 2"},
		{"number for text", "cluster: lab", "cluster: 12", "t.yaml:1: cluster: 12 is read as int; put it in quotes"},
		{"no unit", "cluster: lab", "cluster: lab\ntiming: {lease: 3}", `t.yaml:2: timing.lease: "3" lacks a unit; write it like 3s or 3ms`},
		{"short lease", "cluster: lab", "cluster: lab\ntiming: {lease: 1s}", "t.yaml:2: timing.lease: 1s is not more than 2 renewals (1s); one lost renewal would end a reign"},
		{"short major", "cluster: lab", "cluster: lab\ntiming: {major: 700ms}", "t.yaml:2: timing.major: 700ms is less than 3 heartbeats (750ms); a single late beat would be a death"},
		{"port", "cluster: lab", "cluster: lab\nports: {api: 70000}", "t.yaml:2: ports.api: 70000 is not a TCP port (1 to 65535)"},
		{"same port", "cluster: lab", "cluster: lab\nports: {api: 7788}", "t.yaml:2: ports.api: 7788 is already the port of replication"},
		{"address", "198.18.1.2", "198.18.1.2/24", `t.yaml:10: nodes[1].links[0].address: "198.18.1.2/24" is not an IP address (no prefix length, no host name)`},
		{"address twice", "198.18.0.2}", "198.18.0.1}", "t.yaml:11: nodes[1].links[1].address: 198.18.0.1 is already used by nodes[0].links[1].address"},
		{"vip of a node", "198.18.0.250", "198.18.0.2", "t.yaml:19: volumes[0].addresses[0].address: 198.18.0.2 is already used by nodes[1].links[1].address"},
		{"node twice", "name: server2", "name: server1", "t.yaml:8: nodes[1].name: server1 is already used by nodes[0].name"},
		{"stranger", "node: server1", "node: server3", `t.yaml:2: node: "server3" is neither a node nor the witness; the boxes are server1, server2, witness`},
		{"links differ", "name: private, address: 198.18.1.2", "name: privat, address: 198.18.1.2", "t.yaml:9: nodes[1].links: links differ: server1 has [private, lan], server2 has [privat, lan]; give both the same names in the same order"},
		{"encryption", "{links: [private]}", "{links: [private], encryption: none}", `t.yaml:13: replication.encryption: "none" is unknown; write tls or plain`},
		{"path timeout", "{links: [private]}", "{links: [private], path-timeout: 900ms}", `t.yaml:13: replication.path-timeout: 900ms is not in 20ms to 500ms`},
		{"replication link", "[private]", "[privat]", `t.yaml:13: replication.links: there is no link "privat"; did you mean private?`},
		{"volume name", "name: data", "name: Data", `t.yaml:15: volumes[0].name: "Data" is not a volume's name: a-z, 0-9 and dashes, up to 32`},
		{"device", "/dev/sdb", "sdb", `t.yaml:16: volumes[0].device: "sdb" is not an absolute path; start it with /`},
		{"prefer", "format-if-new: true}", "format-if-new: true}\n    prefer: server3", `t.yaml:18: volumes[0].prefer: "server3" is no data node; write one of server1, server2, or nothing`},
		{"failback", "format-if-new: true}", "format-if-new: true}\n    failback: auto", `t.yaml:18: volumes[0].failback: auto needs a node to return to; write prefer as well`},
		{"fsck", "format-if-new: true", "fsck: often", `t.yaml:17: volumes[0].mount.fsck: "often" is not a policy; write journal, full or never`},
		{"if taken", ", interface: lan0", ", interface: lan0, if-taken: yes", `t.yaml:19: volumes[0].addresses[0].if-taken: "yes" is neither refuse nor claim`},
		{"interface", ", interface: lan0", "", "t.yaml:19: volumes[0].addresses[0].interface: missing; name the network interface that gets the address"},
		{"switch", "format-if-new: true", "format-if-new: yes please", `t.yaml:17: volumes[0].mount.format-if-new: "yes please" is neither true nor false`},
		{"list", "options: [noatime]", "options: noatime", "t.yaml:17: volumes[0].mount.options: must be a list, such as [one, two], not a single value"},
		{"section", "replication: {links: [private]}", "replication: 3", "t.yaml:13: replication: must be a section with keys (links, peer-timeout, path-timeout, return-after, encryption, connect-interval, after-sb-0pri, after-sb-1pri, after-sb-2pri, resync-max-rate, resync-min-rate, checksum-resync), not a single value"},
		{"ready", "127.0.0.1:2049", "2049", `t.yaml:23: volumes[0].services[0].ready-tcp: "2049" is not host:port, such as 127.0.0.1:2049`},
		{"unit", `ready-tcp: "127.0.0.1:2049"`, "unit: ganesha.service", `t.yaml:22: volumes[0].services[0].command: a service with a unit has none; it is in the unit's own file (or health, for ready-tcp)`},
		{"no unit", "command: [ganesha.nfsd, -F, -f, /etc/gemel/ganesha.conf]", "unit: ganesha", `t.yaml:22: volumes[0].services[0].unit: "ganesha" is not the name of a unit, such as smbd.service`},
		{"signal", `ready-tcp: "127.0.0.1:2049"`, "stop-signal: KILL", `t.yaml:23: volumes[0].services[0].stop-signal: "KILL" is none of TERM, INT, QUIT, HUP, USR1, USR2, WINCH`},
		{"health", `ready-tcp: "127.0.0.1:2049"`, "health: {tcp: localhost, interval: 1ms}", `t.yaml:23: volumes[0].services[0].health.tcp: "localhost" is not host:port, such as 127.0.0.1:2049`},
		{"after a stranger", `ready-tcp: "127.0.0.1:2049"`, "after: [db]", `t.yaml:23: volumes[0].services[0].after: "db" is no service of this volume; they are nfs`},
		{"after itself", `ready-tcp: "127.0.0.1:2049"`, "after: [nfs]", `t.yaml:23: volumes[0].services[0].after: nfs cannot wait for itself`},
		{"circle", `ready-tcp: "127.0.0.1:2049"`, "after: [web]\n      - {name: web, command: [web]}", "t.yaml:23: volumes[0].services[0].after: these would wait for each other for ever: nfs waits for web, " +
			"web waits for nfs (it follows it in the list; `after: []` would change that)"},
		{"policy of a stranger", "{links: [private]}", "{links: [private], after-sb-0pri: discard-node-server3}", `t.yaml:13: replication.after-sb-0pri: "discard-node-server3" names no node of the pair; they are server1 and server2`},
		{"two Primaries", "{links: [private]}", "{links: [private], after-sb-2pri: violently-as0p}", `t.yaml:13: replication.after-sb-2pri: "violently-as0p": there is nothing to settle between two Primaries here: the voters let one node reign, the other lets go by itself and after-sb-1pri applies; only disconnect makes sense`},
		{"etcd and witness", "replication: {links", "etcd: {endpoints: [\"https://192.0.2.21:2379\"]}\nreplication: {links", "t.yaml:13: etcd.endpoints: there is a witness too; a pair has one third voter: leave out witness or etcd"},
		{"etcd address", "witness: {name: witness, address: 198.18.0.3}", "etcd: {endpoints: [192.0.2.21]}", `t.yaml:12: etcd.endpoints[0]: "192.0.2.21" is not an etcd; write it like https://192.0.2.21:2379`},
		{"etcd key", "witness: {name: witness, address: 198.18.0.3}", "etcd: {endpoints: [\"https://x:1\"], cert: /c}", "t.yaml:12: etcd.cert: cert and key belong together; give both or none"},
		{"fencing driver", "links: [private]", "links: [private]}\nfencing: {required: true", "t.yaml:14: fencing.required: a node has no device under nodes[].fence that proves anything, so no take-over could ever prove that it is off; give both nodes one, or leave this out"},
		{"fence device", "  - name: server2", "    fence: [{driver: apc}]\n  - name: server2", `t.yaml:8: nodes[0].fence[0].driver: there is no driver "apc"; write one of [redfish ipmi command watchdog peer-reboot]`},
		{"fence address", "  - name: server2", "    fence: [{driver: ipmi, address: bmc, user: a, password-file: /p}]\n  - name: server2", `t.yaml:8: nodes[0].fence[0].address: "bmc" is not an IP address; give the controller's, such as 192.0.2.7`},
		{"fence URL", "  - name: server2", "    fence: [{driver: redfish, address: 192.0.2.7, user: a, password-file: /p}]\n  - name: server2", `t.yaml:8: nodes[0].fence[0].address: "192.0.2.7" is not the address of a Redfish service; write it like https://192.0.2.7`},
		{"fence user", "  - name: server2", "    fence: [{driver: ipmi, address: 192.0.2.7}]\n  - name: server2", "t.yaml:8: nodes[0].fence[0].user: missing; ipmi needs user and password-file"},
		{"watchdog of half seconds", "  - name: server2", "    fence: [{driver: watchdog, timeout: 1500ms}]\n  - name: server2", "t.yaml:8: nodes[0].fence[0].timeout: 1.5s is not a number of whole seconds, and a watchdog knows no others"},
		{"watchdog slower than the lease", "  - name: server2", "    fence: [{driver: watchdog, timeout: 10s}]\n  - name: server2", "t.yaml:8: nodes[0].fence[0].timeout: 10s is more than the lease allows (2s): the peer would take over before the node is reset; make timing.lease 11s or longer"},
		{"two watchdogs", "  - name: server2", "    fence: [{driver: watchdog}, {driver: watchdog, device: /dev/watchdog1}]\n  - name: server2", "t.yaml:8: nodes[0].fence[1].driver: a node has one watchdog at most"},
		{"watchdog's device", "  - name: server2", "    fence: [{driver: watchdog, device: watchdog1}]\n  - name: server2", `t.yaml:8: nodes[0].fence[0].device: "watchdog1" is not an absolute path; start it with /`},
		{"fence program", "  - name: server2", "    fence: [{driver: command, command: [outlet]}]\n  - name: server2", `t.yaml:8: nodes[0].fence[0].command: "outlet" is not an absolute path; start it with /`},
		{"size", "{links: [private]}", "{links: [private], resync-max-rate: 50MB}", `t.yaml:13: replication.resync-max-rate: size "50MB": unknown unit; write B, KiB, MiB, GiB or TiB`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(Example, tt.from, tt.to, 1)
			_, err := Parse("t.yaml", []byte(text))
			var ms Mistakes
			if !errors.As(err, &ms) {
				t.Fatalf("no mistakes but %v", err)
			}
			if !strings.Contains("\n"+err.Error()+"\n", "\n"+tt.want+"\n") {
				t.Errorf("got\n%s\nwant\n%s", err, tt.want)
			}
		})
	}
}

// TestAfter: what is not said is the order of the file, and shown; nobody is not nothing.
func TestAfter(t *testing.T) {
	text := Example + `      - {name: db, command: [db], after: []}
      - {name: web, command: [web]}
      - {name: app, command: [app], after: [nfs, db]}
      - name: mail
        command: [mail]
        after:
`
	c, err := Parse("t.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var after [][]string
	for _, s := range c.Volume("data").Services {
		after = append(after, s.After)
	}
	if want := [][]string{nil, {}, nil, {"nfs", "db"}, nil}; !reflect.DeepEqual(after, want) {
		t.Errorf("after %#v, want %#v", after, want)
	}
	for _, want := range []string{"after: [db] # default", "after: [] # default", "after: [app] # default"} {
		if !strings.Contains(c.YAML(), want) {
			t.Errorf("%q is missing in\n%s", want, c.YAML())
		}
	}
}

func TestAllAtOnce(t *testing.T) {
	text := `cluster: lab
nodes:
  - name: server1
    links: [{name: private, addres: 198.18.1.1}]
timing:
  lease: soon
volumes:
  - name: data
    device: /dev/a
  - name: data
    device: /dev/../dev/a
`
	_, err := Parse("gemel.yaml", []byte(text))
	want := `gemel.yaml:2: nodes: there are 1 nodes; a cluster has exactly two data nodes
gemel.yaml:4: nodes[0].links[0].addres: unknown key; did you mean address?
gemel.yaml:4: nodes[0].links[0].address: missing; give an IP address
gemel.yaml:6: timing.lease: "soon" is not a duration; write it like 250ms, 2s or 1m30s
gemel.yaml:10: volumes[1].name: data is already used by volumes[0].name
gemel.yaml:11: volumes[1].device: /dev/a is already used by volumes[0].device`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestNotYAMLAndEmpty(t *testing.T) {
	if _, err := Parse("x.yaml", []byte("a: [")); err == nil || !strings.Contains(err.Error(), "not valid YAML") {
		t.Errorf("broken YAML: %v", err)
	}
	var ms Mistakes
	if _, err := Parse("x.yaml", nil); !errors.As(err, &ms) || len(ms) < 2 {
		t.Errorf("empty file: %v", err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("GEMEL_NODE", "server2")
	t.Setenv("GEMEL_TIMING_LEASE", "5s")
	t.Setenv("GEMEL_VOLUMES_0_DEVICE", "/dev/loop7")
	t.Setenv("GEMEL_REPLICATION_LINKS", "lan, private")
	t.Setenv("GEMEL_LAB_WHATEVER", "1")
	c, err := Parse("t.yaml", []byte(Example))
	if err != nil {
		t.Fatal(err)
	}
	if c.SelfIndex() != 1 || c.Timing.Lease != 5*time.Second || c.Volumes[0].Device != "/dev/loop7" || c.ReplicationLinks()[0] != "lan" {
		t.Errorf("not applied: %+v", c)
	}
	shown := c.YAML()
	for _, want := range []string{
		"lease: 5s # environment GEMEL_TIMING_LEASE", "heartbeat: 250ms # default", "cluster: lab # t.yaml:1",
		"links: [lan, private] # environment GEMEL_REPLICATION_LINKS",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("config show lacks %q:\n%s", want, shown)
		}
	}
	if _, err := Parse("again.yaml", []byte(shown)); err != nil {
		t.Errorf("what config show prints does not load: %v\n%s", err, shown)
	}
}

func TestEnvironmentMistakes(t *testing.T) {
	t.Setenv("GEMEL_TIMING_LEASE", "long")
	t.Setenv("GEMEL_TIMING_RENEWS", "1s")
	_, err := Parse("t.yaml", []byte(Example))
	for _, want := range []string{
		`environment GEMEL_TIMING_LEASE: timing.lease: "long" is not a duration`,
		"environment GEMEL_TIMING_RENEWS: unknown key; did you mean GEMEL_TIMING_RENEW?",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func TestClientBoxNeedsNoName(t *testing.T) {
	c, err := Parse("t.yaml", []byte(strings.Replace(Example, "node: server1\n", "", 1)))
	if err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	if c.Node != host || c.Self() != nil || c.Peer() != nil || c.SelfIndex() != -1 {
		t.Errorf("node %q self %v", c.Node, c.Self())
	}
}

// TestEveryKeyIsDocumented holds the table of keys and the Config struct together.
func TestEveryKeyIsDocumented(t *testing.T) {
	inStruct := map[string]bool{}
	structKeys(reflect.TypeOf(Config{}), "", inStruct)
	inTable := map[string]bool{}
	for _, k := range Keys() {
		if inTable[k.Path] {
			t.Errorf("%s stands twice in the table", k.Path)
		}
		inTable[k.Path] = true
		if k.Text == "" || !strings.HasSuffix(k.Text, ".") || k.Kind == "" {
			t.Errorf("%s lacks a kind or a sentence", k.Path)
		}
		if !inStruct[k.Path] {
			t.Errorf("%s is documented but not in Config", k.Path)
		}
		if _, err := checkText(k.Kind, k.Default); err != nil && k.Default != "" {
			t.Errorf("default of %s: %v", k.Path, err)
		}
	}
	for path := range inStruct {
		if !inTable[path] {
			t.Errorf("%s is in Config but not documented", path)
		}
	}
}

func structKeys(t reflect.Type, path string, out map[string]bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("mapstructure")
		if tag == "" {
			continue
		}
		at := join(path, tag)
		switch {
		case f.Type.Kind() == reflect.Struct:
			structKeys(f.Type, at, out)
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			structKeys(f.Type.Elem(), at+"[]", out)
		default:
			out[at] = true
		}
	}
}

func TestDocsAreCurrent(t *testing.T) {
	const file = "../../docs/operating/configuration.md"
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(Markdown()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != Markdown() {
		t.Error("docs/operating/configuration.md is not what the table of keys says; run go test ./node/config -run TestDocs -update")
	}
}

func TestDefaultsNameEveryKey(t *testing.T) {
	text := Defaults()
	for _, k := range Keys() {
		if !strings.Contains(text, k.Text) {
			t.Errorf("config show --defaults lacks %s", k.Path)
		}
	}
}

func TestParseSize(t *testing.T) {
	tests := []struct {
		text string
		want int64
		ok   bool
	}{
		{"", 0, true}, {"4096", 4096, true}, {"50MiB", 50 << 20, true}, {"1.5GiB", 3 << 29, true}, {"2 TiB", 2 << 40, true},
		{"-1MiB", 0, false}, {"50MB", 0, false}, {"many", 0, false}, {"99999999TiB", 0, false},
	}
	for _, tt := range tests {
		got, err := ParseSize(tt.text)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("ParseSize(%q) = %d, %v", tt.text, got, err)
		}
	}
}

func TestNearest(t *testing.T) {
	for name, want := range map[string]string{"mont": "mount", "devcie": "device", "xyzzy": "", "service": "services"} {
		if got := nearest(name, []string{"name", "device", "mount", "addresses", "services"}); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestFrontend(t *testing.T) {
	c, err := Parse("t.yaml", []byte(Example))
	if err != nil || c.Volumes[0].Frontend != FrontendAuto {
		t.Fatalf("default: %v", err)
	}
	for text, want := range map[string]string{
		"volumes:\n  - {name: a, device: /dev/a, on-congestion: panic}":                      `"panic" is neither block nor pull-ahead`,
		"volumes:\n  - {name: a, device: /dev/a, congestion-fill: 4KiB}":                     `4KiB is not from 1MiB to 1GiB`,
		"volumes:\n  - {name: a, device: /dev/a, protocol: D}":                               `"D" is not a protocol; write A, B or C`,
		"volumes:\n  - {name: a, device: /dev/a, takeover-under-a: maybe}":                   `"maybe" is neither refuse nor allow`,
		"volumes:\n  - {name: a, device: /dev/a, frontend: floppy}":                          `"floppy" is not a frontend; write one of auto`,
		"volumes:\n  - {name: a, device: /dev/a, frontend: nbd-socket, mount: {path: /srv}}": "a socket cannot be mounted",
	} {
		if _, err := Parse("t.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
