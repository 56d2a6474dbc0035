package patch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOverlay(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("a.go", []byte("one two three two one"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "made")
	path, err := Overlay(dir, []Change{{"a.go", "three", "3"}, {"a.go", "one two 3", "1"}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "a.go"))
	if err != nil || string(text) != "1 two one" {
		t.Errorf("patched: %q (%v)", text, err)
	}
	description, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(description), `"Replace"`) {
		t.Errorf("described: %s (%v)", description, err)
	}
	if own, _ := os.ReadFile("a.go"); string(own) != "one two three two one" {
		t.Errorf("the file itself was changed: %q", own)
	}
	for old, want := range map[string]string{"two": "2 times", "four": "0 times"} {
		if _, err := Overlay(dir, []Change{{"a.go", old, ""}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", old, err, want)
		}
	}
	if _, err := Overlay(dir, []Change{{"none.go", "x", ""}}); err == nil {
		t.Error("a file that is not there was patched")
	}
}
