package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/viper"
	"gopkg.in/yaml.v3"
)

// Origin tells where a value comes from.
type Origin string

// Origins of a value.
const (
	FromDefault Origin = "default"
	FromFile    Origin = "file"
	FromEnv     Origin = "environment"
	FromHost    Origin = "host name"
)

// value is one effective value with its origin.
type value struct {
	path   string
	key    *Key
	value  any
	origin Origin
	where  string
}

// reader walks the file beside the schema, and collects values and mistakes.
type reader struct {
	file     string
	values   []value
	lines    map[string]int    // by path, of every key and section in the file
	env      map[string]string // by path, of keys that an environment variable overrides
	used     map[string]bool   // names of those variables
	bad      map[string]bool   // paths that have a mistake already
	mistakes Mistakes
}

// Path returns the configuration file to use: flag if not empty, else
// GEMEL_CONFIG, else DefaultPath.
func Path(flag string) string {
	if flag != "" {
		return flag
	}
	if env := os.Getenv("GEMEL_CONFIG"); env != "" {
		return env
	}
	return DefaultPath
}

// Load reads the file at path, completes it with defaults, applies the
// environment and checks everything. A file that can be read but not accepted
// gives Mistakes as its error, every mistake at once.
func Load(path string) (*Config, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("read configuration: %w; write one (docs/operating/configuration.md has an example) "+
				"or name it with --config or GEMEL_CONFIG", err)
		}
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, raw)
}

// Parse is Load for a file's content; path is used in messages.
func Parse(path string, raw []byte) (*Config, error) {
	r := &reader{file: path, lines: map[string]int{}, env: map[string]string{}, used: map[string]bool{}, bad: map[string]bool{}}
	top, err := document(raw)
	if err != nil {
		return nil, Mistakes{{Where: path, Text: "not valid YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}}
	}
	tree := r.section("", root, top)
	r.strayEnvironment()
	cfg, err := unmarshal(tree)
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", path, err)
	}
	cfg.path = path
	r.hostName(cfg)
	r.listOrder(cfg)
	cfg.values = r.values
	check(cfg, r)
	if len(r.mistakes) > 0 {
		return nil, r.mistakes.sorted()
	}
	return cfg, nil
}

// document returns the mapping of the file; nil for an empty file.
func document(raw []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(raw)).Decode(&doc); err != nil {
		if len(bytes.TrimSpace(raw)) == 0 || err.Error() == "EOF" {
			return nil, nil
		}
		return nil, err
	}
	return resolve(doc.Content[0]), nil
}

// resolve follows an alias, and turns "nothing given" into nil.
func resolve(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n != nil && n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}
	return n
}

// unmarshal lets viper put defaults under the values and fill the Config.
// UnmarshalExact is a second net: an unknown key cannot get here.
func unmarshal(tree map[string]any) (*Config, error) {
	v := viper.New()
	for _, k := range keys {
		if !strings.Contains(k.Path, "[]") && k.Default != "" {
			v.SetDefault(k.Path, k.Default)
		}
	}
	if err := v.MergeConfigMap(tree); err != nil {
		return nil, err
	}
	cfg := &Config{}
	return cfg, v.UnmarshalExact(cfg)
}

func (r *reader) mistake(path, format string, args ...any) {
	if r.bad[path] {
		return // the first mistake of a key is the one to mend
	}
	r.bad[path] = true
	where, line := r.where(path)
	r.mistakes = append(r.mistakes, Mistake{Where: where, Line: line, Key: path, Text: fmt.Sprintf(format, args...)})
}

// where finds the place of a key, or of the nearest section around it.
func (r *reader) where(path string) (string, int) {
	if name, ok := r.env[path]; ok {
		return "environment " + name, 0
	}
	for p := path; p != ""; p = parent(p) {
		if line, ok := r.lines[p]; ok {
			return fmt.Sprintf("%s:%d", r.file, line), line
		}
	}
	return r.file, 0
}

// parent cuts the last ".name" or "[n]" off a path.
func parent(path string) string {
	i := strings.LastIndexAny(path, ".[")
	if i < 0 {
		return ""
	}
	return path[:i]
}

// section reads one section; n is nil when the file does not have it.
func (r *reader) section(path string, f *field, n *yaml.Node) map[string]any {
	given := r.children(path, f, n)
	tree := map[string]any{}
	for _, c := range f.children {
		at := join(path, c.name)
		switch c.kind {
		case section:
			if sub := r.section(at, c, given[c.name]); len(sub) > 0 {
				tree[c.name] = sub
			}
		case sections:
			tree[c.name] = r.list(at, c, given[c.name])
		default:
			if v, ok := r.leaf(at, c, given[c.name]); ok {
				tree[c.name] = v
			}
		}
	}
	return tree
}

// children returns the section's entries, after reporting those that are unknown or doubled.
func (r *reader) children(path string, f *field, n *yaml.Node) map[string]*yaml.Node {
	given := map[string]*yaml.Node{}
	if n == nil {
		return given
	}
	if n.Kind != yaml.MappingNode {
		r.lines[path] = n.Line
		r.mistake(path, "must be a section with keys (%s), not a %s", strings.Join(f.childNames(), ", "), nodeKind(n))
		return given
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, at := n.Content[i].Value, join(path, n.Content[i].Value)
		_, twice := r.lines[at]
		if !twice {
			r.lines[at] = n.Content[i].Line
		}
		switch {
		case f.child(name) == nil:
			r.mistake(at, "%s", unknownKey(f, name))
		case twice:
			r.mistake(at, "given twice, again on line %d", n.Content[i].Line)
		default:
			given[name] = resolve(n.Content[i+1])
		}
	}
	return given
}

func (r *reader) list(path string, f *field, n *yaml.Node) []any {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.mistake(path, "must be a list (each item starts with a dash), not a %s", nodeKind(n))
		return nil
	}
	items := make([]any, 0, len(n.Content))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		r.lines[at] = item.Line
		items = append(items, r.section(at, f, resolve(item)))
	}
	return items
}

// leaf reads one value: from the environment, else the file, else the default.
// The default of a key outside of lists is left to viper.
func (r *reader) leaf(path string, f *field, n *yaml.Node) (any, bool) {
	var v any
	var err error
	origin := FromDefault
	name := envName(path)
	text := os.Getenv(name)
	switch {
	case text != "":
		r.used[name], r.env[path] = true, name
		v, err = checkText(f.kind, text)
		origin = FromEnv
	case n != nil:
		v, err = checkNode(f.kind, n)
		origin = FromFile
	case f.key.Default != "" || f.kind == Texts:
		v, err = checkText(f.kind, f.key.Default)
	}
	if err != nil {
		r.mistake(path, "%s", err.Error())
		return nil, false
	}
	where, _ := r.where(path)
	r.values = append(r.values, value{path: path, key: f.key, value: v, origin: origin, where: where})
	left := origin == FromDefault && !strings.Contains(path, "[")
	return v, v != nil && !left
}

// strayEnvironment reports variables that look like a misspelt key. Others that
// begin with GEMEL_ are none of our business.
func (r *reader) strayEnvironment() {
	var known []string
	for _, k := range keys {
		if !strings.Contains(k.Path, "[]") {
			known = append(known, envName(k.Path))
		}
	}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "GEMEL_") || name == "GEMEL_CONFIG" || r.used[name] {
			continue
		}
		for _, k := range known {
			if d := editDistance(name, k); d > 0 && d <= 2 {
				r.mistakes = append(r.mistakes, Mistake{Where: "environment " + name, Text: "unknown key; did you mean " + k + "?"})
				break
			}
		}
	}
}

// hostName completes the node's name with the host's.
func (r *reader) hostName(cfg *Config) {
	if cfg.Node != "" || r.bad["node"] {
		return
	}
	cfg.Node, _ = os.Hostname()
	for i := range r.values {
		if r.values[i].path == "node" {
			r.values[i].value, r.values[i].origin = cfg.Node, FromHost
		}
	}
}
