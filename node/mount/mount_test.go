package mount

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// device returns a loop device over a new, empty 32 MiB file.
func device(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for loop devices and mounts")
	}
	for _, tool := range []string{"losetup", "mkfs.ext4", "e2fsck", "blkid"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	path := filepath.Join(t.TempDir(), "disk")
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, os.Truncate(path, 32<<20))
	out, err := exec.Command("losetup", "--find", "--show", path).Output()
	if err != nil {
		t.Skipf("needs a free loop device: %v", err)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", dev).CombinedOutput(); err != nil {
			t.Errorf("detach %s: %v: %s", dev, err, out)
		}
	})
	return dev
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWholeLife(t *testing.T) {
	dev, ctx := device(t), t.Context()
	if sig, err := Signature(ctx, dev); sig != "" || err != nil {
		t.Fatalf("signature of an empty device: %q, %v", sig, err)
	}
	must(t, Format(ctx, dev, "ext4", false))
	if sig, err := Signature(ctx, dev); sig != "ext4" || err != nil {
		t.Errorf("signature: %q, %v; want ext4", sig, err)
	}
	if err := Format(ctx, dev, "ext4", false); err == nil || !strings.Contains(err.Error(), "ext4") {
		t.Errorf("format over a file system: %v, want a refusal", err)
	}
	must(t, Format(ctx, dev, "ext4", true)) // one that was not finished
	for _, p := range []Policy{Journal, Full} {
		if said, err := Check(ctx, dev, "ext4", p); err != nil || !strings.HasPrefix(said, "clean") {
			t.Errorf("check (%s): %q, %v", p, said, err)
		}
	}
	s := Spec{Device: dev, Path: filepath.Join(t.TempDir(), "a b", "mnt"), Type: "ext4",
		Options: []string{"noatime", "errors=remount-ro"}}
	must(t, Mount(ctx, s))
	t.Cleanup(func() { _ = LazyUnmount(context.Background(), s.Path) })
	must(t, Mount(ctx, s)) // the same again is nothing to do
	if m, ok, err := At(s.Path); !ok || err != nil || m.Source != dev || m.Type != "ext4" {
		t.Errorf("at %s: %+v, %v, %v", s.Path, m, ok, err)
	}
	other := Spec{Device: "tmpfs", Path: s.Path, Type: "tmpfs"}
	if err := Mount(ctx, other); !errors.Is(err, ErrOccupied) {
		t.Errorf("mount over it: %v, want ErrOccupied", err)
	}
	busyUnmount(t, s.Path)
	must(t, Unmount(ctx, s.Path))
	must(t, Unmount(ctx, s.Path))
}

func busyUnmount(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(filepath.Join(path, "held"))
	must(t, err)
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tries := 0
	err = unmount(ctx, path, func() error {
		if tries++; tries == 2 {
			defer cancel()
		}
		return unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
	})
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "held") {
		t.Errorf("unmount of a busy file system: %v, want ErrBusy with the open file", err)
	}
}

// TestTimeEndsDuringATry: who is in the way is told even if the time ends while
// the kernel is asked once more; a kernel that never answered is ErrStuck.
func TestTimeEndsDuringATry(t *testing.T) {
	for _, c := range []struct {
		answers int // before the kernel falls silent
		want    error
	}{{0, ErrStuck}, {1, ErrBusy}, {3, ErrBusy}} {
		ctx, cancel := context.WithCancel(t.Context())
		end, asked := make(chan struct{}), 0
		err := unmount(ctx, "/", func() error {
			if asked++; asked <= c.answers {
				return unix.EBUSY
			}
			cancel()
			<-end
			return unix.EBUSY
		})
		close(end)
		if !errors.Is(err, c.want) {
			t.Errorf("after %d answers: %v, want %v", c.answers, err, c.want)
		}
	}
}

func TestLazyUnmountOfBusy(t *testing.T) {
	dev, ctx := device(t), t.Context()
	must(t, Format(ctx, dev, "ext4", false))
	s := Spec{Device: dev, Path: filepath.Join(t.TempDir(), "mnt"), Type: "ext4"}
	must(t, Mount(ctx, s))
	f, err := os.Create(filepath.Join(s.Path, "held"))
	must(t, err)
	must(t, LazyUnmount(ctx, s.Path))
	must(t, LazyUnmount(ctx, s.Path))
	if _, ok, err := At(s.Path); ok || err != nil {
		t.Errorf("still in sight (%v)", err)
	}
	must(t, f.Close())
}

func TestCheckRefusesDamage(t *testing.T) {
	dev, ctx := device(t), t.Context()
	must(t, Format(ctx, dev, "ext4", false))
	fd, err := unix.Open(dev, unix.O_RDWR|unix.O_SYNC|unix.O_CLOEXEC, 0)
	must(t, err)
	_, err = unix.Pwrite(fd, make([]byte, 64<<10), 1024) // superblock and first tables
	must(t, errors.Join(err, unix.Close(fd)))
	said, err := Check(ctx, dev, "ext4", Full)
	if err == nil {
		t.Errorf("a file system without a superblock passed: %q", said)
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		code    int
		ok      bool
		damaged bool
	}{{0, true, false}, {1, true, false}, {3, true, false}, {4, false, true},
		{5, false, true}, {8, false, false}, {12, false, false}, {16, false, false}, {32, false, false}} {
		_, err := verdict("dev", c.code, "words")
		if (err == nil) != c.ok || errors.Is(err, ErrDamaged) != c.damaged {
			t.Errorf("code %d: %v", c.code, err)
		}
	}
}

func TestMissingDeviceIsNotBlank(t *testing.T) {
	if _, err := exec.LookPath("blkid"); err != nil {
		t.Skip("needs blkid")
	}
	missing := filepath.Join(t.TempDir(), "none")
	if sig, err := Signature(t.Context(), missing); err == nil {
		t.Errorf("signature of a missing device: %q without an error", sig)
	}
	if err := Format(t.Context(), missing, "ext4", false); err == nil {
		t.Error("a missing device was formatted")
	}
}

func TestRunIsBounded(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := run(ctx, "sleep", "60"); !errors.Is(err, ErrStuck) {
		t.Errorf("a program without an end: %v, want ErrStuck", err)
	}
}

func TestParse(t *testing.T) {
	bits, data := parse([]string{"defaults", "noatime", "ro", "rw", "data=ordered", "nodev", "barrier=1"})
	if bits != unix.MS_NOATIME|unix.MS_NODEV || data != "data=ordered,barrier=1" {
		t.Errorf("bits %#x, data %q", bits, data)
	}
	m, ok := parseLine(`36 35 7:3 / /srv/a\040b rw,noatime shared:1 - ext4 /dev/loop3 rw`)
	if !ok || m != (Mounted{"/dev/loop3", "/srv/a b", "ext4", "7:3"}) {
		t.Errorf("line: %+v, %v", m, ok)
	}
}

// TestFormatDiscardsNothing: a discard of a volume on a disk without discards writes all of it.
func TestFormatDiscardsNothing(t *testing.T) {
	for fstype, want := range map[string]string{
		"ext4": "-q -F -E nodiscard /dev/x", "ext3": "-q -F -E nodiscard /dev/x", "xfs": "-K /dev/x", "btrfs": "-K /dev/x",
		"vfat": "/dev/x",
	} {
		if got := strings.Join(formatArgs(fstype, "/dev/x", false), " "); got != want {
			t.Errorf("mkfs.%s %s, want %s", fstype, got, want)
		}
	}
}
