package exec

import (
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is the main process of a service, started here or adopted.
type process struct {
	pid    int
	exited chan struct{} // closed when it ended
	reason string        // how it ended; read only after exited
}

func (s *Service) id() string { return s.opts.Volume + "/" + s.opts.Name }

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
	p := &process{pid: cmd.Process.Pid, exited: make(chan struct{})}
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
func (s *Service) adopt(ctx context.Context) *process {
	text, err := os.ReadFile(s.pidFile())
	if err != nil {
		return nil
	}
	var pid int
	var start uint64
	if _, err := fmt.Sscanf(string(text), "%d %d", &pid, &start); err != nil {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, 0) // from here on the pid cannot be another process
	if err != nil {
		return nil
	}
	st, err := readStat(pid)
	if err != nil || st.start != start || st.zombie || !s.marked(pid) {
		unix.Close(fd)
		return nil
	}
	p := &process{pid: pid, exited: make(chan struct{}), reason: "it ended; how is unknown, since an earlier agent started it"}
	s.wg.Go(func() { watchPidfd(ctx, fd, p.exited) })
	return p
}

// watchPidfd closes exited when the process ends; it gives up with ctx.
func watchPidfd(ctx context.Context, fd int, exited chan struct{}) {
	defer unix.Close(fd)
	const look = 200 // ms between looks at ctx
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, look)
		if n > 0 {
			close(exited)
			return
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			time.Sleep(look * time.Millisecond)
		}
	}
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
