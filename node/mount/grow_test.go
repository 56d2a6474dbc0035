package mount

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGrow enlarges the device of a mounted file system.
func TestGrow(t *testing.T) {
	dev, ctx := device(t), t.Context()
	if _, err := exec.LookPath("resize2fs"); err != nil {
		t.Skip("needs resize2fs (package e2fsprogs)")
	}
	must(t, Format(ctx, dev, "ext4", false))
	s := Spec{Device: dev, Path: filepath.Join(t.TempDir(), "here"), Type: "ext4"}
	must(t, Mount(ctx, s))
	t.Cleanup(func() { must(t, Unmount(t.Context(), s.Path)) })
	defer func() { must(t, Unmount(ctx, s.Path)) }()
	if before, after, err := Grow(ctx, s); err != nil || after != before {
		t.Errorf("a device that did not grow: %d, then %d, %v", before, after, err)
	}
	file, err := os.ReadFile("/sys/block/" + filepath.Base(dev) + "/loop/backing_file")
	must(t, err)
	must(t, os.Truncate(strings.TrimSpace(string(file)), 96<<20))
	if out, err := exec.Command("losetup", "--set-capacity", dev).CombinedOutput(); err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	before, after, err := Grow(ctx, s)
	if errors.Is(err, ErrNotAllowed) {
		t.Skipf("needs CAP_SYS_RESOURCE, without which ext4 does not grow while it is mounted: %v", err)
	}
	if err != nil || after < before+40<<20 {
		t.Errorf("%d, then %d, %v", before, after, err)
	}
	s.Type = "nosuchfs"
	if _, _, err := Grow(ctx, s); err == nil {
		t.Error("a type that is not known was grown")
	}
}
