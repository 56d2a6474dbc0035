package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gemel/lab/loopdev"
)

// Verb is how a binary that contains this package is told to serve a directory:
// BINARY drive serve --dir DIR. Servers are found by it.
var Verb = []string{"drive", "serve", "--dir"}

const (
	startLimit = 20 * time.Second // for a server to answer
	stopLimit  = 10 * time.Second // for one to end by itself
	look       = 10 * time.Millisecond
)

// Start runs a drive in a process and a session of its own, which outlives this one.
// A drive that runs already is left alone. binary is one that knows Verb.
func Start(ctx context.Context, dir, binary string, config Config) (Status, error) {
	if status, err := NewClient(dir).Status(ctx); err == nil {
		return status, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Status{}, fmt.Errorf("start drive %s: %w", config.Name, err)
	}
	if err := saveConfig(dir, config); err != nil {
		return Status{}, err
	}
	log, err := os.OpenFile(filepath.Join(dir, logFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return Status{}, fmt.Errorf("start drive %s: %w", config.Name, err)
	}
	defer log.Close()
	command := exec.Command(binary, append(slices.Clone(Verb), dir)...) //nolint:gosec // this very program
	command.Dir, command.Stdout, command.Stderr = "/", log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return Status{}, fmt.Errorf("start drive %s: %w", config.Name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	return awaitStart(ctx, dir, config.Name, ended)
}

func awaitStart(ctx context.Context, dir, name string, ended <-chan error) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		status, err := NewClient(dir).Status(ctx)
		if err == nil {
			return status, nil
		}
		select {
		case err := <-ended:
			return Status{}, fmt.Errorf("start drive %s: it ended: %w; its log: %s", name, err, lastLine(dir))
		case <-ctx.Done():
			return Status{}, fmt.Errorf("start drive %s: it does not answer: %w; next: look at %s",
				name, err, filepath.Join(dir, logFile))
		case <-time.After(look):
		}
	}
}

func lastLine(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, logFile))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// Process is a running server.
type Process struct {
	PID int    `json:"pid"`
	Dir string `json:"dir"`
}

// Processes returns the servers of drives whose directory is prefix, which ends in a
// slash, or below it.
func Processes(prefix string) ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("find drives: %w", err)
	}
	var found []Process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if dir, ok := served(pid); ok && strings.HasPrefix(dir+"/", prefix) {
			found = append(found, Process{PID: pid, Dir: dir})
		}
	}
	return found, nil
}

// served returns the directory a process serves.
func served(pid int) (string, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "", false
	}
	arguments := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	if len(arguments) != 2+len(Verb) || !slices.Equal(arguments[1:1+len(Verb)], Verb) {
		return "", false
	}
	return arguments[1+len(Verb)], true
}

// Stop ends a server: by asking, and by force if it does not end by itself.
func (p Process) Stop(ctx context.Context) error {
	handle, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop the drive in %s: %w", p.Dir, err)
	}
	defer unix.Close(handle)
	// Between the look and the handle the number may have become somebody else's.
	if dir, ok := served(p.PID); !ok || dir != p.Dir {
		return nil
	}
	asked, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	if _, err := NewClient(p.Dir).Stop(asked); err == nil && awaitEnd(asked, handle) == nil {
		return nil
	}
	if err := unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop the drive in %s: %w", p.Dir, err)
	}
	killed, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	return awaitEnd(killed, handle)
}

// awaitEnd waits until the process of a handle is gone.
func awaitEnd(ctx context.Context, handle int) error {
	for {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}, int(look/time.Millisecond))
		if ready > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for the end of a drive: %w", err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for the end of a drive: %w", ctx.Err())
		}
	}
}

// StopAll ends the servers below prefix and takes away the loop devices of those in
// names, which is what a killed server leaves.
func StopAll(ctx context.Context, prefix string, ours func(name string) bool) (stopped []Process, detached []string, err error) {
	processes, err := Processes(prefix)
	errs := []error{err}
	for _, p := range processes {
		errs = append(errs, p.Stop(ctx))
	}
	devices, err := Devices(ours)
	errs = append(errs, err)
	for _, device := range devices {
		errs = append(errs, loopdev.Detach(device.Path))
		detached = append(detached, device.Path)
	}
	return processes, detached, errors.Join(errs...)
}

// Devices returns the loop devices of the drives whose names are ours, served or not.
func Devices(ours func(name string) bool) ([]loopdev.Device, error) {
	all, err := loopdev.List()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(d loopdev.Device) bool {
		name, found := strings.CutPrefix(d.Label, Owner+":")
		return !found || !ours(name)
	}), nil
}
