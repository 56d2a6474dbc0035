package cluster

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
)

// configText is /etc/gemel/gemel.yaml of a box. The device directory is the box's
// own: /dev is the host's in every box, so names in it would meet.
var configText = template.Must(template.New("gemel.yaml").Parse(`# Written by the lab for {{.Box.Name}} of lab {{.Lab}}.
cluster: {{.Lab}}
node: {{.Box.Name}}
device-dir: /run/gemel/dev
nodes:
{{- range .Servers}}
  - name: {{.Name}}
    links:
      - {name: private, address: {{(.Address "priv").Addr}}}
      - {name: private2, address: {{(.Address "priv2").Addr}}}
      - {name: lan, address: {{(.Address "lan").Addr}}}
{{- if $.Fencing}}
    fence:
      - {driver: redfish, address: "https://{{$.BMC .Name}}", user: {{$.BMCUser}}, password-file: /etc/gemel/bmc/password, ca: /etc/gemel/bmc/{{.Name}}.pem}
{{- end}}
{{- end}}
{{- if $.Fencing}}
fencing: {required: {{$.Required}}, timeout: 10s, probe: 5s} # often, so that a broken power control is seen soon
{{- end}}
{{.Third}}
replication: {links: [private, private2, lan]}
volumes:
{{- range .Volumes}}
  - name: {{.Name}}
    device: {{.Device}}
    al-extents: 67 # the fewest, since the volume is small: at most 268 MiB are resynced after a crash
    mount: {path: {{.Mount}}, type: ext4, options: [noatime], format-if-new: true}
    addresses: [{address: {{.VIP}}, interface: {{$.NIC}}}]
    services:
{{.Services}}
{{- end}}
`))

type configData struct {
	Lab     string
	Box     Box
	Servers []Box
	Third   string // stanza of the third voter
	Volumes []volumeData
	NIC     string
	// Fencing: each server's power control is its fencing device, which the other one
	// reaches over the management network and no other. Required: nothing without its proof.
	Fencing, Required bool
}

// BMC is the address of a server's power control.
func (configData) BMC(node string) (netip.Addr, error) { return BMCAddress(node) }

// BMCUser may switch the power there.
func (configData) BMCUser() string { return BMCUser }

// renderConfig returns a box's configuration. The witness and the client have no
// disk; they name the first server's, because the file is the same everywhere.
func renderConfig(box Box, state *State) ([]byte, error) {
	boxes := Boxes()
	device := state.Loops[box.Name].Loop
	if device == "" {
		device = state.Loops[boxes[0].Name].Loop
	}
	data := configData{
		Lab: state.Lab, Box: box, Servers: boxes[:2], Third: thirdVoter(box, state), NIC: state.LANNIC,
	}
	volumes, err := volumesOf(state.Services, device)
	if err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", box.Name, err)
	}
	data.Volumes = volumes
	data.Fencing = state.settings().Fencing != FencingOff
	data.Required = state.Fencing == FencingRequired
	var text bytes.Buffer
	if err := configText.Execute(&text, data); err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", box.Name, err)
	}
	return text.Bytes(), nil
}

// writeConfig writes the configuration of every box.
func writeConfig(lab string, state *State) error {
	for _, box := range state.boxes() {
		name, render := "gemel.yaml", renderConfig
		if box.Role == Etcd {
			name, render = "etcd.yaml", renderEtcd
		}
		text, err := render(box, state)
		if err != nil {
			return err
		}
		if err := os.WriteFile(nodeDir(lab, box.Name, "etc", name), text, 0o644); err != nil {
			return fmt.Errorf("configuration of %s: %w", box.Name, err)
		}
	}
	return nil
}

// writeKeys makes the cluster's keys with the product's own command, once, and
// gives every box its own.
func writeKeys(ctx context.Context, lab string, state *State) error {
	dir := filepath.Join(Dir(lab), "keys")
	if _, err := os.Stat(filepath.Join(dir, "client")); err != nil {
		command := exec.CommandContext(ctx, filepath.Join(Dir(lab), "bin", "gemel"), "keys", "init",
			"--dir", dir, "--cluster", lab, "--node", "server1", "--node", "server2",
			"--witness", "witness", "--client", "client")
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("keys of lab %s: gemel keys init: %w: %s", lab, err, strings.TrimSpace(string(out)))
		}
	}
	for _, box := range state.boxes() {
		if box.Role == Etcd {
			continue // it runs nothing of the product's
		}
		to := nodeDir(lab, box.Name, "etc", "keys")
		if err := os.RemoveAll(to); err != nil {
			return fmt.Errorf("keys of %s: %w", box.Name, err)
		}
		if err := copyKeys(filepath.Join(dir, box.Name), to); err != nil {
			return fmt.Errorf("keys of %s: %w", box.Name, err)
		}
	}
	return nil
}

// copyKeys copies a box's directory of keys, for root's eyes only.
func copyKeys(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(from, entry.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, entry.Name()), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}
