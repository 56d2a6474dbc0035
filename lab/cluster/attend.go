package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Attendants are the lab's processes beside its boxes: what carries frames through a
// bad cable, what answers for a box's power control. They outlive the command that
// made them, so their command line is their label: it names the lab, and whoever
// sweeps finds them by it.
const attendVerb = "attend"

// attendName is what an attendant calls itself, at most 15 bytes. The kernel tells the
// name of any process at once, while the command line of one that hangs in a page fault
// is told when it hangs no more: only those of this name are asked for it.
const attendName = "gemel-attend"

// Attendant is one running attendant.
type Attendant struct {
	PID  int
	Lab  string
	Kind string
	Args []string
}

// Words name the attendant for people.
func (a Attendant) Words() string {
	return fmt.Sprintf("%s %s of lab %s (process %d)", a.Kind, strings.Join(a.Args, " "), a.Lab, a.PID)
}

// readyLimit bounds the start of an attendant, endLimit its end.
const (
	readyLimit = 20 * time.Second
	endLimit   = 10 * time.Second
)

// errNotReady says that an attendant ended before it was at work.
var errNotReady = errors.New("it ended before it was ready")

// Attend is the body of an attendant's process. ready is told when it is at work.
func Attend(ctx context.Context, lab, kind string, args []string, ready func()) error {
	if err := os.WriteFile("/proc/self/comm", []byte(attendName), 0); err != nil {
		return fmt.Errorf("attend: take the name %s: %w", attendName, err)
	}
	switch {
	case kind == attendRelay && len(args) == 2:
		return runRelay(ctx, lab, args[0], args[1], ready)
	case kind == attendBMC && len(args) == 1:
		return runBMC(ctx, lab, args[0], ready)
	}
	return fmt.Errorf("attend: there is no attendant %q with %d arguments", kind, len(args))
}

// engage starts an attendant with the lab's own copy of the binary, in a session of
// its own, and waits until it is at work.
func (c *Cluster) engage(kind string, args ...string) error {
	line := append([]string{attendVerb, "--lab", c.lab, kind}, args...)
	command := exec.Command(filepath.Join(c.dir, "bin", "lab"), line...)
	command.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	log, err := os.OpenFile(c.attendLog(kind, args), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", kind, err)
	}
	defer func() { _ = log.Close() }()
	command.Stderr = log
	said, err := command.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", kind, err)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", kind, err)
	}
	err = awaitReady(said)
	// Its end, which a sweep or its cable brings about, is nobody's to wait for but the kernel's.
	go func() { _ = command.Wait() }()
	if err != nil {
		_ = command.Process.Kill()
		return fmt.Errorf("start %s: %w; its last words: %s", kind, err, lastLine(c.attendLog(kind, args)))
	}
	return nil
}

func (c *Cluster) attendLog(kind string, args []string) string {
	return filepath.Join(c.dir, strings.Join(append([]string{kind}, args...), "-")+".log")
}

// awaitReady waits for the one line an attendant says.
func awaitReady(said io.Reader) error {
	line := make(chan error, 1)
	go func() {
		if _, err := bufio.NewReader(said).ReadString('\n'); err != nil {
			line <- errNotReady
			return
		}
		line <- nil
	}()
	select {
	case err := <-line:
		return err
	case <-time.After(readyLimit):
		return fmt.Errorf("not ready after %v", readyLimit)
	}
}

func lastLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "none"
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return lines[len(lines)-1]
}

// dismiss ends the attendants of this lab that match, and waits for their end.
func (c *Cluster) dismiss(ctx context.Context, kind string, args ...string) error {
	return endAttendants(ctx, func(a Attendant) bool {
		return a.Lab == c.lab && a.Kind == kind && slices.Equal(a.Args, args)
	})
}

func endAttendants(ctx context.Context, wanted func(Attendant) bool) error {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	for {
		left, err := Attendants()
		if err != nil {
			return err
		}
		left = slices.DeleteFunc(left, func(a Attendant) bool { return !wanted(a) })
		if len(left) == 0 {
			return nil
		}
		for _, a := range left {
			if err := unix.Kill(a.PID, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("end %s: %w", a.Words(), err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end %s: %w", left[0].Words(), ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Attendants returns the attendants of every lab on this host.
func Attendants() ([]Attendant, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list attendants: %w", err)
	}
	var found []Attendant
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		// Processes come and go; one that is gone, or dead already, has neither.
		name, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "comm"))
		if err != nil || strings.TrimSpace(string(name)) != attendName {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err != nil {
			continue
		}
		if a, ok := parseAttendant(line); ok {
			a.PID = pid
			found = append(found, a)
		}
	}
	return found, nil
}

// parseAttendant reads a command line as the kernel shows it.
func parseAttendant(line []byte) (Attendant, bool) {
	var words []string
	for word := range bytes.SplitSeq(bytes.TrimSuffix(line, []byte{0}), []byte{0}) {
		words = append(words, string(word))
	}
	if len(words) < 5 || words[1] != attendVerb || words[2] != "--lab" {
		return Attendant{}, false
	}
	if lab := words[3]; words[0] == filepath.Join(Dir(lab), "bin", "lab") {
		return Attendant{Lab: lab, Kind: words[4], Args: words[5:]}, true
	}
	return Attendant{}, false
}
