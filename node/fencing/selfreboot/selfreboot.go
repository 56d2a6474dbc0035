// Package selfreboot lets this box reboot itself at its peer's word: at once, as `reboot -f` does, without stopping
// anything or writing anything back, for who asks believes that this box is confused. Whether the word is to be obeyed
// is not decided here, and nothing that happens here proves anything to the peer.
package selfreboot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// commandWait bounds a command that is to reboot the box.
const commandWait = 30 * time.Second

// Way is how this box reboots itself.
type Way struct {
	argv []string
	// What the rest of the box looks like; tests have their own.
	root   string // of the file system
	euid   int
	reboot func(cmd int) error
}

// New returns the way by a command; without one, by the kernel's own order.
func New(argv []string) *Way {
	return &Way{argv: argv, root: "/", euid: os.Geteuid(), reboot: unix.Reboot}
}

// String names the way.
func (w *Way) String() string {
	if len(w.argv) > 0 {
		return strings.Join(w.argv, " ")
	}
	return "the kernel's order to restart"
}

// Able returns why this box could not, or must not, reboot itself that way; nil: it could.
func (w *Way) Able() error {
	if len(w.argv) > 0 {
		if _, err := exec.LookPath(w.argv[0]); err != nil {
			return fmt.Errorf("the command that reboots this box cannot be run: %w", err)
		}
		return nil
	}
	if w.euid != 0 || !w.capable() {
		return errors.New("only root with CAP_SYS_BOOT may restart this box; give a command that can")
	}
	if mark := w.guest(); mark != "" && w.hostsProcesses() {
		return fmt.Errorf("this is a container (%s) that sees the processes of its host, so the order would restart the host; "+
			"give a command that restarts only this box", mark)
	}
	return nil
}

// Do reboots the box; nothing is written back. It returns only when that failed, or when the command came back.
func (w *Way) Do(ctx context.Context) error {
	if err := w.Able(); err != nil {
		return err
	}
	if len(w.argv) == 0 {
		// In a PID namespace of its own, a container's, the kernel ends that and not the host.
		return os.NewSyscallError("reboot", w.reboot(unix.LINUX_REBOOT_CMD_RESTART))
	}
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	out, err := exec.CommandContext(ctx, w.argv[0], w.argv[1:]...).CombinedOutput() //nolint:gosec // the operator's
	if err != nil {
		return fmt.Errorf("%s: %w: %s", w, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// capable reports whether this process has CAP_SYS_BOOT.
func (w *Way) capable() bool {
	raw, err := os.ReadFile(filepath.Join(w.root, "proc/self/status"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(raw)) {
		if mask, found := strings.CutPrefix(line, "CapEff:"); found {
			set, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return err == nil && set&(1<<unix.CAP_SYS_BOOT) != 0
		}
	}
	return false
}

// firstPIDs is the kernel's number of the first PID namespace, the host's.
const firstPIDs = "pid:[4026531836]"

// hostsProcesses reports whether this process is in the host's PID namespace, or that cannot be told.
func (w *Way) hostsProcesses() bool {
	name, err := os.Readlink(filepath.Join(w.root, "proc/self/ns/pid"))
	return err != nil || name == firstPIDs
}

// guest returns what shows that this is a container; empty: nothing does.
func (w *Way) guest() string {
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv", "/run/systemd/container"} {
		if _, err := os.Stat(filepath.Join(w.root, mark)); err == nil {
			return mark
		}
	}
	return ""
}
