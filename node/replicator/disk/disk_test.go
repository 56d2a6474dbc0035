package disk

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gemel/node/replicator/buffer"
)

// file makes a backing file of size bytes.
func file(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backing")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *Disk {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestReadWrite(t *testing.T) {
	d := open(t, file(t, 1<<20+100))
	if d.Size() != 1<<20 {
		t.Errorf("size %d is not rounded down", d.Size())
	}
	for name, p := range map[string][]byte{
		"aligned memory":   buffer.Aligned(8192),
		"unaligned memory": buffer.Aligned(8192 + 4096)[1:8193],
	} {
		for i := range p {
			p[i] = byte(i * 7)
		}
		if err := d.WriteAt(p, 4096); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(p)+1)[1:]
		if err := d.ReadAt(got, 4096); err != nil || !bytes.Equal(got, p) {
			t.Errorf("%s: read back something else, %v", name, err)
		}
	}
}

func TestRange(t *testing.T) {
	d := open(t, file(t, 1<<20))
	for _, c := range []struct {
		n   int
		off int64
	}{{4096, -4096}, {4096, 1}, {100, 0}, {4096, 1 << 20}, {8192, 1<<20 - 4096}, {4096, 1<<63 - 4096}} {
		if err := d.WriteAt(make([]byte, c.n), c.off); !errors.Is(err, ErrRange) {
			t.Errorf("%d bytes at %d: %v", c.n, c.off, err)
		}
	}
}

func TestClosed(t *testing.T) {
	d := open(t, file(t, 1<<20))
	d.Close()
	for _, err := range []error{d.Sync(), d.ReadAt(make([]byte, 4096), 0), d.WriteAt(make([]byte, 4096), 0)} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}

func TestRefusals(t *testing.T) {
	path := file(t, 1<<20)
	d := open(t, path)
	if _, err := Open(path); !errors.Is(err, ErrInUse) {
		t.Errorf("second open: %v", err)
	}
	d.Close()
	open(t, path)
	if _, err := Open("/dev/null"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("character device: %v", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestLoopDevice(t *testing.T) {
	path := file(t, 32<<20)
	out, err := exec.Command("losetup", "--find", "--show", path).CombinedOutput()
	if err != nil {
		t.Skipf("needs root and loop devices: losetup: %v: %s", err, out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() { exec.Command("losetup", "-d", dev).Run() })
	if _, err := Open(path); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dev) {
		t.Errorf("file under a loop device: %v", err)
	}
	d := open(t, dev)
	if d.Size() != 32<<20 || !d.Direct() {
		t.Errorf("size %d, direct %v", d.Size(), d.Direct())
	}
	if err := d.WriteAt(buffer.Aligned(4096), 0); err != nil {
		t.Error(err)
	}
	if _, err := Open(dev); !errors.Is(err, ErrInUse) {
		t.Errorf("second open: %v", err)
	}
	d.Close()
	mounted(t, dev)
}

// mounted checks that a mounted device is refused with its mount point.
func mounted(t *testing.T, dev string) {
	if out, err := exec.Command("mkfs.ext4", "-q", dev).CombinedOutput(); err != nil {
		t.Skipf("needs mkfs.ext4: %v: %s", err, out)
	}
	point := t.TempDir()
	if err := unix.Mount(dev, point, "ext4", 0, ""); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	defer unix.Unmount(point, 0)
	if _, err := Open(dev); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "mounted on "+point) {
		t.Errorf("mounted device: %v", err)
	}
}

func TestProbe(t *testing.T) {
	for _, c := range []struct {
		off        int64
		text, want string
	}{
		{0, "", ""},
		{0, "XFSB", "an XFS file system"},
		{0x10040, "_BHRfS_M", "a btrfs file system"},
		{4086, "SWAPSPACE2", "swap space"},
		{0, "LUKS\xba\xbe", "a LUKS encrypted volume"},
		{512, "LABELONE", "an LVM physical volume"},
		{510, "\x55\xaa", "an MBR partition table or boot sector"},
		{512, "EFI PART", "a GPT partition table"},
		{1024 + 0x38, "\x53\xef", "an ext2 file system"},
	} {
		path := file(t, 1<<20)
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteAt([]byte(c.text), c.off)
		f.Close()
		if got, err := Probe(open(t, path)); err != nil || got != c.want {
			t.Errorf("%q at %d: got %q, %v; want %q", c.text, c.off, got, err, c.want)
		}
	}
}

func TestProbeRealFileSystems(t *testing.T) {
	for command, want := range map[string]string{
		"mkfs.ext4 -q": "an ext4 file system",
		"mkfs.ext3 -q": "an ext3 file system",
		"mkfs.ext2 -q": "an ext2 file system",
		"mkswap":       "swap space",
	} {
		path := file(t, 32<<20)
		args := append(strings.Fields(command), path)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Logf("left out: %s: %v %s", command, err, out)
			continue
		}
		if got, err := Probe(open(t, path)); err != nil || got != want {
			t.Errorf("%s: got %q, %v", command, got, err)
		}
	}
}

func TestMountedAt(t *testing.T) {
	const table = "36 35 98:0 / /srv/data rw,noatime master:1 - ext4 /dev/loop5 rw\n"
	if got := mountedAt(table, "98:0"); got != "/srv/data" {
		t.Errorf("got %q", got)
	}
	if got := mountedAt(table, "8:0"); got != "" {
		t.Errorf("got %q", got)
	}
}
