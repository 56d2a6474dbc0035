package exec

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gemel/node/service"
	"gemel/node/service/health"
)

// sickWhile returns a check that fails while the file exists.
func sickWhile(t *testing.T) (file string, check health.Check) {
	file = filepath.Join(t.TempDir(), "sick")
	return file, health.Check{Command: []string{"sh", "-c", "[ ! -e " + file + " ] || { echo unwell; false; }"},
		Interval: 10 * time.Millisecond, Timeout: 20 * time.Second, Failures: 2}
}

func touch(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestServiceThatHangsIsRestarted(t *testing.T) {
	o := options(t, "stubborn")
	file, check := sickWhile(t)
	o.Health, o.Restarts, o.StartWait = check, 1, time.Minute
	s := newService(t, o)
	pid := start(t, s)
	touch(t, file)
	eventually(t, "the end of the first process", func() bool { st := s.State(); return st.PID != pid && st.Phase == service.Starting })
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the restart", func() bool { return s.State().Phase == service.Running })
	if st := s.State(); st.Restarts != 1 || !strings.Contains(st.Reason, "failed 2 times in a row") || !strings.Contains(st.Reason, "unwell") {
		t.Errorf("state %+v, want one restart for its health check", st)
	}
}

func TestServiceThatHangsUsesUpItsBudget(t *testing.T) {
	o := options(t, "serve")
	file, check := sickWhile(t)
	failed := make(chan service.State, 1)
	o.Health, o.OnFailed = check, func(st service.State) { failed <- st }
	s := newService(t, o)
	start(t, s)
	touch(t, file)
	if st := <-failed; st.Phase != service.Failed || !strings.Contains(st.Reason, "unwell") {
		t.Errorf("state %+v, want failed for its health check", st)
	}
}

func TestNotReadyBeforeItIsWell(t *testing.T) {
	o := options(t, "serve")
	file, check := sickWhile(t)
	o.Health, o.StartWait = check, 500*time.Millisecond
	touch(t, file)
	s := newService(t, o)
	if err := s.Start(t.Context()); !errors.Is(err, service.ErrNotReady) {
		t.Errorf("start: %v, want ErrNotReady", err)
	}
}

// TestLookThatHangsEndsWithTheService: it could hold the mount.
func TestLookThatHangsEndsWithTheService(t *testing.T) {
	o := options(t, "serve")
	begun := filepath.Join(t.TempDir(), "begun")
	// The first look lets the service become ready, the second one hangs.
	o.Health = health.Check{Command: []string{"sh", "-c", "[ ! -e " + begun + ".1 ] || { touch " + begun + "; trap '' TERM; sleep 1000; }; touch " + begun + ".1"},
		Interval: time.Millisecond, Timeout: time.Hour}
	s := newService(t, o)
	start(t, s)
	eventually(t, "the look", func() bool { _, err := os.Stat(begun); return err == nil })
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestStrayChildEndsWithTheService: databases overwrite their environment and
// give each worker a session of its own.
func TestStrayChildEndsWithTheService(t *testing.T) {
	for _, end := range []string{"stop", "kill", "crash"} {
		t.Run(end, func(t *testing.T) {
			o := options(t, "stray")
			o.StopWait = 50 * time.Millisecond // nobody asks the child
			failed := make(chan service.State, 1)
			o.OnFailed = func(st service.State) { failed <- st }
			s := newService(t, o)
			main := start(t, s)
			pids, err := s.family()
			if err != nil || len(pids) != 2 {
				t.Fatalf("family is %v (%v), want two", pids, err)
			}
			switch end {
			case "stop":
				err = s.Stop(t.Context())
			case "kill":
				err = s.Kill(t.Context())
			case "crash": // the child's parent is gone when it is looked for
				err = syscall.Kill(main, syscall.SIGKILL)
				<-failed
			}
			if err != nil {
				t.Error(err)
			}
			for _, pid := range pids {
				if st, err := readStat(pid); err == nil && !st.zombie {
					t.Errorf("process %d is left", pid)
				}
			}
		})
	}
}

func TestStopSignal(t *testing.T) {
	o := options(t, "interrupted")
	o.StopSignal, o.StopWait = syscall.SIGINT, time.Hour
	s := newService(t, o)
	start(t, s)
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if words := s.lastWords(); words != "asked to end" {
		t.Errorf("its last words are %q", words)
	}
}

// TestStopInsistsWithinTheTimeAllowed: a step's limit below stop-wait must not
// leave the service running.
func TestStopInsistsWithinTheTimeAllowed(t *testing.T) {
	o := options(t, "stubborn")
	o.StopWait = time.Hour
	s := newService(t, o)
	start(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if wait := s.opts.Patience(ctx); wait > 15*time.Second {
		t.Errorf("it waits %v of 20 s", wait)
	}
	o.StopWait = time.Nanosecond
	again := newService(t, o)
	s.Release()
	if err := again.Stop(ctx); err != nil {
		t.Error(err)
	}
}
