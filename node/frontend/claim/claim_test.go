package claim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/frontend"
)

// newDevice makes a loop device of 1 MiB that goes with the test.
func newDevice(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a loop device")
	}
	losetup, err := exec.LookPath("losetup")
	if err != nil {
		t.Skip("needs losetup (package mount)")
	}
	file := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, 1<<20)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), losetup, "--find", "--show", file).CombinedOutput() //nolint:gosec // found in PATH
	if err != nil {
		t.Skipf("needs a free loop device: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command(losetup, "--detach", device).CombinedOutput(); err != nil { //nolint:gosec,noctx // as above
			t.Errorf("%v: %s", err, out)
		}
	})
	return device
}

func TestSoleUser(t *testing.T) {
	device := newDevice(t)
	fd, err := Sole(t.Context(), device)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sole(t.Context(), device); !errors.Is(err, frontend.ErrInUse) {
		t.Errorf("a claimed device: %v, want ErrInUse", err)
	}
	unix.Close(fd)
	if fd, err = Sole(t.Context(), device); err != nil {
		t.Errorf("a device that was let go: %v", err)
	}
	unix.Close(fd)
}

// TestOpenElsewhere: a process that has the device open is waited for, and named.
func TestOpenElsewhere(t *testing.T) {
	device := newDevice(t)
	f, err := os.Open(device) //nolint:gosec // made above
	if err != nil {
		t.Fatal(err)
	}
	sleeper := exec.CommandContext(t.Context(), "sleep", "600")
	sleeper.Stdin = f
	if err := errors.Join(sleeper.Start(), f.Close()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err = Sole(ctx, device)
	named := fmt.Sprintf("process %d (\"sleep\")", sleeper.Process.Pid)
	if !errors.Is(err, frontend.ErrInUse) || !strings.Contains(err.Error(), named) {
		t.Errorf("got %v, want ErrInUse that names %s", err, named)
	}
	waited := make(chan error, 1)
	go func() {
		fd, err := Sole(t.Context(), device)
		unix.Close(fd)
		waited <- err
	}()
	_ = sleeper.Process.Kill()
	_ = sleeper.Wait() // killed
	if err := <-waited; err != nil {
		t.Errorf("after its end: %v", err)
	}
}

func TestNoDevice(t *testing.T) {
	if _, err := Sole(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that it does not exist", err)
	}
}

// TestBoundedPrefersTheReason: what ends because its context did knows more.
func TestBoundedPrefersTheReason(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	why := errors.New("the user of the device is process 7")
	err := Bounded(ctx, "look", func() error { cancel(); <-ctx.Done(); return why })
	if !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
}

func TestBoundedDoesNotWaitForEver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	stuck := make(chan struct{})
	defer close(stuck)
	err := Bounded(ctx, "ask the kernel", func() error { <-stuck; return nil })
	if !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "ask the kernel: ") {
		t.Errorf("got %v", err)
	}
}
