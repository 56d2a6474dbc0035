package exec

import (
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is the main process of a service, started here or adopted: one life of it.
type process struct {
	of     *Service
	pid    int
	start  uint64        // tells a reused pid apart
	exited chan struct{} // closed when it ended; nil: adopted, nobody here is its parent
	reason string        // how it ended; read only after exited
}

const (
	// tendEvery is the time between looks at the log's size and at which processes
	// belong to the service.
	tendEvery = 10 * time.Second
	// adoptedEvery is the time between looks at whether an adopted process should
	// still be waited for.
	adoptedEvery = 100 * time.Millisecond
)

func (p *process) PID() int { return p.pid }

// Wait returns how the process ended, and tends the service meanwhile.
func (p *process) Wait(ctx context.Context) string {
	exited := p.exited
	if exited == nil {
		exited = make(chan struct{})
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() { p.await(ctx, exited) })
	}
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ""
		case <-exited:
			if ctx.Err() != nil {
				return ""
			}
			return p.reason
		case <-tick.C: // both are tried again at the next tick
			_ = p.of.rotate()
			_, _ = p.of.family()
		}
	}
}

// await closes exited when an adopted process ends; it gives up with ctx.
func (p *process) await(ctx context.Context, exited chan struct{}) {
	fd, err := p.open()
	if err != nil {
		close(exited)
		return
	}
	defer unix.Close(fd)
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(adoptedEvery.Milliseconds()))
		if n > 0 {
			close(exited)
			return
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			time.Sleep(adoptedEvery)
		}
	}
}

// open returns a descriptor of the process; an error says that it ended.
func (p *process) open() (int, error) {
	fd, err := unix.PidfdOpen(p.pid, 0) // from here on the pid cannot be another process
	if err != nil {
		return 0, err
	}
	st, err := readStat(p.pid)
	if err == nil && (st.start != p.start || st.zombie) {
		err = unix.ESRCH
	}
	if err != nil {
		_ = unix.Close(fd)
	}
	return fd, err
}

func (s *Service) id() string { return s.opts.ID() }

func (s *Service) fileName() string { return s.opts.Volume + "." + s.opts.Name }

func (s *Service) pidFile() string {
	return filepath.Join(s.opts.RunDir, "service-"+s.fileName()+".pid")
}

// spawn starts the main process in a session of its own. Its output goes
// straight into the log file, not through a pipe, so that it outlives us.
func (s *Service) spawn() (*process, error) {
	log, err := s.openLog()
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := osexec.Command(s.opts.Command[0], s.opts.Command[1:]...)
	marks := s.marks()
	cmd.Env = append(append(os.Environ(), s.opts.Environment...), marks[:]...)
	cmd.Dir = s.opts.Directory
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.opts.Command[0], err)
	}
	p := &process{of: s, pid: cmd.Process.Pid, exited: make(chan struct{})}
	level(p.pid)
	if err := s.remember(p.pid); err != nil {
		err = errors.Join(err, unix.Kill(-p.pid, unix.SIGKILL), cmd.Wait())
		return nil, err
	}
	go func() { // ends with the child
		defer close(p.exited)
		p.reason = "it ended without an error"
		if err := cmd.Wait(); err != nil {
			p.reason = err.Error()
		}
	}()
	return p, nil
}

// level takes from a service what the agent has for itself: a processor when there is
// little, and life when memory runs out. A service that eats all memory would otherwise be
// the one that the kernel never ends. What cannot be set stays as it is: then the agent has
// no such standing either.
func level(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("0"), 0)
	_ = unix.Setpriority(unix.PRIO_PGRP, pid, 0)
}

// remember writes pid and start time for the next life of the agent.
func (s *Service) remember(pid int) error {
	st, err := readStat(pid)
	if err != nil {
		return fmt.Errorf("look at process %d: %w", pid, err)
	}
	fresh := s.pidFile() + ".new"
	text := fmt.Sprintf("%d %d\n", pid, st.start)
	if err := os.WriteFile(fresh, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	if err := os.Rename(fresh, s.pidFile()); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	return nil
}

func (s *Service) forget() error {
	if err := os.Remove(s.pidFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the pid file: %w", err)
	}
	return nil
}

// adopt returns the main process that an earlier life of the agent started, or
// nil. It is the same one only if pid, start time and marks agree.
func (s *Service) adopt() *process {
	text, err := os.ReadFile(s.pidFile())
	if err != nil {
		return nil
	}
	p := &process{of: s, reason: "it ended; how is unknown, since an earlier agent started it"}
	if _, err := fmt.Sscanf(string(text), "%d %d", &p.pid, &p.start); err != nil {
		return nil
	}
	fd, err := p.open()
	if err != nil {
		return nil
	}
	defer unix.Close(fd) // kept until the marks have been read
	if !s.marked(p.pid) {
		return nil
	}
	return p
}

// logLimit is the size in bytes above which the log moves to NAME.log.1.
const logLimit = 8 << 20

func (s *Service) logPath() string {
	return filepath.Join(s.opts.LogDir, "service-"+s.fileName()+".log")
}

func (s *Service) openLog() (*os.File, error) {
	if err := s.rotate(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.logPath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return f, nil
}

// rotate copies a log that has grown too large and empties it. The service
// keeps the same file open, in append mode, so it cannot be renamed away.
func (s *Service) rotate() error {
	info, err := os.Stat(s.logPath())
	if err != nil || info.Size() < logLimit {
		return nil // no log yet, or small
	}
	old, err := os.ReadFile(s.logPath())
	if err == nil {
		err = os.WriteFile(s.logPath()+".1", old, 0o640)
	}
	if err == nil {
		err = os.Truncate(s.logPath(), 0)
	}
	if err != nil {
		return fmt.Errorf("rotate the log: %w", err)
	}
	return nil
}

// lastWords is the end of the log, for messages.
func (s *Service) lastWords() string {
	f, err := os.Open(s.logPath())
	if err != nil {
		return ""
	}
	defer f.Close()
	const most = 400
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	buf := make([]byte, most)
	n, _ := f.ReadAt(buf, max(0, info.Size()-most)) // io.EOF is expected
	lines := strings.Split(strings.TrimSpace(string(buf[:n])), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}
