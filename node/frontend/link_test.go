package frontend

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestLinkSparesFiles: a device directory is shared with other users.
func TestLinkSparesFiles(t *testing.T) {
	o := Options{Name: "data", DeviceDir: t.TempDir()}
	path := filepath.Join(o.DeviceDir, "data")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Link(o, "/dev/loop0"); err == nil {
		t.Error("a file was replaced by a link")
	}
}

func TestLinkAndUnlink(t *testing.T) {
	o := Options{Name: "data", DeviceDir: filepath.Join(t.TempDir(), "dev")}
	for _, target := range []string{"/dev/loop0", "/dev/loop1"} {
		link, err := Link(o, target)
		if to, _ := os.Readlink(link); err != nil || to != target {
			t.Fatalf("the link leads to %q (%v), want %s", to, err, target)
		}
	}
	link := filepath.Join(o.DeviceDir, o.Name)
	if err := Unlink(link, "/dev/loop0"); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(link); err != nil {
		t.Errorf("a link that leads elsewhere was removed: %v", err)
	}
	if err := Unlink(link, "/dev/loop1"); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(link); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the link is still there: %v", err)
	}
}
