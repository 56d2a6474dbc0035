package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// field is a key or section of the file as a tree, built from the table of keys.
type field struct {
	name     string
	kind     Kind
	key      *Key
	children []*field
}

var root = buildSchema(keys)

func buildSchema(keys []Key) *field {
	top := &field{kind: section}
	for i := range keys {
		parts := strings.Split(keys[i].Path, ".")
		at := top
		for _, part := range parts[:len(parts)-1] {
			at = at.sub(part)
		}
		at.children = append(at.children, &field{name: parts[len(parts)-1], kind: keys[i].Kind, key: &keys[i]})
	}
	return top
}

// sub returns the section called part, such as "timing" or "nodes[]".
func (f *field) sub(part string) *field {
	name, isList := strings.CutSuffix(part, "[]")
	if c := f.child(name); c != nil {
		return c
	}
	c := &field{name: name, kind: section}
	if isList {
		c.kind = sections
	}
	f.children = append(f.children, c)
	return c
}

func (f *field) child(name string) *field {
	for _, c := range f.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (f *field) childNames() []string {
	names := make([]string, len(f.children))
	for i, c := range f.children {
		names[i] = c.name
	}
	return names
}

// unknownKey says what may have been meant by name in section f.
func unknownKey(f *field, name string) string {
	for _, k := range keys {
		if _, last, ok := cutLast(k.Path, "."); ok && last == name {
			return fmt.Sprintf("unknown key here; did you mean %s?", k.Path)
		}
	}
	if near := nearest(name, f.childNames()); near != "" {
		return fmt.Sprintf("unknown key; did you mean %s?", near)
	}
	return "unknown key; known here: " + strings.Join(f.childNames(), ", ")
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// join appends a key's name to the path of its section.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// envName returns the environment variable that overrides the key at path.
func envName(path string) string {
	r := strings.NewReplacer(".", "_", "-", "_", "[", "_", "]", "")
	return "GEMEL_" + strings.ToUpper(r.Replace(path))
}

// checkText reads a value given as text: a default or an environment variable.
func checkText(kind Kind, text string) (any, error) {
	switch kind {
	case Number:
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number", text)
		}
		return n, nil
	case Switch:
		if text != "true" && text != "false" {
			return nil, fmt.Errorf("%q is neither true nor false", text)
		}
		return text == "true", nil
	case Duration:
		return checkDuration(text)
	case Size:
		if _, err := ParseSize(text); err != nil {
			return nil, err
		}
		return text, nil
	case Texts:
		if text == "" {
			return []any{}, nil
		}
		var list []any
		for _, item := range strings.Split(text, ",") {
			list = append(list, strings.TrimSpace(item))
		}
		return list, nil
	}
	return text, nil
}

func checkDuration(text string) (any, error) {
	if _, err := strconv.ParseFloat(text, 64); err == nil && text != "0" {
		return nil, fmt.Errorf("%q lacks a unit; write it like %ss or %sms", text, text, text)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a duration; write it like 250ms, 2s or 1m30s", text)
	}
	if d < 0 {
		return nil, fmt.Errorf("%q is negative", text)
	}
	return text, nil
}

// checkNode reads a value from the file.
func checkNode(kind Kind, n *yaml.Node) (any, error) {
	if kind == Texts {
		return checkList(n)
	}
	if n.Kind != yaml.ScalarNode {
		return nil, fmt.Errorf("must be one value (%s), not a %s", kind, nodeKind(n))
	}
	if kind == Text && n.Tag != "!!str" {
		return nil, fmt.Errorf("%s is read as %s; put it in quotes", n.Value, strings.TrimPrefix(n.Tag, "!!"))
	}
	return checkText(kind, n.Value)
}

func checkList(n *yaml.Node) (any, error) {
	if n.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("must be a list, such as [one, two], not a %s", nodeKind(n))
	}
	list := make([]any, 0, len(n.Content))
	for i, item := range n.Content {
		if item.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("item %d must be a text, not a %s", i+1, nodeKind(item))
		}
		list = append(list, item.Value)
	}
	return list, nil
}

func nodeKind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "section"
	case yaml.SequenceNode:
		return "list"
	}
	return "single value"
}
