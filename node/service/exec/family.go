package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/service"
)

// The environment of every process of a service carries its name and the
// agent's run directory. So they are found when they left their group and
// session, and when the agent that started them is gone.
const (
	markName = "GEMEL_SERVICE"
	markDir  = "GEMEL_SERVICE_DIR"
)

// stat is what /proc/PID/stat tells.
type stat struct {
	pid, parent, session int
	start                uint64 // clock ticks since boot: tells a reused pid apart
	zombie               bool
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	_, rest, ok := bytes.Cut(b[bytes.LastIndexByte(b, ')')+1:], []byte(" "))
	fields := strings.Fields(string(rest))
	if !ok || len(fields) < 20 {
		return stat{}, fmt.Errorf("process %d: its stat file is not understood", pid)
	}
	s := stat{pid: pid, zombie: fields[0] == "Z" || fields[0] == "X"}
	var errs [3]error
	s.parent, errs[0] = strconv.Atoi(fields[1])
	s.session, errs[1] = strconv.Atoi(fields[3])
	s.start, errs[2] = strconv.ParseUint(fields[19], 10, 64)
	return s, errors.Join(errs[:]...)
}

// marked reports whether the process carries the marks of this service.
func (s *Service) marked(pid int) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	found := 0
	for _, v := range bytes.Split(env, []byte{0}) {
		if string(v) == s.marks()[0] || string(v) == s.marks()[1] {
			found++
		}
	}
	return found >= 2
}

func (s *Service) marks() [2]string {
	return [2]string{markName + "=" + s.id(), markDir + "=" + s.opts.RunDir}
}

// family lists the living processes of the service: those that carry its
// marks, those in the session of its main process, those that belonged to it
// before, and all their descendants.
func (s *Service) family() ([]int, error) {
	s.looking.Lock()
	defer s.looking.Unlock()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	session, member, all := s.getSession(), map[int]bool{}, []stat{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		st, err := readStat(pid)
		if err != nil || st.zombie {
			continue
		}
		all = append(all, st)
		member[pid] = session != 0 && st.session == session || s.wasMember(st) || s.marked(pid)
	}
	return s.known(adopted(all, member), all), nil
}

func (s *Service) wasMember(st stat) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	start, ok := s.kin[st.pid]
	return ok && start == st.start
}

// known remembers the members for the next look.
func (s *Service) known(members []int, all []stat) []int {
	kin := make(map[int]uint64, len(members))
	for _, st := range all {
		if slices.Contains(members, st.pid) {
			kin[st.pid] = st.start
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kin = kin
	return members
}

// adopted adds the descendants of members.
func adopted(all []stat, member map[int]bool) []int {
	for grew := true; grew; {
		grew = false
		for _, st := range all {
			if !member[st.pid] && member[st.parent] {
				member[st.pid], grew = true, true
			}
		}
	}
	var pids []int
	for _, st := range all {
		if member[st.pid] {
			pids = append(pids, st.pid)
		}
	}
	return pids
}

// holdRounds bounds the looks for children of processes that are being held.
const holdRounds = 20

// hold stops every process of the service and lists them. What is stopped does not
// fork, so nothing escapes that is born while the others are killed.
func (s *Service) hold() ([]int, error) {
	held := map[int]bool{}
	for range holdRounds {
		pids, err := s.family()
		if err != nil {
			return nil, err
		}
		fresh := false
		for _, pid := range pids {
			if !held[pid] {
				held[pid], fresh = true, true
				_ = unix.Kill(pid, unix.SIGSTOP) // it may be gone by now
			}
		}
		if !fresh {
			return pids, nil
		}
	}
	return s.family()
}

// reapMost bounds the pause between looks at processes that are ending.
const reapMost = 100 * time.Millisecond

// reap is that pause. A look reads of every process of the box, and several services
// may end at the same time.
func reap(waited, look time.Duration) time.Duration {
	return min(service.Pace(waited, look), reapMost)
}

// waitGone waits until nothing of the service runs. With kill set it sends
// SIGKILL in every round.
func (s *Service) waitGone(ctx context.Context, kill bool) error {
	look, begin := s.family, time.Now()
	if kill {
		look = s.hold
	}
	for {
		began := time.Now()
		pids, err := look()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			s.setSession(0)
			return nil
		}
		for _, pid := range pids {
			if kill {
				_ = unix.Kill(pid, unix.SIGKILL) // it may be gone by now
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("processes %v still run: %w", pids, ctx.Err())
		case <-time.After(reap(time.Since(begin), time.Since(began))):
		}
	}
}
