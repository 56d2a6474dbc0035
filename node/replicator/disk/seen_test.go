package disk

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sizes", "data")
	if got := Seen(path); got != nil {
		t.Errorf("nobody knows, and it says %d", got)
	}
	for _, sizes := range [][]int64{{1 << 30}, {1 << 30}, {2 << 30, 1 << 30}, {2 << 30}} {
		if err := Remember(path, sizes...); err != nil || !slices.Equal(Seen(path), sizes) {
			t.Errorf("%d became %d, %v", sizes, Seen(path), err)
		}
	}
	if err := os.WriteFile(path, []byte("torn"), 0o600); err != nil || Seen(path) != nil {
		t.Errorf("a torn file says %d, %v", Seen(path), err)
	}
	if err := Remember(filepath.Join(path, "x"), 1); err == nil {
		t.Error("a place that is no directory was taken")
	}
}

// TestMeasure: a file that grows under an open disk is found out only when asked.
func TestMeasure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := os.Truncate(path, 3<<20+100); err != nil {
		t.Fatal(err)
	}
	if d.Size() != 1<<20 {
		t.Errorf("size %d without being asked", d.Size())
	}
	if n, err := d.Measure(); err != nil || n != 3<<20 || d.Size() != 3<<20 {
		t.Errorf("measured %d, %v", n, err)
	}
	if err := d.WriteAt(make([]byte, 4096), 2<<20); err != nil {
		t.Errorf("write to the new part: %v", err)
	}
}
