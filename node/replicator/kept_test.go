package replicator

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/arbiter"
	"gemel/node/config"
	"gemel/node/replicator/control"
	"gemel/node/replicator/disk"
	"gemel/node/replicator/volume"
)

// keptMark makes the test binary act as a whole replicator, with the
// configuration at that path.
const keptMark = "GEMEL_TEST_REPLICATOR"

func actAsReplicator(path string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	cfg, err := config.Load(path)
	if err == nil {
		err = Run(ctx, cfg, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the replicator:", err)
		return 1
	}
	return 0
}

// process is a box whose replicator is a process of its own.
type process struct {
	*box
	cmd *exec.Cmd
}

func (p *process) start(t *testing.T) {
	t.Helper()
	p.cmd = exec.Command("/proc/self/exe") //nolint:gosec // this test
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), keptMark+"="+filepath.Join(p.cfg.StateDir, "gemel.yaml")), os.Stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.until(t, "it answers", func(control.VolumeState) bool { return true })
}

// until also waits for the process to come up.
func (p *process) until(t *testing.T, what string, ok func(control.VolumeState) bool) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		states, err := p.client.State(t.Context())
		if err == nil && ok(states[0]) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s: %+v, %v", what, states, err)
		}
	}
}

func (p *process) end(t *testing.T, s os.Signal) {
	t.Helper()
	_ = p.cmd.Process.Signal(s) // it may be gone
	stuck := time.AfterFunc(time.Minute, func() { _ = p.cmd.Process.Kill() })
	defer stuck.Stop()
	if err := p.cmd.Wait(); s == unix.SIGTERM && err != nil {
		t.Errorf("the replicator ended with %v", err)
	}
}

// promote makes the box Primary alone and returns its device.
func (p *process) promote(t *testing.T, a arbiter.Accepted, birth bool) string {
	t.Helper()
	p.accept(t, a)
	reply, err := p.client.Promote(t.Context(), control.PromoteRequest{Volume: "data", Chosen: a, Birth: birth})
	if err != nil {
		t.Fatal(err)
	}
	return reply.Device
}

// grow takes the peer into the set of the reign.
func grow(t *testing.T, p *process, peer *box, a arbiter.Accepted) {
	t.Helper()
	p.until(t, "ready to grow", func(s control.VolumeState) bool { return s.ReadyToGrow })
	p.accept(t, a)
	peer.accept(t, a)
	if err := p.client.Chosen(t.Context(), control.ChosenRequest{Volume: "data", Chosen: a}); err != nil {
		t.Fatal(err)
	}
	lease := control.LeaseRequest{Volume: "data", Epoch: a.Epoch, Until: int64(volume.Now() + time.Hour)}
	if err := p.client.Lease(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
}

// patient lets a box wait for its peer as long as an emulated machine on a busy
// host may need.
func patient(t *testing.T, cfg *config.Config) {
	t.Helper()
	const wait = 20 * time.Second
	cfg.Replication.PeerTimeout = wait
	f, err := os.OpenFile(filepath.Join(cfg.StateDir, "gemel.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintf(f, "replication: {peer-timeout: %v}\n", wait)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestReplicatorRestartsUnderAMountedFileSystem kills the Primary's replicator,
// and then ends it in order, while a program writes to the mounted volume. The
// program gets no error, nothing is unmounted, and both replicas are the same in
// the end.
func TestReplicatorRestartsUnderAMountedFileSystem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make devices")
	}
	for _, l := range lasting {
		w := waysFor(l.name)[0]
		if err := w.usable(); err != nil {
			t.Logf("without %s: %v", l.name, err)
			continue
		}
		t.Run(l.name, func(t *testing.T) { restartUnderAMountedFileSystem(t, l.name) })
	}
}

func restartUnderAMountedFileSystem(t *testing.T, way string) {
	both := boxesOf(t, backing, "frontend: "+way)
	one, two := &process{box: both[0]}, both[1]
	for _, b := range both {
		patient(t, b.cfg)
	}
	two.run(t)
	one.start(t)
	t.Cleanup(func() {
		_ = one.cmd.Process.Kill()                             // it may be gone
		_ = one.cmd.Wait()                                     // killed
		_ = DiscardLeft(context.Background(), one.cfg, "data") // nobody may wait for it
	})
	one.create(t)
	two.create(t)
	a := arbiter.Accepted{Epoch: arbiter.Epoch(0).NextFor(0), Version: 1, Set: arbiter.Only(0)}
	device := one.promote(t, a, true)
	a.Version, a.Set = 2, arbiter.Both
	grow(t, one, two, a)
	if states, err := one.client.State(t.Context()); err != nil || !states[0].Survives {
		t.Skipf("needs Linux 6.9 for %s: the device ends with the replicator (%v)", way, err)
	}

	dir := filepath.Join(t.TempDir(), "mnt")
	command(t, "mkfs.ext4", "-q", "-F", device)
	if err := errors.Join(os.Mkdir(dir, 0o700), unix.Mount(device, dir, "ext4", 0, "errors=remount-ro")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	w := startWriter(t, filepath.Join(dir, "file"))
	for _, end := range []os.Signal{unix.SIGKILL, unix.SIGTERM} {
		w.await(t, 20)
		one.end(t, end)
		one.start(t)
		one.until(t, "the replica is open", func(s control.VolumeState) bool { return s.Problem == "" })
		a.Version, a.Set = a.Version+1, arbiter.Only(0)
		if again := one.promote(t, a, false); again != device {
			t.Errorf("the device is %s now, it was %s", again, device)
		}
		w.await(t, 20)
		a.Version, a.Set = a.Version+1, arbiter.Both
		grow(t, one, two, a)
	}
	w.end(t)
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	command(t, "e2fsck", "-f", "-n", device)
	w.verify(t, device, dir)
	one.end(t, unix.SIGTERM)
	two.stop()
	same(t, one.cfg.Volumes[0].Device, two.cfg.Volumes[0].Device)
	if left, err := os.ReadDir("/sys/class/ublk-char"); err != nil && !errors.Is(err, os.ErrNotExist) || len(left) != 0 {
		t.Errorf("devices are left: %v (%v)", left, err)
	}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// same compares the backing devices, their metadata at the end aside.
func same(t *testing.T, paths ...string) {
	t.Helper()
	var content [][]byte
	for _, path := range paths {
		d, err := disk.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, d.Size()-4<<20)
		if err := errors.Join(d.ReadAt(p, 0), d.Close()); err != nil {
			t.Fatal(err)
		}
		content = append(content, p)
	}
	if !bytes.Equal(content[0], content[1]) {
		t.Error("the replicas differ")
	}
}

const (
	slots    = 64
	slotSize = 64 << 10
)

// writer overwrites the slots of a file, each write made stable, until told to end.
type writer struct {
	f     *os.File
	count atomic.Int64
	stop  chan struct{}
	done  chan error
}

func startWriter(t *testing.T, path string) *writer {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{f: f, stop: make(chan struct{}), done: make(chan error, 1)}
	go func() { w.done <- w.run() }()
	return w
}

func (w *writer) run() error {
	for {
		select {
		case <-w.stop:
			return w.f.Close()
		default:
		}
		n := w.count.Load()
		if _, err := w.f.WriteAt(slotOf(n), n%slots*slotSize); err != nil {
			return err
		}
		if err := w.f.Sync(); err != nil {
			return err
		}
		w.count.Add(1)
	}
}

func slotOf(n int64) []byte {
	p, chance := make([]byte, slotSize), rand.New(rand.NewPCG(uint64(n), 3)) //nolint:gosec // not negative
	for i := 0; i < len(p); i += 8 {
		binary.NativeEndian.PutUint64(p[i:], chance.Uint64())
	}
	return p
}

// await waits for more writes to be stable.
func (w *writer) await(t *testing.T, more int64) {
	t.Helper()
	from := w.count.Load()
	for end := time.Now().Add(5 * time.Minute); w.count.Load() < from+more; time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-w.done:
			t.Fatalf("the writer ended after %d writes: %v", w.count.Load(), err)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("the writer waits at write %d", w.count.Load())
		}
	}
}

func (w *writer) end(t *testing.T) {
	t.Helper()
	close(w.stop)
	if err := <-w.done; err != nil {
		t.Errorf("the writer got an error after %d writes: %v", w.count.Load(), err)
	}
	t.Logf("%d writes", w.count.Load())
}

// verify mounts the volume anew and finds the newest write of every slot.
func (w *writer) verify(t *testing.T, device, dir string) {
	t.Helper()
	err := unix.Mount(device, dir, "ext4", unix.MS_RDONLY, "")
	// A mount namespace that somebody else made meanwhile has a copy of the old mount.
	for end := time.Now().Add(time.Minute); errors.Is(err, unix.EBUSY) && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		err = unix.Mount(device, dir, "ext4", unix.MS_RDONLY, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(w.f.Name())
	if err := errors.Join(err, unix.Unmount(dir, 0)); err != nil {
		t.Fatal(err)
	}
	total := w.count.Load()
	for n := max(0, total-slots); n < total; n++ {
		at := n % slots * slotSize
		if int64(len(got)) < at+slotSize || !bytes.Equal(got[at:at+slotSize], slotOf(n)) {
			t.Errorf("write %d of %d is not there", n, total)
		}
	}
}
