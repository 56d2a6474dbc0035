package loopdev

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestAttachFindDetach(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root on the host: attaches a loop device")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("the host's kernel has no loop devices (/dev/loop-control is missing)")
	}
	file := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 1<<20); err != nil {
		t.Fatal(err)
	}
	path, err := Attach(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = Detach(path) })
	found := func() int {
		devices, err := List()
		if err != nil {
			t.Fatal(err)
		}
		return slices.IndexFunc(devices, func(d Device) bool { return d.Backing == file })
	}
	index := found()
	if index < 0 {
		t.Fatalf("%s is attached to %s but not listed", file, path)
	}
	devices, _ := List()
	if got := devices[index].Label; got != file {
		t.Errorf("label is %q, want %q", got, file)
	}
	for range 2 {
		if err := Detach(path); err != nil {
			t.Fatal(err)
		}
	}
	if found() >= 0 {
		t.Errorf("%s is still attached", path)
	}
}

func TestAttachMissingFile(t *testing.T) {
	if _, err := Attach(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Fatal("a missing file was attached")
	}
}
