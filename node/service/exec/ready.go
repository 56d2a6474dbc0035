package exec

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"gemel/node/service"
)

const (
	readyPoll = 20 * time.Millisecond
	// commandPoll is for a health check that has to start a program each time.
	commandPoll = 100 * time.Millisecond
	dialWait    = time.Second
	listening   = "0A" // TCP state in /proc/net/tcp
)

// waitReady returns when the service's own process listens on ReadyTCP and
// answers there, and its health check succeeds. Without both a started process is
// ready.
func (s *Service) waitReady(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.StartWait)
	defer cancel()
	why, again := "", readyPoll
	if len(s.opts.Health.Command) > 0 {
		again = commandPoll
	}
	for {
		now := s.answers(ctx)
		if now == "" {
			return nil
		}
		if ctx.Err() == nil || why == "" { // a look cut short says nothing
			why = now
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%w: it ended: %s; its last words: %s",
				service.ErrNotReady, p.reason, s.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("%w: %s; its last words: %s: %w",
				service.ErrNotReady, why, s.lastWords(), ctx.Err())
		case <-time.After(again):
		}
	}
}

// answers returns why the service is not ready yet, or nothing.
func (s *Service) answers(ctx context.Context) string {
	if s.opts.ReadyTCP != "" {
		if why := s.listens(ctx); why != "" {
			return why
		}
	}
	if !s.opts.Health.Set() {
		return ""
	}
	if err := s.opts.Health.Look(ctx); err != nil {
		return err.Error()
	}
	return ""
}

// listens returns why nothing of the service is reached on ReadyTCP yet.
func (s *Service) listens(ctx context.Context) string {
	dialer := net.Dialer{Timeout: dialWait}
	conn, err := dialer.DialContext(ctx, "tcp", s.opts.ReadyTCP)
	if err != nil {
		return fmt.Sprintf("nothing answers on %s", s.opts.ReadyTCP)
	}
	_ = conn.Close() // only the greeting counted
	_, port, err := net.SplitHostPort(s.opts.ReadyTCP)
	if err != nil {
		return err.Error()
	}
	pids, err := s.family()
	if err != nil {
		return err.Error()
	}
	if !owns(pids, listeners(port)) {
		return fmt.Sprintf("another process answers on %s", s.opts.ReadyTCP)
	}
	return ""
}

// listeners returns the inodes of the sockets that listen on the port, in the
// form in which /proc/PID/fd names them.
func listeners(port string) map[string]bool {
	found := map[string]bool{}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return found
	}
	suffix := fmt.Sprintf(":%04X", number)
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, _ := os.ReadFile(table) // a box without IPv6 has no tcp6
		for _, line := range strings.Split(string(text), "\n") {
			f := strings.Fields(line)
			if len(f) > 9 && strings.HasSuffix(f[1], suffix) && f[3] == listening {
				found["socket:["+f[9]+"]"] = true
			}
		}
	}
	return found
}

func owns(pids []int, sockets map[string]bool) bool {
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		entries, _ := os.ReadDir(dir) // it may have ended
		for _, e := range entries {
			if to, err := os.Readlink(dir + "/" + e.Name()); err == nil && sockets[to] {
				return true
			}
		}
	}
	return false
}
