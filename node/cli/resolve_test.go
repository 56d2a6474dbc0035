package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gemel/node/api"
	"gemel/node/block"
	"gemel/node/config"
	"gemel/node/replicator/control"
	"gemel/node/replicator/undo"
)

// apart is what both nodes of a split brain tell, server2 Primary.
func apart() map[string]*control.Apart {
	old := control.Side{ReignStart: noon.Add(-time.Hour), ReignEnd: noon.Add(-time.Minute), Since: noon.Add(-30 * time.Minute), Changed: 3 << 20}
	now := control.Side{Primary: true, ReignStart: noon.Add(-20 * time.Minute), Since: noon.Add(-20 * time.Minute), Changed: 1 << 20}
	a := control.Apart{Name: "split-brain", Text: "both replicas acknowledged writes that the other lacks", Resolvable: true, Seen: noon}
	b := a
	a.Here, a.There = old, now
	b.Here, b.There = now, old
	return map[string]*control.Apart{"server1": &a, "server2": &b}
}

func TestSurveyShowsBothSides(t *testing.T) {
	s := survey{Volume: "data"}
	s.fill([]string{"server1", "server2"}, apart())
	text := s.render(noon)
	for _, want := range []string{"split-brain", "server1", "Secondary", "3.0 MiB", "server2", "Primary", "1.0 MiB", "20 min"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	half := survey{Volume: "data"}
	seen := apart()
	delete(seen, "server1")
	half.fill([]string{"server1", "server2"}, seen)
	if len(half.Sides) != 2 || half.Sides[0].Answers || half.Sides[0].Changed != 3<<20 || !strings.Contains(half.render(noon), "told last") {
		t.Errorf("%+v", half)
	}
}

func TestChooseSide(t *testing.T) {
	s := survey{Volume: "data"}
	s.fill([]string{"server1", "server2"}, apart())
	tests := []struct {
		name, typed, want string
		how               resolution
	}{
		{"asked", "server2\nserver1\n", "server2", resolution{}},
		{"said, guarded", "server1\n", "server2", resolution{keep: "server2"}},
		{"said, sure", "", "server2", resolution{keep: "server2", yes: true}},
		{"wrong guard", "server2\n", "", resolution{keep: "server2"}},
		{"stranger", "", "", resolution{keep: "witness", yes: true}},
		{"sure of nothing", "", "", resolution{yes: true}},
		{"no answer", "", "", resolution{}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			a := &app{Program: Program{In: strings.NewReader(tc.typed), Out: &bytes.Buffer{}}}
			keep, err := a.chooseSide(&s, tc.how)
			if keep != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("%q, %v", keep, err)
			}
		})
	}
}

func TestOnlyAPrimaryIsKept(t *testing.T) {
	s := survey{Volume: "data"}
	s.fill([]string{"server1", "server2"}, apart())
	a := &app{Program: Program{Out: &bytes.Buffer{}}, started: true}
	clients := map[string]*api.Client{"server1": api.NewUnixClient("/nowhere"), "server2": api.NewUnixClient("/nowhere")}
	err := a.carryOutResolve(context.Background(), &s, clients, "server1", true)
	if a.exitCode(err) != ExitRefused || !strings.Contains(err.Error(), "gemel grab data --stale --node server1") {
		t.Errorf("%v", err)
	}
}

// bytesOf is an undo.Source.
type bytesOf []byte

func (b bytesOf) ReadAt(p []byte, off int64) error { copy(p, b[off:]); return nil }

func TestUndoBringsTheVolumeBack(t *testing.T) {
	b := newBox(t, false)
	cfg, err := config.Load(b.config)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	lost, now := make([]byte, 8*block.Size), make([]byte, 9*block.Size)
	copy(lost[block.Size:], "what the loser wrote")
	copy(now[block.Size:], "what the winner wrote")
	copy(now[4*block.Size:], "of the winner alone")
	path, err := undo.Keep(t.Context(), dir, undo.Header{Volume: "data", Size: 8 * block.Size, Time: noon.UnixNano()},
		[]block.Range{{Off: block.Size, Len: block.Size}, {Off: 4 * block.Size, Len: block.Size}}, bytesOf(lost), make([]byte, block.Size))
	if err != nil {
		t.Fatal(err)
	}
	cfg.UndoDir = dir
	cfg.Volume("data").Device = filepath.Join(dir, "disk")
	if err := os.WriteFile(cfg.Volume("data").Device, now, 0o600); err != nil {
		t.Fatal(err)
	}
	a := &app{Program: Program{Out: &bytes.Buffer{}}}
	to := filepath.Join(dir, "image")
	if err := a.restoreTo(cfg, path, to); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, lost) {
		t.Errorf("the image is not what was lost: %v", err)
	}
	if err := a.restoreTo(cfg, path, to); err == nil {
		t.Error("an image was overwritten")
	}
	h, ranges, err := undoRanges(path)
	if err != nil || len(ranges) != 2 || h.Marked != 2*block.Size {
		t.Errorf("%+v %v %v", h, ranges, err)
	}
}
