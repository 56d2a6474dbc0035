// Package command lets a program of the operator switch a box: a power strip, a relay, a hypervisor. It keeps the
// contract below and nothing else; what the program does is the operator's.
//
// The program is called with one more argument, and with GEMEL_NODE set to the node's name:
//
//	status  print "on", "off" or "unknown" on the first line of standard output; exit 0
//	off     cut the power; exit 0 when the order was accepted
//	on      switch the power on; exit 0 when the order was accepted
//
// Any other exit code is a failure, and the last line of standard error is shown as its reason. "off" is believed only
// of status, never of the order. The program is killed, with all it started, when its time is over.
package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"gemel/node/fencing"
)

// killWait is how long a killed program's output is waited for.
const killWait = time.Second

// Device is one node behind a program.
type Device struct {
	node string
	argv []string
}

// New returns the device of node behind argv, a program with its first arguments.
func New(node string, argv []string) (*Device, error) {
	if len(argv) == 0 || argv[0] == "" {
		return nil, errors.New("command: the program is missing")
	}
	return &Device{node: node, argv: argv}, nil
}

// Name returns "command" and the program.
func (d *Device) Name() string { return "command " + d.argv[0] }

// Status runs the program with "status".
func (d *Device) Status(ctx context.Context) (fencing.Power, error) {
	out, err := d.run(ctx, "status")
	if err != nil {
		return fencing.Unknown, err
	}
	first, _, _ := strings.Cut(out, "\n")
	switch power := fencing.Power(strings.TrimSpace(first)); power {
	case fencing.On, fencing.Off, fencing.Unknown:
		return power, nil
	}
	return fencing.Unknown, fmt.Errorf("%s status printed %q; it must print on, off or unknown", d.argv[0], first)
}

// PowerOff runs the program with "off".
func (d *Device) PowerOff(ctx context.Context) error { return d.order(ctx, "off") }

// PowerOn runs the program with "on".
func (d *Device) PowerOn(ctx context.Context) error { return d.order(ctx, "on") }

func (d *Device) order(ctx context.Context, verb string) error {
	_, err := d.run(ctx, verb)
	return err
}

func (d *Device) run(ctx context.Context, verb string) (string, error) {
	cmd := exec.CommandContext(ctx, d.argv[0], append(append([]string(nil), d.argv[1:]...), verb)...)
	cmd.Env = append(os.Environ(), "GEMEL_NODE="+d.node)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	// A shell's children hold its output open: the whole group goes.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killWait
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (killed: its time was over)", err)
		}
		return "", fmt.Errorf("%s %s: %w%s", strings.Join(d.argv, " "), verb, err, lastLine(errs.String()))
	}
	return out.String(), nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return ": " + last
	}
	return ""
}
