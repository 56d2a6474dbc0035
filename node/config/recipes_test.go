package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRecipes: what the documentation tells people to write is a configuration.
func TestRecipes(t *testing.T) {
	files, err := filepath.Glob("../../docs/recipes/*/gemel.yaml")
	if err != nil || len(files) < 6 {
		t.Fatalf("recipes %v (%v)", files, err)
	}
	head := Example[:strings.Index(Example, "volumes:")]
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(file, []byte(head+string(text)))
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range c.Volumes {
			for _, s := range v.Services {
				start := strings.TrimPrefix(s.Command[0], "/usr/share/gemel/recipes/")
				if info, err := os.Stat(filepath.Join("../../docs/recipes", start)); err != nil || info.Mode()&0o111 == 0 {
					t.Errorf("%s: %s cannot be run (%v)", file, start, err)
				}
				if s.Command[1] != v.Mount.Path || s.Command[2] != v.Addresses[0].Address {
					t.Errorf("%s: service %s is started with %v", file, s.Name, s.Command)
				}
			}
		}
	}
}
