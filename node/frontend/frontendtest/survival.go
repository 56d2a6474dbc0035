package frontendtest

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
	"os/signal"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/block"
	"gemel/node/frontend"
)

const (
	serveEnv     = "GEMEL_TEST_SERVE" // the directory of a test whose device this process serves
	recoverySize = 64 << 20
	untilKilled  = 300 * time.Millisecond // of work, about
)

// Recoverable is an attachment that says whether it goes on with the device of an
// earlier process.
type Recoverable interface {
	frontend.Attachment
	Recovered() bool
}

// Survival is a frontend whose device outlives the process that serves it.
type Survival struct {
	Attach  func(context.Context, frontend.Options, block.Device) (Recoverable, error)
	Left    func(context.Context, frontend.Options) (bool, error)
	Discard func(context.Context, frontend.Options) error
	// Prepare runs before the first process serves from the private directory.
	Prepare func(t *testing.T, dir string)
	// NothingLeft fails the test if the frontend left something in the kernel.
	NothingLeft func(*testing.T)
}

// Main is what TestMain of a package does that calls RunSurvival: it makes a server
// of the test program when it is told so.
func (s Survival) Main(m *testing.M) {
	if dir := os.Getenv(serveEnv); dir != "" {
		fmt.Fprintln(os.Stderr, s.serveForEver(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// RunSurvival kills the process that serves a device, again and again, under
// direct writes and under a file system, and demands that nobody notices but by
// the time it takes.
func RunSurvival(t *testing.T, s Survival) {
	t.Run("killed under writes", s.testKilledUnderWrites)
	t.Run("killed under a file system", s.testKilledUnderFileSystem)
	t.Run("discard ends the wait", s.testDiscardEndsTheWait)
	t.Run("forced detach of a device that was taken over", s.testDetachTaken)
	t.Run("another size is another device", s.testOtherSize)
	t.Run("a discarded device is made anew", s.testDiscardThenNew)
}

func recoveryOptions(dir string) frontend.Options {
	return frontend.Options{Name: "survival", Dir: filepath.Join(dir, "run"), DeviceDir: filepath.Join(dir, "dev")}
}

// serveForEver tells on its standard output when the device can be used. At TERM
// it takes the device away, whoever uses it.
func (s Survival) serveForEver(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "disk"), os.O_RDWR, 0) //nolint:gosec // a test's own directory
	if err != nil {
		return err
	}
	a, err := s.Attach(context.Background(), recoveryOptions(dir), &slowFile{f})
	if err != nil {
		return err
	}
	told, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	fmt.Printf("%s %v\n", a.Device(), a.Recovered())
	<-told.Done()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := a.Detach(ctx, true); err != nil && !errors.Is(err, frontend.ErrLingers) {
		return err
	}
	os.Exit(0)
	return nil
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
	s      Survival
	t      *testing.T
	dir    string
	device string
	server *exec.Cmd
}

func (s Survival) newLife(t *testing.T) *life {
	t.Helper()
	l := &life{s: s, t: t, dir: t.TempDir()}
	if s.Prepare != nil {
		s.Prepare(t, recoveryOptions(l.dir).Dir)
	}
	disk := filepath.Join(l.dir, "disk")
	if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, recoverySize)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.kill()
		if err := s.Discard(context.Background(), recoveryOptions(l.dir)); err != nil {
			t.Error(err)
		}
		s.NothingLeft(t)
	})
	if l.start() {
		t.Error("the first device says that it was taken over")
	}
	return l
}

// start starts a server and reports whether it took the device over.
func (l *life) start() (recovered bool) {
	l.t.Helper()
	l.server = exec.Command("/proc/self/exe") //nolint:gosec,noctx // this program
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
			if n < 2 {
				l.t.Errorf("the work was done after %d deaths; it was to meet %d", n, deaths)
			}
			return
		case <-time.After(untilKilled):
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

// testKilledUnderWrites: every write that was reported done is there, and none
// got an error, through several deaths of the server.
func (s Survival) testKilledUnderWrites(t *testing.T) {
	l := s.newLife(t)
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

// testKilledUnderFileSystem: fio verifies what it wrote to a mounted ext4 while
// the server dies again and again; afterwards the file system is whole.
func (s Survival) testKilledUnderFileSystem(t *testing.T) {
	l := s.newLife(t)
	for _, program := range []string{"fio", "e2fsck"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s (packages fio and e2fsprogs)", program)
		}
	}
	mustRun(t, "mkfs.ext4", "-q", "-F", l.device)
	mnt := filepath.Join(l.dir, "mnt")
	if err := errors.Join(os.Mkdir(mnt, 0o700), unix.Mount(l.device, mnt, "ext4", 0, "errors=remount-ro")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mnt, unix.MNT_DETACH) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		mustRun(t, "fio", "--name=verify", "--directory="+mnt, "--size=12m", "--numjobs=2", "--rw=randwrite", "--bsrange=4k-64k",
			"--ioengine=psync", "--fsync=16", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--loops=1",
			"--randseed=7", "--thread")
	}()
	l.deaths(done)
	if err := unix.Unmount(mnt, 0); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "e2fsck", "-f", "-n", l.device)
}

// mustRun fails the test unless the program succeeds; it may run beside the test.
func mustRun(t *testing.T, name string, args ...string) {
	ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		t.Errorf("%s %v: %v\n%s", name, args, err, out)
	}
}

// testDiscardEndsTheWait: a device that will not be served again is removed, and
// who waits for it gets an error.
func (s Survival) testDiscardEndsTheWait(t *testing.T) {
	l := s.newLife(t)
	fd, err := unix.Open(l.device, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	l.kill()
	ended := make(chan error, 1)
	go func() { _, err := unix.Pwrite(fd, aligned(block.Size), 0); ended <- err }()
	opts := recoveryOptions(l.dir)
	if left, err := s.Left(t.Context(), opts); !left || err != nil {
		t.Errorf("the device that was left is not found (%v)", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Discard(ctx, opts); !errors.Is(err, frontend.ErrLingers) {
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
	if left, err := s.Left(t.Context(), opts); left || err != nil {
		t.Errorf("the device is still found (%v)", err)
	}
}

// testOtherSize: what was left is taken over only if it is the same.
func (s Survival) testOtherSize(t *testing.T) {
	l := s.newLife(t)
	l.kill()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a, err := s.Attach(ctx, recoveryOptions(l.dir), NewMemory(recoverySize/2))
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

// testDiscardThenNew: after a discard the next process makes another device, also
// while somebody still has the old one open.
func (s Survival) testDiscardThenNew(t *testing.T) {
	l := s.newLife(t)
	fd, err := unix.Open(l.device, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	l.kill()
	if err := s.Discard(t.Context(), recoveryOptions(l.dir)); !errors.Is(err, frontend.ErrLingers) {
		t.Errorf("discard a device that is open: %v, want ErrLingers", err)
	}
	if l.start() {
		t.Error("a discarded device was taken over")
	}
	unix.Close(fd)
	fresh, err := unix.Open(l.device, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fresh)
	if _, err := unix.Pwrite(fresh, aligned(block.Size), 0); err != nil {
		t.Errorf("write to the new device: %v", err)
	}
}

// testDetachTaken: the second process can take the device away as the first could.
func (s Survival) testDetachTaken(t *testing.T) {
	l := s.newLife(t)
	fd, err := unix.Open(l.device, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	l.kill()
	if !l.start() {
		t.Error("the device was not taken over")
	}
	if _, err := unix.Pwrite(fd, aligned(block.Size), 0); err != nil {
		t.Errorf("write to the device that was taken over: %v", err)
	}
	_ = l.server.Process.Signal(unix.SIGTERM)
	stuck := time.AfterFunc(2*patience, l.kill)
	defer stuck.Stop()
	if err := l.server.Wait(); err != nil {
		t.Errorf("the second process could not take the device away: %v", err)
	}
	// ENOSPC: the kernel has come as far as to say that the device has no blocks.
	if _, err := unix.Pwrite(fd, aligned(block.Size), 0); !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ENOSPC) {
		t.Errorf("write to a device that was taken away: %v, want EIO or ENOSPC", err)
	}
	if left, err := s.Left(t.Context(), recoveryOptions(l.dir)); left || err != nil {
		t.Errorf("the device is still found (%v)", err)
	}
}
