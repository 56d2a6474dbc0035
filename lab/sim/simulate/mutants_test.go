package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestMutantsFit: the text that a mutant replaces is still there, so that
// make sim-mutants has something to find.
func TestMutantsFit(t *testing.T) {
	t.Chdir("../../..")
	dir := t.TempDir()
	for _, m := range mutants {
		if _, err := m.overlay(filepath.Join(dir, m.name)); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

func TestMutantThatDoesNotFitIsLoud(t *testing.T) {
	m := mutant{"nothing", []change{{"go.mod", "no such text", ""}}, ""}
	t.Chdir("../../..")
	if _, err := m.overlay(t.TempDir()); err == nil || !strings.Contains(err.Error(), "0 times") {
		t.Errorf("%v", err)
	}
}

func TestParseKeep(t *testing.T) {
	for in, want := range map[string]int{"": 0, "none": 0, "3": 1, "1,2,5": 3} {
		if keep, err := parseKeep(in); err != nil || len(keep) != want || in == "none" && keep == nil {
			t.Errorf("%q: %v, %v", in, keep, err)
		}
	}
	if _, err := parseKeep("a"); err == nil {
		t.Error("a letter was taken")
	}
}
