package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNoProcess says that a box runs no such process.
var ErrNoProcess = errors.New("no such process")

// Daemons are the names of the product's processes; any other name is a program's.
var Daemons = []string{"replicator", "agent", "witness"}

// PauseProcess stops a box's process where it stands, as a hang would; everything it
// holds stays held.
func (c *Cluster) PauseProcess(ctx context.Context, node, process string) error {
	return c.signal(ctx, node, process, "STOP")
}

// ResumeProcess lets a paused process go on. One that was not paused does not notice.
func (c *Cluster) ResumeProcess(ctx context.Context, node, process string) error {
	return c.signal(ctx, node, process, "CONT")
}

// KillProcess ends a box's process as a crash would. What the box's init minds, it starts again.
func (c *Cluster) KillProcess(ctx context.Context, node, process string) error {
	return c.signal(ctx, node, process, "KILL")
}

// RestartProcess ends a box's daemon in good order, as a service manager would, and the
// box's init starts it again, with the configuration as it is now.
func (c *Cluster) RestartProcess(ctx context.Context, node, process string) error {
	return c.signal(ctx, node, process, "TERM")
}

func (c *Cluster) signal(ctx context.Context, node, process, signal string) error {
	pids, err := c.pids(ctx, node, process)
	if err != nil {
		return err
	}
	c.Note("signal", "%s of %s gets the signal %s.", process, node, signal)
	done, err := c.Exec(ctx, node, append([]string{"kill", "-" + signal}, pids...)...)
	if err != nil {
		return err
	}
	if done.Code != 0 && !strings.Contains(done.Stderr, "No such process") {
		return fmt.Errorf("signal %s to %s of %s: %s", signal, process, node, strings.TrimSpace(done.Stderr))
	}
	return nil
}

// pids finds a daemon of the product, or the processes of a program.
func (c *Cluster) pids(ctx context.Context, node, process string) ([]string, error) {
	pattern := []string{"pgrep", "-x", process}
	if slices.Contains(Daemons, process) {
		pattern = []string{"pgrep", "-x", "-f", "gemel " + process + " .*"}
	}
	found, err := c.Exec(ctx, node, pattern...)
	if err != nil {
		return nil, err
	}
	pids := strings.Fields(found.Stdout)
	if len(pids) == 0 {
		return nil, fmt.Errorf("%s of %s: %w; see: lab exec --lab %s %s -- ps -e", process, node, ErrNoProcess, c.lab, node)
	}
	return pids, nil
}

// resumeAll wakes whatever is paused in a box, and returns the names of those it woke.
func (c *Cluster) resumeAll(ctx context.Context, node string) ([]string, error) {
	const wake = `for p in /proc/[0-9]*; do
	case "$(sed -n 's/^State:[[:space:]]*//p' $p/status 2>/dev/null)" in
	T*) tr '\0' ' ' <$p/cmdline; echo; kill -CONT ${p#/proc/};;
	esac
done`
	said, err := c.Exec(ctx, node, "sh", "-c", wake)
	if err != nil {
		return nil, err
	}
	var woken []string
	for line := range strings.Lines(said.Stdout) {
		words := strings.Fields(line)
		woken = append(woken, strings.Join(words[:min(2, len(words))], " "))
	}
	return woken, nil
}
