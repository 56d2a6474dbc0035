// Package health looks after a service that runs: does it still answer? A look
// connects to a TCP port or runs a command, with a time limit, and several that
// fail in a row make a verdict. It is not a supervisor: whoever asked decides what
// to do about a service that does not answer.
package health

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"strings"
	"syscall"
	"time"
)

// Check says how to look after a service. The zero value looks at nothing.
type Check struct {
	// TCP is "host:port" that must accept a connection; Command is a program that
	// must end with exit code 0. With both, both count; the port comes first.
	TCP         string
	Command     []string
	Environment []string      // "NAME=value", added for Command
	Interval    time.Duration // between looks; zero: 10 s
	Timeout     time.Duration // of one look; zero: 5 s
	Failures    int           // looks that fail in a row make a verdict; zero: 3
}

// Set reports whether there is anything to look at.
func (c *Check) Set() bool { return c.TCP != "" || len(c.Command) > 0 }

// WithDefaults returns the check with what was left open filled in.
func (c Check) WithDefaults() Check {
	if c.Interval <= 0 {
		c.Interval = 10 * time.Second
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Failures <= 0 {
		c.Failures = 3
	}
	return c
}

// Look looks once and says what is wrong; nil when the service answers.
func (c *Check) Look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	if c.TCP != "" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.TCP)
		if err != nil {
			return fmt.Errorf("nothing answers on %s within %v", c.TCP, c.Timeout)
		}
		_ = conn.Close() // only the greeting counted
	}
	if len(c.Command) > 0 {
		return c.run(ctx)
	}
	return nil
}

// outputLimit is how much of a command's output is kept for messages, in bytes.
const outputLimit = 300

// run runs the command in a group of its own, all of which ends with the look: a
// check that hangs must not stay behind and hold the mount.
func (c *Check) run(ctx context.Context) error {
	cmd := osexec.CommandContext(ctx, c.Command[0], c.Command[1:]...)
	cmd.Env = append(os.Environ(), c.Environment...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for a child that keeps the output open
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s did not end within %v%s", c.Command[0], c.Timeout, out.said())
	default:
		return fmt.Errorf("%s: %w%s", c.Command[0], err, out.said())
	}
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if over := len(t.text) - outputLimit; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

func (t *tail) said() string {
	text := string(bytes.ToValidUTF8(bytes.TrimSpace(t.text), nil))
	if text == "" {
		return ""
	}
	return ", saying: " + strings.ReplaceAll(text, "\n", " | ")
}

// Watch looks at every interval until enough looks in a row failed, and returns
// what the last of them said; or until ctx ends, and returns nil.
func (c *Check) Watch(ctx context.Context) error {
	tick := time.NewTicker(c.Interval)
	defer tick.Stop()
	for failed := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := c.Look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			failed = 0
			continue
		}
		if failed++; failed >= c.Failures {
			return fmt.Errorf("its health check failed %d times in a row: %w", failed, err)
		}
	}
}
