package systemd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gemel/node/service"
	"gemel/node/service/health"
	"gemel/node/service/supervisor"
)

func options(t *testing.T, f *fake) Options {
	return Options{Options: supervisor.Options{Volume: "vol", Name: "web", RestartsIn: time.Hour,
		StartWait: 30 * time.Second, StopWait: 30 * time.Second}, Unit: fakeUnit, RunDir: t.TempDir(), Dial: f.dial}
}

func newService(t *testing.T, o Options) *Service {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	return s
}

func start(t *testing.T, s *Service) int {
	t.Helper()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := s.State()
	if st.Phase != service.Running || st.PID == 0 {
		t.Fatalf("state after start: %+v", st)
	}
	return st.PID
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func want(t *testing.T, f *fake, calls ...string) {
	t.Helper()
	if got := f.asked(); !slices.Equal(got, calls) {
		t.Errorf("systemd was asked %q, want %q", got, calls)
	}
}

func TestStartStop(t *testing.T) {
	f := newFake(t)
	s := newService(t, options(t, f))
	pid := start(t, s)
	if again := start(t, s); again != pid {
		t.Errorf("a second start made process %d of %d", again, pid)
	}
	for range 2 {
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.State(); st.Phase != service.Stopped || st.PID != 0 {
		t.Errorf("state after stop: %+v", st)
	}
	want(t, f, "start web.service replace", "stop web.service replace")
	if left, err := os.ReadDir(s.opts.RunDir); err != nil || len(left) != 0 {
		t.Errorf("left in the run directory: %v (%v)", left, err)
	}
}

func TestUnitThatFailsToStart(t *testing.T) {
	f := newFake(t)
	f.set(func() { f.broken = true })
	s := newService(t, options(t, f))
	err := s.Start(t.Context())
	if !errors.Is(err, service.ErrNotReady) || !strings.Contains(err.Error(), "failed (exit-code)") || !strings.Contains(err.Error(), "journalctl -u web.service") {
		t.Errorf("start: %v", err)
	}
	if st := s.State(); st.Phase != service.Failed {
		t.Errorf("state %+v, want failed", st)
	}
	f.set(func() { f.broken = false })
	start(t, s) // an operator may start it again
}

func TestNoSuchUnit(t *testing.T) {
	f := newFake(t)
	o := options(t, f)
	o.Unit = "nowhere.service"
	s := newService(t, o)
	if err := s.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "not-found") {
		t.Errorf("start: %v", err)
	}
	if err := errors.Join(s.Stop(t.Context()), s.Kill(t.Context())); err != nil {
		t.Errorf("what is not there need not be stopped: %v", err)
	}
}

func TestNoSystemd(t *testing.T) {
	f := newFake(t)
	o := options(t, f)
	o.Dial = func() (Manager, error) { return nil, errors.New("no systemd here") }
	s := newService(t, o)
	if err := s.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "no systemd here") {
		t.Errorf("start: %v", err)
	}
}

// TestAdoption: the next life of the agent finds the unit that the last one started.
func TestAdoption(t *testing.T) {
	f := newFake(t)
	o := options(t, f)
	first := newService(t, o)
	pid := start(t, first)
	first.Release()
	second := newService(t, o)
	if got := start(t, second); got != pid {
		t.Errorf("process %d instead of %d", got, pid)
	}
	want(t, f, "start web.service replace")
}

// TestUnitThatRanBefore: what ran when the volume was not there has other files open.
func TestUnitThatRanBefore(t *testing.T) {
	f := newFake(t)
	f.set(f.up)
	s := newService(t, options(t, f))
	start(t, s)
	want(t, f, "stop web.service replace", "start web.service replace")
}

func TestStopInsists(t *testing.T) {
	f := newFake(t)
	f.set(func() { f.stubborn = true })
	o := options(t, f)
	o.StopWait = 50 * time.Millisecond
	s := newService(t, o)
	start(t, s)
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	want(t, f, "start web.service replace", "stop web.service replace", "kill web.service all 9")
}

func TestKill(t *testing.T) {
	f := newFake(t)
	f.set(func() { f.stubborn = true })
	s := newService(t, options(t, f))
	start(t, s)
	if err := s.Kill(t.Context()); err != nil {
		t.Error(err)
	}
	want(t, f, "start web.service replace", "stop web.service replace", "kill web.service all 9")
}

func TestBudgetOfRestarts(t *testing.T) {
	f := newFake(t)
	o := options(t, f)
	failed := make(chan service.State, 1)
	o.Restarts, o.OnFailed = 1, func(st service.State) { failed <- st }
	s := newService(t, o)
	pid := start(t, s)
	f.set(func() { f.down("failed", "oom-kill") })
	eventually(t, "the restart", func() bool { st := s.State(); return st.Phase == service.Running && st.PID != pid && st.Restarts == 1 })
	f.set(func() { f.down("failed", "oom-kill") })
	if st := <-failed; st.Phase != service.Failed || !strings.Contains(st.Reason, "oom-kill") {
		t.Errorf("state %+v, want failed with systemd's reason", st)
	}
}

// TestSystemdRestartsItself: by Restart= in the unit. It counts, and is not started twice.
func TestSystemdRestartsItself(t *testing.T) {
	f := newFake(t)
	o := options(t, f)
	o.Restarts = 5
	s := newService(t, o)
	start(t, s)
	f.set(f.up)
	eventually(t, "the restart to be counted", func() bool { st := s.State(); return st.Phase == service.Running && st.Restarts == 1 && st.PID == 1002 })
	want(t, f, "start web.service replace")
}

func TestUnitThatHangsIsRestarted(t *testing.T) {
	f := newFake(t)
	file := filepath.Join(t.TempDir(), "sick")
	o := options(t, f)
	o.Restarts = 1
	o.Health = health.Check{Command: []string{"sh", "-c", "[ ! -e " + file + " ]"}, Interval: 10 * time.Millisecond, Timeout: 20 * time.Second, Failures: 2}
	s := newService(t, o)
	pid := start(t, s)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new start", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.starts == 2 })
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the restart", func() bool { st := s.State(); return st.Phase == service.Running && st.PID != pid })
	if st := s.State(); st.Restarts != 1 || !strings.Contains(st.Reason, "health check failed") {
		t.Errorf("state %+v", st)
	}
}

func TestWarnings(t *testing.T) {
	f := newFake(t)
	s := newService(t, options(t, f))
	for _, c := range []struct {
		name   string
		change func()
		want   string
	}{
		{"all is well", func() {}, ""},
		{"enabled at boot", func() { f.unit["UnitFileState"] = "enabled" }, "systemctl disable web.service"},
		{"runs by itself", func() { f.unit["UnitFileState"] = "disabled"; f.up() }, "systemctl stop web.service"},
		{"ended", func() { f.down("inactive", "success") }, ""},
		{"masked", func() { f.unit["LoadState"] = "masked" }, "it is masked"},
	} {
		f.set(c.change)
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.State().Warning; c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: warned %q, want %q", c.name, got, c.want)
		}
	}
}

// TestSystemdIsReplaced: the connection breaks when systemd is updated; the next
// question makes a new one.
func TestSystemdIsReplaced(t *testing.T) {
	f := newFake(t)
	s := newService(t, options(t, f))
	pid := start(t, s)
	s.bus.conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Check(ctx); err != nil {
		t.Error(err)
	}
	if st := s.State(); st.Phase != service.Running || st.PID != pid {
		t.Errorf("state %+v", st)
	}
}

func TestNewRefuses(t *testing.T) {
	named := supervisor.Options{Volume: "v", Name: "n"}
	for _, o := range []Options{{}, {Options: named, Unit: "a b", RunDir: "/x"}, {Options: named, Unit: "u"}, {Unit: "u", RunDir: "/x"}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
