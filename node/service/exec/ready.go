package exec

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	dialWait  = time.Second
	listening = "0A" // TCP state in /proc/net/tcp
)

// Ready is the service once its own process listens on ReadyTCP and answers there.
func (p *process) Ready(ctx context.Context) error {
	if p.of.opts.ReadyTCP == "" {
		return nil
	}
	return p.of.listens(ctx)
}

// listens says why nothing of the service is reached on ReadyTCP yet.
func (s *Service) listens(ctx context.Context) error {
	dialer := net.Dialer{Timeout: dialWait}
	conn, err := dialer.DialContext(ctx, "tcp", s.opts.ReadyTCP)
	if err != nil {
		return fmt.Errorf("nothing answers on %s", s.opts.ReadyTCP)
	}
	_ = conn.Close() // only the greeting counted
	_, port, err := net.SplitHostPort(s.opts.ReadyTCP)
	if err != nil {
		return err
	}
	pids, err := s.family()
	if err != nil {
		return err
	}
	if !owns(pids, listeners(port)) {
		return fmt.Errorf("another process answers on %s", s.opts.ReadyTCP)
	}
	return nil
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
