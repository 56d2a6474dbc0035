// Package frontendtest is the one test suite that every frontend passes: it
// shows a device in memory to the kernel and uses it like a user would. It is
// not a benchmark, and it leaves nothing behind.
package frontendtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gemel/node/block"
	"gemel/node/frontend"
)

// Attach is the frontend under test.
type Attach func(context.Context, frontend.Options, block.Device) (frontend.Attachment, error)

// patience bounds every step; nothing is expected to come near it.
const patience = 30 * time.Second

const deviceSize = 64 << 20

// User is an opened device. Offsets and lengths are bytes, aligned to
// block.Size; an error of the device is unix.EIO.
type User interface {
	SizeBytes() (int64, error)
	ReadAt(p []byte, off int64) error
	WriteAt(p []byte, off int64) error
	Flush() error
	Discard(off, n int64) error // unix.EOPNOTSUPP where the device cannot
	WriteZeroes(off, n int64) error
	Close() error
}

type scene struct {
	name string
	test func(*testing.T, *bench)
}

// everywhere are the tests of every frontend, onKernel those of the frontends
// that show a device of the kernel.
var (
	everywhere = []scene{
		{"size", testSize},
		{"a larger size while it is in use", testResize},
		{"link and device node", testPaths},
		{"concurrent I/O with verification", testConcurrent},
		{"flush reaches the device", testFlush},
		{"errors reach the user", testErrors},
		{"discard and zeroes", testErase},
		{"no discard", testNoErase},
		{"detach of an open device", testDetachOpen},
		{"forced detach with a blocked request", testForceBlocked},
		{"detach twice, attach again", testAgain},
	}
	onKernel = []scene{
		{"sector size", testSector},
		{"file system", testFileSystem},
		{"trim of a file system", testTrim},
		{"detach refuses a mounted device", testDetachMounted},
		{"forced detach of a mounted device", testForceMounted},
	}
)

// Run runs the suite on a frontend that shows a device of the kernel. The caller
// has checked that the host can run it.
func Run(t *testing.T, attach Attach) {
	run(t, &bench{attach: attach, users: openFile, kernel: true}, append(onKernel, everywhere...))
}

// RunWithout runs what needs no kernel device, for a frontend whose path is
// opened by users.
func RunWithout(t *testing.T, attach Attach, users func(path string) (User, error)) {
	run(t, &bench{attach: attach, users: users}, everywhere)
}

func run(t *testing.T, kind *bench, scenes []scene) {
	for _, c := range scenes {
		t.Run(c.name, func(t *testing.T) { c.test(t, newBench(t, kind)) })
	}
	t.Run("bad options are refused", func(t *testing.T) { testRefusals(t, kind.attach) })
}

// bench is one attached device.
type bench struct {
	attach Attach
	users  func(path string) (User, error)
	kernel bool // the device is one of the kernel, and lingers while it is open
	opts   frontend.Options
	dev    *Memory
	plain  bool // shown without discard and zeroes
	at     frontend.Attachment
}

func newBench(t *testing.T, kind *bench) *bench {
	dir := t.TempDir()
	b := &bench{attach: kind.attach, users: kind.users, kernel: kind.kernel, dev: NewMemory(deviceSize), opts: frontend.Options{
		Name: "suite", Dir: filepath.Join(dir, "run"), DeviceDir: filepath.Join(dir, "dev")}}
	b.do(t)
	t.Cleanup(func() {
		b.detach(t, true)
		select {
		case <-b.at.Done():
		case <-time.After(patience):
			t.Error("requests are still inside the device")
		}
		if n := b.dev.Misaligned.Load(); n != 0 {
			t.Errorf("%d requests were not aligned or not inside the device", n)
		}
	})
	return b
}

func (b *bench) do(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var dev block.Device = b.dev
	if b.plain {
		dev = plain{b.dev}
	}
	at, err := b.attach(ctx, b.opts, dev)
	if err != nil {
		t.Fatal(err)
	}
	b.at = at
}

// detach fails the test on any error.
func (b *bench) detach(t *testing.T, force bool) {
	t.Helper()
	if err := b.tryDetach(force, patience); err != nil {
		t.Errorf("detach (force %v): %v", force, err)
	}
}

func (b *bench) tryDetach(force bool, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return b.at.Detach(ctx, force)
}

// open returns a user of the device, which is not closed at the end.
func (b *bench) open(t *testing.T) User {
	t.Helper()
	u, err := b.users(b.at.Path())
	if err != nil {
		t.Fatalf("open %s: %v", b.at.Path(), err)
	}
	return u
}

// aligned returns a buffer that O_DIRECT takes.
func aligned(n int) []byte {
	buf := make([]byte, n+block.Size)
	skip := block.Size - int(uintptr(unsafe.Pointer(&buf[0]))%block.Size)
	return buf[skip : skip+n]
}

func testSize(t *testing.T, b *bench) {
	u := b.open(t)
	defer shut(t, u)
	if size, err := u.SizeBytes(); err != nil || size != deviceSize {
		t.Errorf("size is %d (%v), want %d", size, err, deviceSize)
	}
}

// testResize: users that have the device open see the new size, and what they
// wrote.
func testResize(t *testing.T, b *bench) {
	u := b.open(t)
	r, can := b.at.(frontend.Resizer)
	if !can {
		shut(t, u)
		t.Skip("this frontend cannot")
	}
	p := aligned(block.Size)
	p[7] = 42
	if err := u.WriteAt(p, deviceSize-block.Size); err != nil {
		t.Error(err)
	}
	b.dev.Enlarge(2 * deviceSize)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Resize(ctx, 2*deviceSize); err != nil {
		shut(t, u)
		if errors.Is(err, frontend.ErrFixedSize) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	if !b.kernel { // clients learn the size when they connect
		shut(t, u)
		u = b.open(t)
	}
	defer shut(t, u)
	larger(t, u)
}

// larger looks at a device of twice the size that holds 42 at the end of its first
// half.
func larger(t *testing.T, u User) {
	t.Helper()
	if size, err := u.SizeBytes(); err != nil || size != 2*deviceSize {
		t.Errorf("size is %d (%v), want %d", size, err, 2*deviceSize)
	}
	p := aligned(block.Size)
	if err := u.ReadAt(p, deviceSize-block.Size); err != nil || p[7] != 42 {
		t.Errorf("what was written before is %d, %v", p[7], err)
	}
	for _, off := range []int64{deviceSize, 2*deviceSize - block.Size} {
		if err := u.WriteAt(p, off); err != nil {
			t.Errorf("write to the new part at %d: %v", off, err)
		}
	}
}

func testSector(t *testing.T, b *bench) {
	u := b.open(t)
	defer shut(t, u)
	fd := int(u.(file))
	if n, err := unix.IoctlGetInt(fd, unix.BLKSSZGET); err != nil || n != block.Size {
		t.Errorf("sector size is %d (%v), want %d", n, err, block.Size)
	}
	if _, err := unix.Pwrite(fd, aligned(512), 0); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a write of 512 bytes: %v, want EINVAL", err)
	}
	if n, err := unix.Pread(fd, aligned(block.Size), deviceSize); n != 0 || err != nil {
		t.Errorf("read at the end: %d, %v", n, err)
	}
}

func testPaths(t *testing.T, b *bench) {
	to, err := os.Readlink(b.at.Path())
	if err != nil || to != b.at.Device() {
		t.Errorf("%s links to %q (%v), want %s", b.at.Path(), to, err, b.at.Device())
	}
	b.detach(t, false)
	if _, err := os.Lstat(b.at.Path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the link is still there after detach: %v", err)
	}
	left, err := os.ReadDir(b.opts.Dir)
	if err != nil || len(left) != 0 {
		t.Errorf("the private directory still holds %v (%v)", left, err)
	}
}

// testConcurrent gives each of several users a stripe of its own, and requests
// of odd sizes, and reads everything back.
func testConcurrent(t *testing.T, b *bench) {
	const users, stripe = 8, deviceSize / 8
	u := b.open(t)
	defer shut(t, u)
	var wg sync.WaitGroup
	for i := range users {
		wg.Go(func() { useStripe(t, u, int64(i*stripe), stripe, uint64(i)) })
	}
	wg.Wait()
}

func useStripe(t *testing.T, u User, from, length int64, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, 1))
	want, buf := make([]byte, length), aligned(2<<20)
	for range 40 {
		n := block.Size * (1 + chance.Int64N(400))
		off := block.Size * chance.Int64N((length-n)/block.Size)
		p := buf[:n]
		for i := 0; i < len(p); i += 8 {
			binary.NativeEndian.PutUint64(p[i:], chance.Uint64())
		}
		copy(want[off:], p)
		if err := u.WriteAt(p, from+off); err != nil {
			t.Errorf("write %d bytes at %d: %v", n, from+off, err)
			return
		}
	}
	for off := int64(0); off < length; off += int64(len(buf)) {
		p := buf[:min(int64(len(buf)), length-off)]
		if err := u.ReadAt(p, from+off); err != nil || !bytes.Equal(p, want[off:off+int64(len(p))]) {
			t.Errorf("stripe at %d: what was read at %d differs (%v)", from, off, err)
			return
		}
	}
}

func testFlush(t *testing.T, b *bench) {
	u := b.open(t)
	defer shut(t, u)
	before := b.dev.Flushes.Load()
	for i := range 10 {
		if err := u.WriteAt(aligned(block.Size), int64(i)*block.Size); err != nil {
			t.Fatal(err)
		}
		if err := u.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.dev.Flushes.Load() - before; n < 10 {
		t.Errorf("10 fdatasync calls made %d flushes", n)
	}
}

func testErrors(t *testing.T, b *bench) {
	u := b.open(t)
	defer shut(t, u)
	b.dev.Failing.Store(true)
	if err := u.WriteAt(aligned(block.Size), 0); !errors.Is(err, unix.EIO) {
		t.Errorf("write: %v, want EIO", err)
	}
	if err := u.ReadAt(aligned(block.Size), 0); !errors.Is(err, unix.EIO) {
		t.Errorf("read: %v, want EIO", err)
	}
	if err := u.Flush(); !errors.Is(err, unix.EIO) {
		t.Errorf("flush: %v, want EIO", err)
	}
	b.dev.Failing.Store(false)
	if err := u.WriteAt(aligned(block.Size), 0); err != nil {
		t.Errorf("write after the device is well again: %v", err)
	}
}

func testFileSystem(t *testing.T, b *bench) {
	dir := b.mkfsAndMount(t)
	want := bytes.Repeat([]byte("gemel"), 1<<18)
	if err := os.WriteFile(filepath.Join(dir, "file"), want, 0o600); err != nil {
		t.Error(err)
	}
	unmount(t, dir, 0)
	b.detach(t, false)
	b.do(t)
	command(t, "e2fsck", "-f", "-n", b.at.Path())
	mount(t, b.at.Path(), dir)
	defer unmount(t, dir, 0)
	got, err := os.ReadFile(filepath.Join(dir, "file"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file differs after detach and attach (%v)", err)
	}
}

func testDetachMounted(t *testing.T, b *bench) {
	dir := b.mkfsAndMount(t)
	if err := b.tryDetach(false, patience); !errors.Is(err, frontend.ErrInUse) {
		t.Errorf("detach of a mounted device: %v, want ErrInUse", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "still"), []byte("works"), 0o600); err != nil {
		t.Errorf("the refused detach broke the device: %v", err)
	}
	unmount(t, dir, 0)
	b.detach(t, false)
}

func testDetachOpen(t *testing.T, b *bench) {
	u := b.open(t)
	err := b.tryDetach(false, 100*time.Millisecond)
	if !errors.Is(err, frontend.ErrInUse) {
		t.Errorf("detach of an open device: %v, want ErrInUse", err)
	}
	if err := u.WriteAt(aligned(block.Size), 0); err != nil {
		t.Errorf("write while the detach waits: %v", err)
	}
	shut(t, u)
	b.detach(t, false)
}

// testForceBlocked is the course of a node that lost its reign: requests are
// held inside the device, and the device goes away with errors.
func testForceBlocked(t *testing.T, b *bench) {
	u := b.open(t)
	b.dev.Block()
	failed := make(chan error, 2)
	go func() { err := u.WriteAt(aligned(block.Size), 0); failed <- err }()
	go func() { err := u.ReadAt(aligned(block.Size), 1<<20); failed <- err }()
	eventually(t, "two requests are inside the device", func() bool { return b.dev.Blocked.Load() == 2 })
	err := b.tryDetach(true, patience)
	if b.kernel && !errors.Is(err, frontend.ErrLingers) {
		t.Errorf("forced detach of an open device: %v, want ErrLingers", err)
	}
	if !b.kernel && err != nil {
		t.Errorf("forced detach of an open device: %v", err)
	}
	for range 2 {
		if err := <-failed; err == nil || b.kernel && !errors.Is(err, unix.EIO) {
			t.Errorf("held request ended with %v, want an error, EIO from the kernel", err)
		}
	}
	b.dev.Failing.Store(true)
	b.dev.Unblock()
	shut(t, u)
}

func testForceMounted(t *testing.T, b *bench) {
	dir := b.mkfsAndMount(t)
	if err := os.WriteFile(filepath.Join(dir, "lost"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	b.dev.Failing.Store(true)
	if err := b.tryDetach(true, patience); !errors.Is(err, frontend.ErrLingers) {
		t.Errorf("forced detach of a mounted device: %v, want ErrLingers", err)
	}
	unmount(t, dir, unix.MNT_DETACH)
	b.dev.Failing.Store(false)
	b.do(t) // a new life of the volume is not held up by the old one
	command(t, "e2fsck", "-p", b.at.Path())
}

func testAgain(t *testing.T, b *bench) {
	b.detach(t, false)
	b.detach(t, false)
	b.do(t)
	b.detach(t, true)
	b.detach(t, false)
}

func testRefusals(t *testing.T, attach Attach) {
	good := frontend.Options{Name: "v", Dir: t.TempDir()}
	for _, c := range []struct {
		opts frontend.Options
		size int64
	}{
		{frontend.Options{Name: "", Dir: good.Dir}, 1 << 20},
		{frontend.Options{Name: "a/b", Dir: good.Dir}, 1 << 20},
		{frontend.Options{Name: "v"}, 1 << 20},
		{good, 0},
		{good, 1<<20 + 512},
	} {
		if at, err := attach(t.Context(), c.opts, NewMemory(c.size)); err == nil {
			t.Errorf("%+v with %d bytes was attached", c.opts, c.size)
			_ = at.Detach(t.Context(), true)
		}
	}
}

func (b *bench) mkfsAndMount(t *testing.T) string {
	t.Helper()
	command(t, "mkfs.ext4", "-q", "-F", b.at.Path())
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mount(t, b.at.Path(), dir)
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func mount(t *testing.T, device, dir string) {
	t.Helper()
	if err := unix.Mount(device, dir, "ext4", 0, ""); err != nil {
		t.Fatalf("mount %s: %v", device, err)
	}
}

func unmount(t *testing.T, dir string, flags int) {
	t.Helper()
	if err := unix.Unmount(dir, flags); err != nil {
		t.Errorf("unmount %s: %v", dir, err)
	}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
