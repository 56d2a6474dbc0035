package config

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// YAML returns the effective configuration, each value with its origin as a comment.
func (c *Config) YAML() string {
	top := &yaml.Node{Kind: yaml.MappingNode}
	for _, v := range c.values {
		place(top, v.path, scalar(v))
	}
	return encode(top)
}

// Defaults returns a file with every key, its default, unit and meaning. List
// sections show one item.
func Defaults() string {
	top := &yaml.Node{Kind: yaml.MappingNode}
	for i := range keys {
		k := &keys[i]
		v, err := checkText(k.Kind, k.Default)
		if err != nil || k.Default == "" && k.Kind != Texts {
			v = ""
		}
		n := scalar(value{key: k, value: v})
		n.LineComment = k.unit() + ": " + k.Text
		place(top, strings.ReplaceAll(k.Path, "[]", "[0]"), n)
	}
	return encode(top)
}

func encode(n *yaml.Node) string {
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return "# cannot be shown: " + err.Error() + "\n"
	}
	return out.String()
}

// scalar makes the node of one value; texts become a flow list.
func scalar(v value) *yaml.Node {
	n := &yaml.Node{}
	shown := v.value
	if shown == nil {
		shown = ""
	}
	if err := n.Encode(shown); err != nil {
		n.SetString(fmt.Sprint(shown))
	}
	n.Style |= yaml.FlowStyle
	switch v.origin {
	case FromEnv:
		n.LineComment = string(v.origin) + " " + strings.TrimPrefix(v.where, "environment ")
	case FromFile:
		n.LineComment = v.where
	default:
		n.LineComment = string(v.origin)
	}
	return n
}

// place puts leaf at path under top, making sections and list items on the way.
func place(top *yaml.Node, path string, leaf *yaml.Node) {
	at := top
	parts := strings.Split(path, ".")
	for _, part := range parts[:len(parts)-1] {
		name, index, isItem := strings.Cut(strings.TrimSuffix(part, "]"), "[")
		if !isItem {
			at = entry(at, name, yaml.MappingNode)
			continue
		}
		list := entry(at, name, yaml.SequenceNode)
		want, _ := strconv.Atoi(index) // paths are made by this package
		for len(list.Content) <= want {
			list.Content = append(list.Content, &yaml.Node{Kind: yaml.MappingNode})
		}
		at = list.Content[want]
	}
	at.Content = append(at.Content, name(parts[len(parts)-1]), leaf)
}

func entry(section *yaml.Node, key string, kind yaml.Kind) *yaml.Node {
	for i := 0; i+1 < len(section.Content); i += 2 {
		if section.Content[i].Value == key {
			return section.Content[i+1]
		}
	}
	n := &yaml.Node{Kind: kind}
	section.Content = append(section.Content, name(key), n)
	return n
}

func name(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }

// unit says how the value is written.
func (k *Key) unit() string {
	if k.Unit == "" {
		return string(k.Kind)
	}
	if k.Kind == Text {
		return k.Unit
	}
	return string(k.Kind) + ", " + k.Unit
}

// Markdown returns docs/operating/configuration.md: a page around the table of keys.
func Markdown() string {
	var b strings.Builder
	b.WriteString(pageHead)
	b.WriteString("| key | value | default | meaning |\n|---|---|---|---|\n")
	for i := range keys {
		k := &keys[i]
		def := "none"
		if k.Default != "" {
			def = "`" + k.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Path, k.unit(), def, k.Text)
	}
	b.WriteString(pageTail)
	return b.String()
}

const pageHead = `# Configuration

<!-- Generated from the table in node/config/keys.go: go test ./node/config -run TestDocs -update -->

All boxes carry the same file, ` + "`/etc/gemel/gemel.yaml`" + `; only ` + "`node`" + ` differs, and it defaults to the host name.
` + "`--config`" + ` or the environment variable ` + "`GEMEL_CONFIG`" + ` name another file. A change takes effect when the daemons are
restarted.

` + "```yaml\n" + Example + "```" + `

The file is read strictly. ` + "`gemel config check`" + ` lists every mistake at once, each with file and line, and ends with
exit code 1 if there is one. ` + "`gemel config show`" + ` prints the values in effect, each with where it comes from;
` + "`gemel config show --defaults`" + ` prints every key with its default.

An environment variable overrides a key: ` + "`GEMEL_`" + ` and the key in capitals, with ` + "`_`" + ` for dots and dashes, such as
` + "`GEMEL_TIMING_LEASE=5s`" + `. Items of a list are numbered from 0: ` + "`GEMEL_VOLUMES_0_DEVICE=/dev/sdb`" + `. A list of texts is
written with commas. An empty variable changes nothing.

## Keys

Durations are written like 250ms, 2s or 1m30s; sizes like 50MiB, with binary units (KiB, MiB, GiB, TiB).

`

const pageTail = `
## Rules between keys

- There are exactly two nodes; both have the same link names in the same order, and no address twice.
- ` + "`timing.major`" + ` is at least 3 × ` + "`timing.heartbeat`" + `.
- ` + "`timing.lease`" + ` is more than 2 × ` + "`timing.renew`" + `.
- No two volumes share a name, a backing device or a mount path; names of services are unique over all volumes.
- ` + "`start-wait` and `stop-wait`" + ` of a service are at most ` + "`timing.step-timeout`" + `.
`

// Example is a complete configuration of two nodes and a witness.
const Example = `cluster: lab
node: server1
nodes:
  - name: server1
    links:
      - {name: private, address: 198.18.1.1}
      - {name: lan, address: 198.18.0.1}
  - name: server2
    links:
      - {name: private, address: 198.18.1.2}
      - {name: lan, address: 198.18.0.2}
witness: {name: witness, address: 198.18.0.3}
replication: {links: [private]}
volumes:
  - name: data
    device: /dev/sdb
    mount: {path: /srv/data, type: ext4, options: [noatime], format-if-new: true}
    addresses:
      - {address: 198.18.0.250, interface: lan0}
    services:
      - name: nfs
        command: [ganesha.nfsd, -F, -f, /etc/gemel/ganesha.conf]
        ready-tcp: "127.0.0.1:2049"
`
