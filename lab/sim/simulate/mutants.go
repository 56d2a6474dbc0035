package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"gemel/lab/patch"
)

// mutant is a mistake that the simulation must find. It is made by replacing
// text of the shipping code, which must be there exactly once.
type mutant struct {
	name    string
	changes []change
	script  string // the test that plays its story; empty: seeds find it
}

type change struct{ file, old, new string }

const (
	coreRoom  = "node/replicator/volume/core/"
	tableRoom = "node/replicator/handshake/table.go"
)

var mutants = []mutant{
	{"acknowledge before the peer wrote", []change{{coreRoom + "primary.go",
		"return c.peerDone(q)", "return true"}}, ""},
	{"bit cleared before the barrier", []change{{coreRoom + "checksum.go", "\tc.remember(now, q.r)\n", ""}}, ""},
	{"old epoch accepted by the replica", []change{{coreRoom + "secondary.go",
		"if m.Epoch < c.register.Promised || m.Epoch != c.peerEpoch || !c.peer.Primary {", "if !c.peer.Primary {"}}, ""},
	{"overlap order dropped", []change{{coreRoom + "request.go",
		"if a.r.Overlaps(q.r) {", "if a.r == q.r && a.kind == theirWrite {"}}, ""},
	{"log transaction skipped", []change{{coreRoom + "activity.go",
		"if q.r.Empty() {", "if q.r.Off >= 0 {"}}, ""},
	{"extent let go before its bits are saved", []change{{coreRoom + "activity.go",
		"return c.pages.covered(c.extentRange(extent), m.bits)", "return extent == extent"}}, ""},
	{"empty disk filled by bits only", []change{{tableRoom,
		"func(m *meeting) bool { return m.t.Created }, always(SourceFull)}", "func(m *meeting) bool { return m.t.Created }, always(SourceBitmap)}"}}, ""},
	{"older image not noticed", []change{{tableRoom,
		"return met && !knows", "return met && !met && !knows"}}, ""},
	{"difference that a verify found not told", []change{{coreRoom + "verify.go",
		"\t\t\t\tc.different(now, run)\n", ""}}, ""},
	{"slot of the superblock ignores its checksum", []change{{"node/replicator/meta/superblock.go",
		"got, want := checksumSlot(b), le.Uint32(b[offCRC:]); got != want {",
		"got, want := checksumSlot(b), le.Uint32(b[offCRC:]); got != want && got == 0 {"}}, ""},
	{"repair from the wrong side", []change{{coreRoom + "verify.go",
		"s := VerifyState{Running: w[0]&1 != 0, Paused", "s := VerifyState{Running: w[0]&1 != 0, Repair: w[0]&2 != 0, Paused"}}, "TestARepairEndsWithItsReign"},
	{"split brain taken for a bitmap resync", []change{{tableRoom,
		"func(m *meeting) bool { return m.rel == diverged }, split}", "func(m *meeting) bool { return m.rel == diverged && !m.primary }, split}"}}, ""},
	{"older data by a human's word not noticed", []change{{tableRoom,
		"return m.rel == behind || m.rel == ancient }", "return m.rel == ancient }"}}, ""},
	{"undo file without what only the Primary changed", []change{{coreRoom + "discard.go",
		"if c.losing.bits != nil {", "if c.losing.bits == nil && c.losing.bits != nil {"}}, ""},
	{"policy gives up who changed something", []change{{"node/replicator/handshake/policy.go",
		"m.counted() && min(a.Changed, b.Changed) == 0,", "m.counted(),"}}, ""},
	{"a crash marks everything", []change{{coreRoom + "core.go",
		"meta.Active && !c.recoverLog(&cfg.Log)", "meta.Active && (c.recoverLog(&cfg.Log) || true)"}}, ""},
	{"block that the application was told of not copied again", []change{{coreRoom + "onerror.go",
		"\t\tq.again = true\n", "\t\tq.again = false\n"}}, ""},
	{"half of the new part not blanked", []change{{coreRoom + "grow.go",
		"Range: block.Range{Off: from, Len: size - from}", "Range: block.Range{Off: from, Len: (size - from) / 2}"}}, ""},
	{"new size taken before the peer was asked", []change{{coreRoom + "grow.go",
		"	case c.meta.Room < g.aim:\n", "	case c.primary && g.running && c.meta.Room >= g.aim:\n\t\tc.raise(g.aim)\n\tcase c.meta.Room < g.aim:\n"}}, ""},
	{"repair of one block for all that differ", []change{{coreRoom + "verify.go",
		"\tq := c.alloc(copying, r)\n\tq.repair = true", "\tr.Len = block.Size\n\tq := c.alloc(copying, r)\n\tq.repair = true"}}, ""},
}

// runMutants demands that each mutant is found.
func runMutants(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "gemel-mutants-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	missed := 0
	for i, m := range mutants {
		if !strings.Contains(m.name, o.only) {
			continue
		}
		words, err := m.play(ctx, filepath.Join(dir, strconv.Itoa(i)), o)
		if err != nil {
			return fmt.Errorf("mutant %q: %w", m.name, err)
		}
		if words == "" {
			missed++
			words = fmt.Sprintf("NOT FOUND within %d seeds", o.seeds)
		}
		fmt.Printf("mutant %q: %s\n", m.name, words)
	}
	if missed > 0 {
		return fmt.Errorf("%d mutants were not found: the simulation lost its eyes there", missed)
	}
	return nil
}

// play builds the simulator with the mutant in it and returns the violation it
// finds, empty for none.
func (m *mutant) play(ctx context.Context, dir string, o options) (string, error) {
	overlay, err := m.overlay(dir)
	if err != nil {
		return "", err
	}
	if m.script != "" {
		return m.playScript(ctx, overlay)
	}
	binary := filepath.Join(dir, "simulate")
	build := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", binary, "./lab/sim/simulate")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	play := exec.CommandContext(ctx, binary, "-brief", "-first", fmt.Sprint(o.first), "-seeds", fmt.Sprint(o.seeds),
		"-jobs", fmt.Sprint(o.jobs))
	out, err := play.CombinedOutput()
	var code *exec.ExitError
	switch {
	case err == nil:
		return "", nil
	case errors.As(err, &code) && code.ExitCode() == exitBroken:
		words, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return "found by " + words, nil
	}
	return "", fmt.Errorf("%w: %s", err, out)
}

// playScript plays a story that chance hardly ever tells.
func (m *mutant) playScript(ctx context.Context, overlay string) (string, error) {
	play := exec.CommandContext(ctx, "go", "test", "-overlay", overlay, "-vet=off", "-count=1", "-run", "^"+m.script+"$", "./lab/sim")
	out, err := play.CombinedOutput()
	switch {
	case err == nil:
		return "", nil
	case strings.Contains(string(out), "--- FAIL: "+m.script):
		return "found by " + m.script, nil
	}
	return "", fmt.Errorf("%w: %s", err, out)
}

// overlay writes the patched files and the description of them that the go
// command takes.
func (m *mutant) overlay(dir string) (string, error) {
	var changes []patch.Change
	for _, c := range m.changes {
		changes = append(changes, patch.Change{File: c.file, Old: c.old, New: c.new})
	}
	return patch.Overlay(dir, changes)
}
