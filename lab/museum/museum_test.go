package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"gemel/lab/patch"
)

// TestExhibitsFit: the text that brings a bug back is still there, and the document has
// its story.
func TestExhibitsFit(t *testing.T) {
	t.Chdir("../..")
	document, err := os.ReadFile("docs/museum.md")
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for _, e := range exhibits {
		if e.number <= last {
			t.Errorf("no. %d comes after no. %d", e.number, last)
		}
		last = e.number
		if !strings.Contains(string(document), fmt.Sprintf("\n| %d |", e.number)) {
			t.Errorf("no. %d is not in docs/museum.md", e.number)
		}
		if (e.why == "") == (len(e.bug) == 0) {
			t.Errorf("no. %d: either it can be brought back, or the table says why not", e.number)
		}
		if _, err := patch.Overlay(t.TempDir(), e.bug); err != nil {
			t.Errorf("no. %d: %v", e.number, err)
		}
	}
}

func TestAnExhibitIsShown(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command (package golang-go)")
	}
	t.Chdir("../..")
	if err := visit(t.Context(), "025", ""); err != nil {
		t.Error(err)
	}
	blind := exhibit{number: 1, room: "./lab/patch", bug: []patch.Change{{
		File: "lab/patch/patch.go", Old: "// Package patch builds", New: "// Package patch makes"}}}
	if err := blind.show(t.Context(), "buggy"); err == nil || !strings.Contains(err.Error(), "does not see the mistake") {
		t.Errorf("a change that is no mistake: %v", err)
	}
	broken := exhibit{number: 1, room: "./lab/patch", bug: []patch.Change{{
		File: "lab/patch/patch.go", Old: "package patch\n\nimport", New: "package patch\n\nimporting"}}}
	if err := broken.show(t.Context(), "buggy"); err == nil || strings.Contains(err.Error(), "does not see") {
		t.Errorf("a change that does not build: %v", err)
	}
}

func TestVisitRefuses(t *testing.T) {
	for which, want := range map[string]error{"": errUsage, "x": errUsage, "9999": errUsage} {
		if err := visit(t.Context(), which, ""); !errors.Is(err, want) {
			t.Errorf("%q: %v", which, err)
		}
	}
	if err := visit(t.Context(), "002", ""); err == nil || !strings.Contains(err.Error(), "cannot be brought back") {
		t.Errorf("what cannot be shown: %v", err)
	}
}
