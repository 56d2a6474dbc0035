package ublk

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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
	"gemel/node/frontend/frontendtest"
)

const (
	serveEnv     = "GEMEL_UBLK_TEST_SERVE" // the directory of a test whose device this process serves
	recoverySize = 64 << 20
	patience     = time.Minute
)

// TestMain makes a server of the test program when it is told so.
func TestMain(m *testing.M) {
	if dir := os.Getenv(serveEnv); dir != "" {
		fmt.Fprintln(os.Stderr, serveForEver(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func recoveryOptions(dir string) frontend.Options {
	return frontend.Options{Name: "data", Dir: filepath.Join(dir, "run"), DeviceDir: filepath.Join(dir, "dev")}
}

// serveForEver tells on its standard output when the device can be used.
func serveForEver(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "disk"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	a, err := Attach(context.Background(), recoveryOptions(dir), &slowFile{f})
	if err != nil {
		return err
	}
	fmt.Printf("%s %v\n", a.Device(), a.Recovered())
	select {}
}

// slowFile is a disk on which requests stay a moment, so that a kill meets some.
type slowFile struct{ f *os.File }

const diskTime = 5 * time.Millisecond

func (d *slowFile) SizeBytes() int64 { return recoverySize }

func (d *slowFile) ReadAt(p []byte, off int64) error {
	_, err := d.f.ReadAt(p, off)
	return err
}

func (d *slowFile) WriteAt(p []byte, off int64, _ bool) error {
	time.Sleep(diskTime / 2)
	_, err := d.f.WriteAt(p[:len(p)/2], off) // a kill may tear it
	time.Sleep(diskTime / 2)
	if err == nil {
		_, err = d.f.WriteAt(p[len(p)/2:], off+int64(len(p)/2))
	}
	return err
}

func (d *slowFile) Flush() error { return d.f.Sync() }

// life is a volume whose server can be killed.
type life struct {
	t      *testing.T
	dir    string
	device string
	server *exec.Cmd
}

func newLife(t *testing.T) *life {
	needHost(t)
	l := &life{t: t, dir: t.TempDir()}
	disk := filepath.Join(l.dir, "disk")
	if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, recoverySize)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.kill()
		if err := Discard(context.Background(), recoveryOptions(l.dir)); err != nil {
			t.Error(err)
		}
		nothingLeft(t)
	})
	if l.start() {
		t.Error("the first device says that it was taken over")
	}
	return l
}

// start starts a server and reports whether it took the device over.
func (l *life) start() (recovered bool) {
	l.t.Helper()
	l.server = exec.Command("/proc/self/exe") //nolint:gosec // this program
	l.server.Env = append(os.Environ(), serveEnv+"="+l.dir)
	l.server.Stderr = os.Stderr
	out, err := l.server.StdoutPipe()
	if err == nil {
		err = l.server.Start()
	}
	if err != nil {
		l.t.Fatal(err)
	}
	stuck := time.AfterFunc(patience, l.kill)
	defer stuck.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	if _, err2 := fmt.Sscan(line, &l.device, &recovered); err != nil || err2 != nil {
		l.t.Fatalf("the server said %q (%v)", line, err)
	}
	return recovered
}

func (l *life) kill() {
	_ = l.server.Process.Kill() // it may be dead
	_ = l.server.Wait()         // killed
}

// deaths kills and restarts the server several times while the work goes on.
func (l *life) deaths(work <-chan struct{}) {
	l.t.Helper()
	const deaths = 4
	for n := range deaths {
		select {
		case <-work:
			l.t.Errorf("the work was done after %d deaths; it was to meet %d", n, deaths)
			return
		case <-time.After(300 * time.Millisecond):
		}
		l.kill()
		killed := time.Now()
		if !l.start() {
			l.t.Error("the device was not taken over")
		}
		l.t.Logf("served again %v after the kill", time.Since(killed).Round(time.Millisecond))
	}
	<-work
}

// TestKilledUnderWrites: every write that was reported done is there, and none
// got an error, through several deaths of the server.
func TestKilledUnderWrites(t *testing.T) {
	l := newLife(t)
	fd, err := unix.Open(l.device, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	const users, stripe = 8, recoverySize / 8
	var all sync.WaitGroup
	for u := range users {
		all.Go(func() { writeAndVerify(t, fd, int64(u)*stripe, stripe, uint64(u)) })
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	l.deaths(done)
}

func writeAndVerify(t *testing.T, fd int, from, length int64, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, 2))
	want, buf := make([]byte, length), aligned(256<<10)
	for range 150 {
		n := block.Size * (1 + chance.Int64N(int64(len(buf))/block.Size))
		off := block.Size * chance.Int64N((length-n)/block.Size)
		p := buf[:n]
		for i := 0; i < len(p); i += 8 {
			binary.NativeEndian.PutUint64(p[i:], chance.Uint64())
		}
		if _, err := unix.Pwrite(fd, p, from+off); err != nil {
			t.Errorf("write %d bytes at %d: %v", n, from+off, err)
			return
		}
		copy(want[off:], p)
	}
	for off := int64(0); off < length; off += int64(len(buf)) {
		if _, err := unix.Pread(fd, buf, from+off); err != nil || !bytes.Equal(buf, want[off:off+int64(len(buf))]) {
			t.Errorf("what is read at %d is not what was written (%v)", from+off, err)
			return
		}
	}
}

// aligned returns a buffer that O_DIRECT takes.
func aligned(n int) []byte {
	buf := make([]byte, n+block.Size)
	skip := block.Size - int(uintptr(unsafe.Pointer(&buf[0]))%block.Size)
	return buf[skip : skip+n]
}

// TestKilledUnderFileSystem: fio verifies what it wrote to a mounted ext4 while
// the server dies again and again; afterwards the file system is whole.
func TestKilledUnderFileSystem(t *testing.T) {
	l := newLife(t)
	for _, program := range []string{"fio", "e2fsck"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s (packages fio and e2fsprogs)", program)
		}
	}
	run(t, "mkfs.ext4", "-q", "-F", l.device)
	mnt := filepath.Join(l.dir, "mnt")
	if err := errors.Join(os.Mkdir(mnt, 0o700), unix.Mount(l.device, mnt, "ext4", 0, "errors=remount-ro")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mnt, unix.MNT_DETACH) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(t, "fio", "--name=verify", "--directory="+mnt, "--size=6m", "--numjobs=2", "--rw=randwrite", "--bsrange=4k-64k",
			"--ioengine=psync", "--fsync=16", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--loops=1",
			"--randseed=7", "--thread")
	}()
	l.deaths(done)
	if err := unix.Unmount(mnt, 0); err != nil {
		t.Fatal(err)
	}
	run(t, "e2fsck", "-f", "-n", l.device)
}

// run fails the test unless the program succeeds; it may run beside the test.
func run(t *testing.T, name string, args ...string) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		t.Errorf("%s %v: %v\n%s", name, args, err, out)
	}
}

// TestDiscardEndsTheWait: a device that will not be served again is removed, and
// who waits for it gets an error.
func TestDiscardEndsTheWait(t *testing.T) {
	l := newLife(t)
	fd, err := unix.Open(l.device, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	l.kill()
	ended := make(chan error, 1)
	go func() { _, err := unix.Pwrite(fd, aligned(block.Size), 0); ended <- err }()
	opts := recoveryOptions(l.dir)
	if left, err := Left(t.Context(), opts); !left || err != nil {
		t.Errorf("the device that was left is not found (%v)", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := Discard(ctx, opts); !errors.Is(err, frontend.ErrLingers) {
		t.Errorf("discard a device that is open: %v, want ErrLingers", err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, unix.EIO) {
			t.Errorf("the write that waited ended with %v, want EIO", err)
		}
	case <-ctx.Done():
		t.Error("the write waits on")
	}
	if left, err := Left(t.Context(), opts); left || err != nil {
		t.Errorf("the device is still found (%v)", err)
	}
}

// TestOtherSizeIsAnotherDevice: what was left is taken over only if it is the same.
func TestOtherSizeIsAnotherDevice(t *testing.T) {
	l := newLife(t)
	l.kill()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a, err := Attach(ctx, recoveryOptions(l.dir), frontendtest.NewMemory(recoverySize/2))
	if err != nil {
		t.Fatal(err)
	}
	if a.Recovered() {
		t.Error("a device of another size was taken over")
	}
	if err := a.Detach(ctx, false); err != nil {
		t.Error(err)
	}
}
