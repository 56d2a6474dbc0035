package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

// Third voters a lab can have.
const (
	ByWitness = "witness" // the box "witness" runs gemel witness
	ByEtcd    = "etcd"    // the boxes "etcd1", "etcd2" and "etcd3" are an etcd cluster
)

// ErrNoArbiter says that the lab knows no third voter of a name.
var ErrNoArbiter = errors.New("no such third voter")

// Ports of an etcd member.
const (
	etcdClients = 2379
	etcdPeers   = 2380
)

// Boxes are the lab's own machines; all that a lab may have when there is none yet.
func (c *Cluster) Boxes() []Box {
	state, err := loadState(c.dir)
	if err != nil {
		return Boxes()
	}
	return state.boxes()
}

// boxes are the machines of this lab.
func (s *State) boxes() []Box {
	without := Etcd
	if s.Arbiter == ByEtcd {
		without = Witness
	}
	return slices.DeleteFunc(Boxes(), func(b Box) bool { return b.Role == without })
}

func (s *State) has(name string) bool {
	return slices.ContainsFunc(s.boxes(), func(b Box) bool { return b.Name == name })
}

func checkArbiter(options Options) error {
	if !slices.Contains([]string{"", ByWitness, ByEtcd}, options.Arbiter) {
		return fmt.Errorf("arbiter %q: %w; there are %s and %s", options.Arbiter, ErrNoArbiter, ByWitness, ByEtcd)
	}
	if options.Arbiter == ByEtcd {
		_, err := EtcdBinary(options.BinDir)
		return err
	}
	return nil
}

// thirdVoter is the stanza of the third voter in a box's configuration of the product's.
func thirdVoter(box Box, state *State) string {
	on := state.settings().WitnessOn
	if box.Role == Witness && on == NoWitness {
		on = LAN // it runs, whether it is asked or not
	}
	switch {
	case on == NoWitness:
		return "# no third voter"
	case state.Arbiter != ByEtcd:
		at := Boxes()[2]
		return fmt.Sprintf("witness: {name: %s, address: %s}", at.Name, at.Address(on).Addr())
	}
	var servers []string
	for _, box := range state.boxes() {
		if box.Role == Etcd {
			servers = append(servers, fmt.Sprintf("%q", etcdURL(box, on, etcdClients)))
		}
	}
	return "etcd: {endpoints: [" + strings.Join(servers, ", ") + "]}"
}

func etcdURL(box Box, sw string, port int) string {
	return fmt.Sprintf("http://%s:%d", box.Address(sw).Addr(), port)
}

// etcdText is the configuration of an etcd member. Its clients may come over either network,
// as the lab's settings say, its peers come over mgmt; it is asked inside its box, too.
var etcdText = template.Must(template.New("etcd.yaml").Parse(`# Written by the lab for {{.Name}} of lab {{.Lab}}.
name: {{.Name}}
data-dir: /var/lib/gemel/etcd
listen-peer-urls: {{.Peers}}
initial-advertise-peer-urls: {{.Peers}}
listen-client-urls: {{.Clients}},http://127.0.0.1:2379
advertise-client-urls: {{.Clients}}
initial-cluster: {{.All}}
initial-cluster-token: {{.Lab}}
logger: zap
`))

func renderEtcd(box Box, state *State) ([]byte, error) {
	var all []string
	for _, member := range state.boxes() {
		if member.Role == Etcd {
			all = append(all, member.Name+"="+etcdURL(member, Management, etcdPeers))
		}
	}
	var text bytes.Buffer
	err := etcdText.Execute(&text, map[string]string{
		"Name": box.Name, "Lab": state.Lab, "All": strings.Join(all, ","), "Peers": etcdURL(box, Management, etcdPeers),
		"Clients": etcdURL(box, LAN, etcdClients) + "," + etcdURL(box, Management, etcdClients),
	})
	if err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", box.Name, err)
	}
	return text.Bytes(), nil
}

// EtcdBinary finds an etcd server: beside the product's binaries, where lab/testtools.sh
// puts it, or one that this host has.
func EtcdBinary(dir string) (string, error) {
	own := filepath.Join(dir, "tools", "etcd")
	if _, err := os.Stat(own); err == nil {
		return own, nil
	}
	found, err := exec.LookPath("etcd")
	if err != nil {
		return "", fmt.Errorf("arbiter %s: there is no etcd server in %s, nor on this host; next: lab/testtools.sh etcd", ByEtcd, own)
	}
	return found, nil
}

// copyEtcd puts an etcd server where the boxes find their programs.
func copyEtcd(from, to string, state *State) error {
	if state.Arbiter != ByEtcd {
		return nil
	}
	binary, err := EtcdBinary(from)
	if err != nil {
		return err
	}
	if err := copyFile(binary, filepath.Join(to, "etcd")); err != nil {
		return fmt.Errorf("copy the etcd server: %w", err)
	}
	return nil
}
