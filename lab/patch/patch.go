// Package patch builds the product with mistakes in it: text of the shipping code is
// replaced, and the go command is told to take the patched files in place of the real
// ones. The tree itself is never changed. What a mistake shows is the caller's affair.
package patch

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Change replaces Old, which must be in the file exactly once, by New. File is relative to
// the root of the repository.
type Change struct{ File, Old, New string }

// Overlay writes the patched files into dir, which is made, and returns the path of their
// description for the go command's -overlay. It must be called in the root of the repository.
func Overlay(dir string, changes []Change) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	text, err := patched(changes)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for file, s := range text {
		from, err := filepath.Abs(file)
		if err != nil {
			return "", err
		}
		to := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(to, []byte(s), 0o644); err != nil {
			return "", err
		}
		replace[from] = to
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, b, 0o644)
}

// patched returns the text of every changed file.
func patched(changes []Change) (map[string]string, error) {
	text := map[string]string{}
	for _, c := range changes {
		if _, have := text[c.File]; !have {
			b, err := os.ReadFile(c.File)
			if err != nil {
				return nil, fmt.Errorf("run it in the root of the repository: %w", err)
			}
			text[c.File] = string(b)
		}
		if n := strings.Count(text[c.File], c.Old); n != 1 {
			return nil, fmt.Errorf("the text to replace is %d times in %s, not once; bring the change up to date:\n%s", n, c.File, c.Old)
		}
		text[c.File] = strings.Replace(text[c.File], c.Old, c.New, 1)
	}
	return text, nil
}
