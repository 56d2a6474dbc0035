package exec

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/service"
	"gemel/node/service/supervisor"
)

// role makes the test program play the part of a service.
const role = "GEMEL_EXEC_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "serve":
		serve()
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		serve()
	case "fork": // a grandchild leaves the session, as daemons do
		child := osexec.Command(os.Args[0])
		child.Env = append(os.Environ(), role+"=sleep")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			panic(err)
		}
		serve()
	case "stray": // as "fork", and the child has no mark in its environment
		child := osexec.Command("/bin/sleep", "1000")
		child.Env = []string{"PATH=/bin"}
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			panic(err)
		}
		serve()
	case "interrupted":
		signal.Ignore(syscall.SIGTERM)
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGINT)
		go func() { <-ended; fmt.Println("asked to end"); os.Exit(0) }()
		serve()
	case "sleep":
		signal.Ignore(syscall.SIGTERM)
		time.Sleep(time.Hour)
	case "exit":
		fmt.Println("no disk today")
		os.Exit(3)
	}
}

func serve() {
	l, err := net.Listen("tcp", os.Getenv("GEMEL_EXEC_TEST_ADDR"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for {
		if c, err := l.Accept(); err == nil {
			_ = c.Close()
		}
	}
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func options(t *testing.T, part string) Options {
	dir, addr := t.TempDir(), freeAddr(t)
	return Options{
		Options: supervisor.Options{Volume: "vol", Name: "svc", StopWait: 10 * time.Second, RestartsIn: time.Hour},
		Command: []string{os.Args[0]}, ReadyTCP: addr,
		Environment: []string{role + "=" + part, "GEMEL_EXEC_TEST_ADDR=" + addr},
		RunDir:      filepath.Join(dir, "run"), LogDir: filepath.Join(dir, "log"),
	}
}

func newService(t *testing.T, o Options) *Service {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Kill(context.Background()); err != nil {
			t.Error(err)
		}
		if pids, err := s.family(); err != nil || len(pids) != 0 {
			t.Errorf("processes %v are left (%v)", pids, err)
		}
	})
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
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestAServiceStandsLikeAnyProgram: the agent's priority and its life without memory are
// the agent's alone.
func TestAServiceStandsLikeAnyProgram(t *testing.T) {
	favour(t, "100", -4) // a shield would be below zero, and may be set by few; it is inherited alike
	s := newService(t, options(t, "serve"))
	pid := start(t, s)
	adj, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
	if err != nil || strings.TrimSpace(string(adj)) != "0" {
		t.Errorf("oom_score_adj is %s, %v", adj, err)
	}
	// The system call answers 20 minus the nice value.
	if nice, err := unix.Getpriority(unix.PRIO_PROCESS, pid); err != nil || nice != 20 {
		t.Errorf("nice is %d, %v", 20-nice, err)
	}
}

// favour gives this program a standing of its own, as the unit gives the agent, until the test ends.
func favour(t *testing.T, oom string, nice int) {
	t.Helper()
	const file = "/proc/self/oom_score_adj"
	was, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte(oom), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err == nil {
		err = renice(nice)
	}
	t.Cleanup(func() { _ = os.WriteFile(file, was, 0); _ = renice(20 - own) })
	if err != nil {
		t.Skipf("needs root to raise a process' priority: %v", err)
	}
}

// renice is for all threads of this program.
func renice(nice int) error {
	threads, err := os.ReadDir("/proc/self/task")
	for _, thread := range threads {
		tid, _ := strconv.Atoi(thread.Name())
		err = errors.Join(err, unix.Setpriority(unix.PRIO_PROCESS, tid, nice))
	}
	return err
}

func TestStartStop(t *testing.T) {
	s := newService(t, options(t, "serve"))
	pid := start(t, s)
	if again := start(t, s); again != pid {
		t.Errorf("a second start made process %d of %d", again, pid)
	}
	if st, err := readStat(pid); err != nil || st.session != pid {
		t.Errorf("process %d is in session %d (%v), want its own", pid, st.session, err)
	}
	for range 2 {
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.State(); st.Phase != service.Stopped || st.PID != 0 {
		t.Errorf("state after stop: %+v", st)
	}
	if left, err := os.ReadDir(s.opts.RunDir); err != nil || len(left) != 0 {
		t.Errorf("left in the run directory: %v (%v)", left, err)
	}
}

func TestStopInsists(t *testing.T) {
	o := options(t, "stubborn")
	o.StopWait = 50 * time.Millisecond
	s := newService(t, o)
	start(t, s)
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestKillFindsEscapedChildren(t *testing.T) {
	s := newService(t, options(t, "fork"))
	start(t, s)
	pids, err := s.family()
	if err != nil || len(pids) != 2 {
		t.Fatalf("family is %v (%v), want two", pids, err)
	}
	if err := s.Kill(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAdoption(t *testing.T) {
	o := options(t, "serve")
	first := newService(t, o)
	pid := start(t, first)
	first.Release() // the agent ends; the service stays
	second := newService(t, o)
	if got := start(t, second); got != pid {
		t.Errorf("the next agent started %d instead of adopting %d", got, pid)
	}
	if err := second.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAdoptedIsRestarted(t *testing.T) {
	o := options(t, "serve")
	o.Restarts = 1
	first := newService(t, o)
	pid := start(t, first)
	first.Release()
	second := newService(t, o)
	start(t, second)
	_ = syscall.Kill(pid, syscall.SIGKILL)
	eventually(t, "the restart", func() bool {
		st := second.State()
		return st.Phase == service.Running && st.PID != pid && st.Restarts == 1
	})
}

func TestLeftoverWithoutPidFileIsKilled(t *testing.T) {
	o := options(t, "serve")
	first := newService(t, o)
	pid := start(t, first)
	first.Release()
	if err := os.Remove(first.pidFile()); err != nil {
		t.Fatal(err)
	}
	second := newService(t, o)
	if got := start(t, second); got == pid {
		t.Error("adopted without a pid file")
	}
}

func TestBudgetOfRestarts(t *testing.T) {
	o := options(t, "serve")
	failed := make(chan service.State, 1)
	o.Restarts, o.OnFailed = 1, func(st service.State) { failed <- st }
	s := newService(t, o)
	pid := start(t, s)
	_ = syscall.Kill(pid, syscall.SIGKILL)
	eventually(t, "the restart", func() bool { st := s.State(); return st.Phase == service.Running && st.PID != pid })
	_ = syscall.Kill(s.State().PID, syscall.SIGKILL)
	if st := <-failed; st.Phase != service.Failed || !strings.Contains(st.Reason, "killed") {
		t.Errorf("state %+v, want failed with the signal", st)
	}
	start(t, s) // an operator may start it again
}

func TestNotReady(t *testing.T) {
	t.Run("it ends", func(t *testing.T) {
		s := newService(t, options(t, "exit"))
		err := s.Start(t.Context())
		if !errors.Is(err, service.ErrNotReady) || !strings.Contains(err.Error(), "no disk today") {
			t.Errorf("start: %v, want ErrNotReady with its last words", err)
		}
	})
	t.Run("it hangs", func(t *testing.T) {
		o := options(t, "sleep")
		o.StartWait = 100 * time.Millisecond
		s := newService(t, o)
		if err := s.Start(t.Context()); !errors.Is(err, service.ErrNotReady) {
			t.Errorf("start: %v, want ErrNotReady", err)
		}
	})
	t.Run("another answers in its place", func(t *testing.T) {
		o := options(t, "sleep")
		o.StartWait = 5 * time.Second // time for one whole look on a slow box
		l, err := net.Listen("tcp", o.ReadyTCP)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s := newService(t, o)
		err = s.Start(t.Context())
		if !errors.Is(err, service.ErrNotReady) || !strings.Contains(err.Error(), "another process") {
			t.Errorf("start: %v, want another process named", err)
		}
	})
}

func TestRotate(t *testing.T) {
	s := newService(t, options(t, "serve"))
	if err := os.MkdirAll(s.opts.LogDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.logPath(), make([]byte, logLimit), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, s)
	old, err := os.Stat(s.logPath() + ".1")
	if err != nil || old.Size() != logLimit {
		t.Errorf("the full log did not move (%v)", err)
	}
	if now, err := os.Stat(s.logPath()); err != nil || now.Size() >= logLimit {
		t.Errorf("the log was not emptied (%v)", err)
	}
}

func TestNewRefuses(t *testing.T) {
	good := options(t, "serve")
	for _, spoil := range []func(*Options){
		func(o *Options) { o.Name = "" },
		func(o *Options) { o.Volume = "../x" },
		func(o *Options) { o.Command = nil },
		func(o *Options) { o.RunDir = "" },
	} {
		o := good
		spoil(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

// TestHeldBack: a service that ends while no restarts are wanted starts once they are.
func TestHeldBack(t *testing.T) {
	o := options(t, "serve")
	wanted := make(chan struct{})
	o.Restarts = 3
	o.Hold = func(ctx context.Context) error {
		select {
		case <-wanted:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s := newService(t, o)
	pid := start(t, s)
	_ = syscall.Kill(pid, syscall.SIGKILL)
	eventually(t, "the service to be held back", func() bool {
		st := s.State()
		return st.Phase == service.Stopped && strings.Contains(st.Reason, "not restarted for now")
	})
	close(wanted)
	eventually(t, "the restart", func() bool { st := s.State(); return st.Phase == service.Running && st.PID != pid })
}
