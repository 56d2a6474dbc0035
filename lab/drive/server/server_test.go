package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gemel/lab/drive"
	"gemel/lab/drive/faults"
	"gemel/lab/drive/model"
	"gemel/node/replicator/buffer"
)

// TestMain lets this binary be the server of a drive.
func TestMain(m *testing.M) {
	if len(os.Args) == 2+len(Verb) && slices.Equal(os.Args[1:1+len(Verb)], Verb) {
		err := Enter()
		if err == nil {
			err = Serve(context.Background(), os.Args[1+len(Verb)], slog.New(slog.NewTextHandler(os.Stderr, nil)))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const size = 8 << 20

// start runs a drive and takes it away at the end of the test.
func start(t *testing.T, name string) (*Client, Status, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount and to configure loop devices")
	}
	for _, path := range []string{"/dev/fuse", "/dev/loop-control"} {
		if unix.Access(path, unix.R_OK|unix.W_OK) != nil {
			t.Skipf("needs %s, which is missing here", path)
		}
	}
	params, err := model.Named("unthrottled")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	name = fmt.Sprintf("%s-%d", name, os.Getpid()) // another run of this test has drives too
	t.Cleanup(func() {
		_, _, err := StopAll(context.Background(), dir+"/", func(other string) bool { return other == name })
		if err != nil {
			t.Errorf("take the drive away: %v", err)
		}
		if left, err := Devices(func(other string) bool { return other == name }); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v (%v)", left, err)
		}
	})
	config := Config{Name: name, Image: filepath.Join(dir, "disk.img"), Size: size, Model: params}
	status, err := Start(t.Context(), dir, os.Args[0], config)
	if err != nil {
		t.Fatal(err)
	}
	return NewClient(dir), status, name
}

// user has the device open past the page cache.
type user struct {
	t    *testing.T
	file *os.File
}

func open(t *testing.T, device string) *user {
	t.Helper()
	file, err := os.OpenFile(device, os.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return &user{t: t, file: file}
}

func (u *user) write(off int64, fill byte) {
	u.t.Helper()
	if _, err := u.file.WriteAt(filled(fill), off); err != nil {
		u.t.Fatal(err)
	}
}

func (u *user) expect(off int64, fill byte) {
	u.t.Helper()
	p := buffer.Aligned(4096)
	if _, err := u.file.ReadAt(p, off); err != nil || !bytes.Equal(p, filled(fill)) {
		u.t.Fatalf("at %d there is %d… (%v), want %d", off, p[0], err, fill)
	}
}

func (u *user) refused(off int64) {
	u.t.Helper()
	if _, err := u.file.ReadAt(buffer.Aligned(4096), off); !errors.Is(err, unix.EIO) {
		u.t.Fatalf("read at %d: %v, want an I/O error", off, err)
	}
}

func filled(fill byte) []byte {
	p := buffer.Aligned(4096)
	copy(p, bytes.Repeat([]byte{fill}, len(p)))
	return p
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestPowerCutThroughTheKernel(t *testing.T) {
	client, status, _ := start(t, "cut")
	u := open(t, status.Device)
	u.write(0, 1)
	if err := u.file.Sync(); err != nil {
		t.Fatal(err)
	}
	u.write(0, 2)
	u.write(8192, 2)
	u.expect(0, 2)
	loss := must(client.CutPower(t.Context(), drive.Cut{Seed: 1, Keep: 0}))
	want := []drive.Lost{{Off: 0, Len: 4096, Of: 4096, Acknowledged: true}, {Off: 8192, Len: 4096, Of: 4096, Acknowledged: true}}
	if !slices.Equal(loss.Writes, want) {
		t.Errorf("lost %+v, want %+v", loss.Writes, want)
	}
	u.refused(0)
	if status = must(client.PowerOn(t.Context())); status.LastLoss == nil || !status.On {
		t.Errorf("after power on: %+v", status)
	}
	u.expect(0, 1)
	u.expect(8192, 0)
	u.write(0, 3)
	must(client.Reset(t.Context()))
	u.expect(0, 3)
}

func TestFaultsThroughTheKernel(t *testing.T) {
	client, status, _ := start(t, "faults")
	u := open(t, status.Device)
	u.write(4096, 7)
	bad := must(client.Fault(t.Context(), faults.Fault{Kind: faults.BadSector, Off: 4096, Len: 512, On: faults.Reads}))
	u.refused(4096)
	u.expect(0, 0)
	if _, err := client.Fault(t.Context(), faults.Fault{Kind: "loud"}); err == nil || !strings.Contains(err.Error(), "bad-sector") {
		t.Errorf("an unknown fault: %v, want an error that names the known ones", err)
	}
	must(client.Heal(t.Context(), bad.ID))
	if _, err := client.Heal(t.Context(), bad.ID); err == nil {
		t.Error("a fault was healed twice")
	}
	u.expect(4096, 7)
	must(client.Fault(t.Context(), faults.Fault{Kind: faults.Stuck}))
	answered := make(chan error, 1)
	go func() {
		_, err := u.file.ReadAt(buffer.Aligned(4096), 4096)
		answered <- err
	}()
	must(client.Heal(t.Context(), 0))
	if err := <-answered; err != nil {
		t.Errorf("a read of a disk that was stuck: %v", err)
	}
}

func TestSwapAndStartAgain(t *testing.T) {
	client, status, _ := start(t, "swap")
	u := open(t, status.Device)
	u.write(0, 1)
	if err := u.file.Sync(); err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(t.TempDir(), "fresh.img")
	must(client.Swap(t.Context(), fresh))
	u.expect(0, 0)
	u.write(0, 2)
	must(client.Swap(t.Context(), status.Image))
	u.expect(0, 1)
	_ = u.file.Close()
	process := Process{PID: status.PID, Dir: client.dir}
	if err := process.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Status(t.Context()); !errors.Is(err, ErrNoDrive) {
		t.Errorf("a stopped drive: %v, want ErrNoDrive", err)
	}
	config := must(loadConfig(client.dir))
	status = must(Start(t.Context(), client.dir, os.Args[0], config))
	open(t, status.Device).expect(0, 1)
}

func TestKilledServerLeavesWhatIsFound(t *testing.T) {
	client, status, name := start(t, "killed")
	if err := unix.Kill(status.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := client.Status(t.Context()); errors.Is(err, ErrNoDrive) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a killed server still answers")
		}
	}
	ours := func(other string) bool { return other == name }
	if devices, err := Devices(ours); err != nil || len(devices) != 1 || devices[0].Path != status.Device {
		t.Errorf("found %v (%v), want %s", devices, err, status.Device)
	}
	if _, detached, err := StopAll(t.Context(), client.dir+"/", ours); err != nil || len(detached) != 1 {
		t.Errorf("detached %v (%v)", detached, err)
	}
}

// TestStoppedWhileStuckAndInUse: no request may keep a drive from going.
func TestStoppedWhileStuckAndInUse(t *testing.T) {
	client, status, _ := start(t, "stuck")
	u := open(t, status.Device)
	must(client.Fault(t.Context(), faults.Fault{Kind: faults.Stuck}))
	answered := make(chan error, 1)
	go func() {
		_, err := u.file.ReadAt(buffer.Aligned(4096), 0)
		answered <- err
	}()
	process := Process{PID: status.PID, Dir: client.dir}
	if err := process.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-answered; err == nil {
		t.Error("a read of a drive that was taken away succeeded")
	}
}
