package fuseloop

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/block"
	"gemel/node/frontend"
	"gemel/node/frontend/frontendtest"
)

// needHost skips where the host cannot show a device at all.
func needHost(t testing.TB) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount and to configure loop devices")
	}
	for _, path := range []string{"/dev/fuse", loopControl} {
		if unix.Access(path, unix.R_OK|unix.W_OK) != nil {
			t.Skipf("needs %s, which is missing here", path)
		}
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("needs mkfs.ext4 (package e2fsprogs)")
	}
}

func attach(ctx context.Context, o frontend.Options, dev block.Device) (frontend.Attachment, error) {
	a, err := Attach(ctx, o, dev)
	if err != nil {
		return nil, err
	}
	return a, nil
}

func TestSuite(t *testing.T) {
	needHost(t)
	frontendtest.Run(t, attach)
	nothingLeft(t, "suite")
}

// nothingLeft looks for mounts and loop devices of the volume. The kernel takes
// back what was torn away in its own time, and others may run the same test.
func nothingLeft(t *testing.T, name string) {
	t.Helper()
	var left []string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		mounts, err := os.ReadFile("/proc/self/mounts")
		if err != nil {
			t.Fatal(err)
		}
		left = loopsNamed(t, loopName(frontend.Options{Name: name}))
		if strings.Contains(string(mounts), loopName(frontend.Options{Name: name})+" ") {
			left = append(left, "a FUSE mount of "+name)
		}
		if len(left) == 0 {
			return
		}
	}
	t.Errorf("left behind: %v", left)
}

func loopsNamed(t *testing.T, name string) []string {
	t.Helper()
	nodes, err := filepath.Glob("/dev/loop[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range nodes {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		info, err := unix.IoctlLoopGetStatus64(fd)
		if err == nil && unix.ByteSliceToString(info.File_name[:]) == name {
			found = append(found, path)
		}
		unix.Close(fd)
	}
	return found
}

// The kernel cuts what is longer, and the device would not be known again.
func TestLoopNameFits(t *testing.T) {
	for owner, want := range map[string]string{
		"":                      "gemel:data",
		"gemel.office.server1":  "gemel.office.server1:data",
		strings.Repeat("o", 64): strings.Repeat("o", 58) + ":data",
		strings.Repeat("o", 58): strings.Repeat("o", 58) + ":data",
		strings.Repeat("o", 57): strings.Repeat("o", 57) + ":data",
	} {
		if got := loopName(frontend.Options{Name: "data", Owner: owner}); got != want {
			t.Errorf("of %q: %q, want %q", owner, got, want)
		}
	}
}

// TestDataPathIsOnlyData: I/O must cost no attribute request or open.
func TestDataPathIsOnlyData(t *testing.T) {
	needHost(t)
	a, dev := newAttachment(t, 16<<20)
	f, err := os.OpenFile(a.Path(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	before := a.server.Others()
	for i := range int64(64) {
		if _, err := f.WriteAt(make([]byte, block.Size), i*block.Size); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if n := a.server.Others() - before; n != 0 {
		t.Errorf("64 writes cost %d requests that carry no data", n)
	}
	if dev.Writes.Load() < 64 {
		t.Errorf("only %d writes arrived", dev.Writes.Load())
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func newAttachment(t testing.TB, size int64) (*Attachment, *frontendtest.Memory) {
	t.Helper()
	dev := frontendtest.NewMemory(size)
	a, err := Attach(context.Background(), frontend.Options{Name: "unit", Dir: t.TempDir()}, dev)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := a.Detach(ctx, true); err != nil {
			t.Error(err)
		}
	})
	return a, dev
}

// TestSweepAfterDeath: the loop device of a process that died without a word
// is removed by the next Attach.
func TestSweepAfterDeath(t *testing.T) {
	needHost(t)
	opts := frontend.Options{Name: "dead", Dir: t.TempDir(), DeviceDir: t.TempDir()}
	first, err := Attach(t.Context(), opts, frontendtest.NewMemory(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if err := first.abort(); err != nil { // what the kernel does when the process dies
		t.Fatal(err)
	}
	if !first.loop.bound() {
		t.Fatal("the loop device went away by itself")
	}
	second, err := Attach(t.Context(), opts, frontendtest.NewMemory(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if got := loopsNamed(t, loopName(frontend.Options{Name: "dead"})); len(got) != 1 || got[0] != second.Device() {
		t.Errorf("loop devices %v, want only %s", got, second.Device())
	}
	if err := second.Detach(t.Context(), false); err != nil {
		t.Error(err)
	}
	nothingLeft(t, "dead")
}
