package undo

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"gemel/node/block"
)

var rewrite = flag.Bool("rewrite", false, "write the golden file anew; only for a new version")

// memory is a Source.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) error {
	if off+int64(len(p)) > int64(len(m)) {
		return errors.New("behind the end")
	}
	copy(p, m[off:])
	return nil
}

func sample() (Header, memory, []block.Range) {
	h := Header{Cluster: "lab", Volume: "data", Node: 1, Size: 16 * block.Size, Time: 1763900000000000000,
		Current: 0x11, Bitmap: 0x12, Source: 0x13}
	for i := range h.Replica {
		h.Replica[i] = byte(0xa0 + i)
	}
	m := make(memory, h.Size)
	for i := range block.Size {
		m[3*block.Size+i] = byte(i * 7)
	}
	return h, m, []block.Range{{Off: block.Size, Len: block.Size}, {Off: 3 * block.Size, Len: block.Size}}
}

// keep writes the sample into a new directory.
func keep(t *testing.T) (path string) {
	t.Helper()
	h, m, runs := sample()
	path, err := Keep(t.Context(), filepath.Join(t.TempDir(), "undo"), h, runs, m, make([]byte, 2*block.Size))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGolden(t *testing.T) {
	raw, err := os.ReadFile(keep(t))
	if err != nil {
		t.Fatal(err)
	}
	got := []byte(hex.Dump(raw))
	const file = "testdata/undo-v1.hex"
	if *rewrite {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the bytes of an undo file changed")
	}
}

func TestReadBack(t *testing.T) {
	path := keep(t)
	list, err := List(filepath.Dir(path))
	h, m, runs := sample()
	if err != nil || len(list) != 1 || list[0].Err != nil || list[0].Header.Marked != 2*block.Size || list[0].Header.Replica != h.Replica {
		t.Fatalf("%+v, %v", list, err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	_, err = Read(f, func(r block.Range, data []byte) error {
		if r != runs[n] || (data == nil) != (n == 0) || data != nil && !bytes.Equal(data, m[r.Off:r.End()]) {
			t.Errorf("record %d: %v", n, r)
		}
		n++
		return nil
	})
	if err != nil || n != 2 {
		t.Errorf("%d records, %v", n, err)
	}
}

// TestEveryByteCounts flips each byte, and cuts the file at each.
func TestEveryByteCounts(t *testing.T) {
	raw, err := os.ReadFile(keep(t))
	if err != nil {
		t.Fatal(err)
	}
	nothing := func(block.Range, []byte) error { return nil }
	for i := range raw {
		raw[i] ^= 4
		if _, err := Read(bytes.NewReader(raw), nothing); err == nil {
			t.Fatalf("byte %d was changed and nobody saw it", i)
		}
		raw[i] ^= 4
		if _, err := Read(bytes.NewReader(raw[:i]), nothing); err == nil {
			t.Fatalf("cut at %d and nobody saw it", i)
		}
	}
}

func TestAFailureLeavesNothing(t *testing.T) {
	h, m, runs := sample()
	dir := t.TempDir()
	runs = append(runs, block.Range{Off: h.Size, Len: block.Size})
	if _, err := Keep(t.Context(), dir, h, runs, m, make([]byte, block.Size)); err == nil {
		t.Fatal("a block that cannot be read was kept")
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestNoRoomIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	h, m, _ := sample()
	dir := t.TempDir()
	_, err := Keep(t.Context(), dir, h, []block.Range{{Len: 1 << 60}}, m, make([]byte, block.Size))
	if !errors.Is(err, ErrNoRoom) {
		t.Fatalf("%v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func FuzzRead(f *testing.F) {
	h, m, runs := sample()
	path, err := Keep(f.Context(), f.TempDir(), h, runs, m, make([]byte, block.Size))
	if err != nil {
		f.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:headerSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = Read(bytes.NewReader(b), func(r block.Range, data []byte) error {
			if r.Off < 0 || r.Len <= 0 || data != nil && int64(len(data)) != r.Len {
				t.Errorf("%v with %d bytes", r, len(data))
			}
			return nil
		})
	})
}
