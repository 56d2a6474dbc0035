package mount

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestNeverLooksAtNothing(t *testing.T) {
	for _, fstype := range []string{"ext4", "xfs"} {
		if did, err := Check(t.Context(), "/dev/no-such-device", fstype, Never); err != nil || !strings.Contains(did, "never") {
			t.Errorf("%s: %q, %v", fstype, did, err)
		}
	}
	if _, err := Check(t.Context(), "/dev/no-such-device", "ext4", "sometimes"); err == nil {
		t.Error("a policy that does not exist was taken")
	}
}

// TestFullCheckOfACrashedXFS: the journal is replayed first, or nothing would be looked at.
func TestFullCheckOfACrashedXFS(t *testing.T) {
	dev, ctx := device(t), t.Context()
	for _, tool := range []string{"mkfs.xfs", "xfs_repair", "xfs_io"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s (package xfsprogs)", tool)
		}
	}
	file, err := os.ReadFile("/sys/block/" + filepath.Base(dev) + "/loop/backing_file")
	must(t, err)
	must(t, os.Truncate(strings.TrimSpace(string(file)), 320<<20)) // an XFS is not made smaller
	if out, err := exec.Command("losetup", "--set-capacity", dev).CombinedOutput(); err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	must(t, Format(ctx, dev, "xfs", false))
	if did, err := Check(ctx, dev, "xfs", Full); err != nil || !strings.HasPrefix(did, "clean: ") {
		t.Fatalf("a new one: %q, %v", did, err)
	}
	s := Spec{Device: dev, Path: filepath.Join(t.TempDir(), "here"), Type: "xfs"}
	if err := Mount(ctx, s); err != nil {
		t.Skipf("needs a kernel that mounts XFS: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(s.Path, "file"), []byte("kept"), 0o600))
	out, err := exec.Command("xfs_io", "-x", "-c", "fsync", "-c", "shutdown -f", filepath.Join(s.Path, "file")).CombinedOutput()
	must(t, Unmount(ctx, s.Path))
	if err != nil {
		t.Skipf("needs to crash a file system: %v: %s", err, out)
	}
	if did, err := Check(ctx, dev, "xfs", Full); err != nil || !strings.Contains(did, "journal was replayed") {
		t.Errorf("a crashed one: %q, %v", did, err)
	}
	must(t, Mount(ctx, s))
	raw, err := os.ReadFile(filepath.Join(s.Path, "file"))
	must(t, Unmount(ctx, s.Path))
	if err != nil || string(raw) != "kept" {
		t.Errorf("the file: %q, %v", raw, err)
	}
}
