package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"gemel/lab/vm/plan"
)

var environment = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "HOME=/root", "LANG=C.UTF-8", "GEMEL_VM=1",
}

// endWait is how long a program that is to end may take.
const endWait = 10 * time.Second

// perform runs one program and waits for its end.
func perform(r plan.Run, output io.Writer) plan.Result {
	out := &counter{to: output}
	dir := filepath.Join(plan.Inside, r.Suite)
	cmd := exec.Command(filepath.Join(dir, r.Args[0]), r.Args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = dir, environment, out, out, endWait
	started := time.Now()
	code, problem := await(cmd, r.Limit)
	return plan.Result{Suite: r.Suite, Code: code, Problem: problem, Skipped: int(out.skipped.Load()), Took: time.Since(started)}
}

// await starts the program and returns its code, or -1 and why. A program that
// hangs in the kernel cannot be ended; it is left.
func await(cmd *exec.Cmd, limit time.Duration) (code int, problem string) {
	if err := cmd.Start(); err != nil {
		return -1, err.Error()
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-time.After(limit):
		return -1, fmt.Sprintf("not done after %v; %s", limit, stop(cmd, ended))
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, ""
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), ""
	}
	return -1, err.Error()
}

// stop ends a program, with as much said about it as can be had.
func stop(cmd *exec.Cmd, ended <-chan error) string {
	showHung()
	for _, s := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} { // a Go program shows its goroutines at QUIT
		_ = cmd.Process.Signal(s) // it may have ended meanwhile
		select {
		case <-ended:
			return "it was ended with " + s.String()
		case <-time.After(endWait):
		}
	}
	showHung()
	return "it hangs in the kernel, see the console"
}

// showHung makes the kernel print every task that waits in it.
func showHung() { _ = os.WriteFile("/proc/sysrq-trigger", []byte("w"), 0) }

// counter passes on what a test prints and counts the tests that say they were
// skipped. A mark that is cut in two by a write's end is not seen; tests print
// lines whole.
type counter struct {
	to      io.Writer
	skipped atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.skipped.Add(int64(bytes.Count(p, []byte("--- SKIP: "))))
	return c.to.Write(p)
}
