package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gemel/lab/loopdev"
)

// roomPrefix begins the name of everything a run makes; the pid of the run follows.
const roomPrefix = "gbench-"

// stopWait is how long a daemon may take to end after SIGTERM.
const stopWait = 15 * time.Second

// room is all that a run makes on the host, with the way to unmake it in
// reverse order. Only the goroutine that made it may use it.
type room struct {
	ctx  context.Context // ends all work; not the unmaking
	name string          // such as "gbench-123"
	dir  string          // for images, keys, logs
	undo []func() error
}

// newRoom makes the run's directory, after removing what killed runs left behind.
func newRoom(ctx context.Context, parent string) (*room, error) {
	if err := sweep(parent); err != nil {
		return nil, err
	}
	name := roomPrefix + strconv.Itoa(os.Getpid())
	r := &room{ctx: ctx, name: name, dir: filepath.Join(parent, name)}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the run's directory: %w", err)
	}
	r.later(func() error { return os.RemoveAll(r.dir) })
	return r, nil
}

func (r *room) later(undo func() error) { r.undo = append(r.undo, undo) }

// backTo unmakes, newest first, until only the oldest n things are left.
func (r *room) backTo(n int) error {
	var errs []error
	for len(r.undo) > n {
		last := len(r.undo) - 1
		errs = append(errs, r.undo[last]())
		r.undo = r.undo[:last]
	}
	return errors.Join(errs...)
}

// inside runs do and unmakes what it made.
func (r *room) inside(do func() error) error {
	mark := len(r.undo)
	err := do()
	return errors.Join(err, r.backTo(mark))
}

// sweep removes directories and namespaces of runs whose process is gone: only
// SIGKILL leaves them, and the daemons of such a run have ended with it.
func sweep(parent string) error {
	var errs []error
	for _, place := range []string{parent, "/run/netns"} {
		left, _ := filepath.Glob(filepath.Join(place, roomPrefix+"*"))
		for _, path := range left {
			owner := strings.Split(filepath.Base(path), "-")[1]
			if _, err := os.Stat("/proc/" + owner); err == nil {
				continue
			}
			say("removing %s, left by a run that was killed", path)
			if place == parent {
				errs = append(errs, detachBelow(path), os.RemoveAll(path))
			} else {
				errs = append(errs, command(context.Background(), "ip", "netns", "del", filepath.Base(path)))
			}
		}
	}
	return errors.Join(errs...)
}

// detachBelow gives back the loop devices on files of a directory.
func detachBelow(dir string) error {
	devices, err := loopdev.List()
	for _, d := range devices {
		if strings.HasPrefix(d.Backing, dir+"/") {
			err = errors.Join(err, loopdev.Detach(d.Path))
		}
	}
	return err
}

// command runs a program to its end.
func command(ctx context.Context, name string, args ...string) error {
	_, err := output(ctx, name, args...)
	return err
}

// output runs a program and returns what it printed; an error carries what it complained of.
func output(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	ownGroup(cmd)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return out, fmt.Errorf("%s: %w", name, ctx.Err())
	}
	if err != nil {
		return out, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out, nil
}

// ownGroup keeps the terminal's Ctrl-C away from a child, which is stopped in
// order instead, and ends it should this process be killed.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// namespace makes a network namespace and returns its full name.
func (r *room) namespace(short string) (string, error) {
	ns := r.name + "-" + short
	if err := command(r.ctx, "ip", "netns", "add", ns); err != nil {
		return "", err
	}
	r.later(func() error { return command(context.Background(), "ip", "netns", "del", ns) })
	return ns, command(r.ctx, "ip", "-n", ns, "link", "set", "lo", "up")
}

// cable joins two namespaces by a veth whose ends have the same name. An
// address may be empty; rate is tc's, such as "1gbit", or empty for no limit.
func (r *room) cable(nic, nsA, addrA, nsB, addrB, rate string) error {
	err := command(r.ctx, "ip", "link", "add", nic, "netns", nsA, "type", "veth", "peer", "name", nic, "netns", nsB)
	for _, end := range [][2]string{{nsA, addrA}, {nsB, addrB}} {
		if err == nil && end[1] != "" {
			err = command(r.ctx, "ip", "-n", end[0], "addr", "add", end[1]+"/24", "dev", nic)
		}
		if err == nil && rate != "" {
			err = command(r.ctx, "tc", "-n", end[0], "qdisc", "add", "dev", nic, "root", "tbf",
				"rate", rate, "burst", "256k", "limit", "3m")
		}
		if err == nil {
			err = command(r.ctx, "ip", "-n", end[0], "link", "set", nic, "up")
		}
	}
	return err
}

// daemon is a running child.
type daemon struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it ended
}

// start runs a program in a network namespace until stop, or until the room is unmade.
func (r *room) start(ns, name string, argv ...string) (*daemon, error) {
	d := &daemon{name: name, log: filepath.Join(r.dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", name, err)
	}
	defer func() { _ = log.Close() }()
	d.cmd = exec.Command("nsenter", append([]string{"--net=/run/netns/" + ns}, argv...)...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	ownGroup(d.cmd)
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() { _ = d.cmd.Wait(); close(d.done) }()
	r.later(d.stop)
	return d, nil
}

// stop ends a daemon in order; one that has ended is no error.
func (d *daemon) stop() error {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.done:
		return nil
	case <-time.After(stopWait):
	}
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
	<-d.done
	return fmt.Errorf("%s did not end within %s of SIGTERM and was killed; its last words:\n%s", d.name, stopWait, d.lastWords())
}

func (d *daemon) lastWords() string {
	const most = 1500
	text, _ := os.ReadFile(d.log)
	return string(text[max(0, len(text)-most):])
}

// await polls until ready says so, a watched daemon ends, or limit is over.
func (r *room) await(what string, limit, every time.Duration, watched []*daemon, ready func() (bool, error)) error {
	over := time.After(limit)
	var last error
	for {
		ok, err := ready()
		if ok {
			return nil
		}
		if err != nil {
			last = err
		}
		for _, d := range watched {
			select {
			case <-d.done:
				return fmt.Errorf("wait for %s: %s ended; its last words:\n%s", what, d.name, d.lastWords())
			default:
			}
		}
		select {
		case <-r.ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, r.ctx.Err())
		case <-over:
			return fmt.Errorf("wait for %s: not within %s: %w", what, limit, last)
		case <-time.After(every):
		}
	}
}
