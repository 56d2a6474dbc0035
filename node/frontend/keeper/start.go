package keeper

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// startWait bounds the start of the process.
const startWait = 5 * time.Second

// Ensure starts the program as the keeper of a frontend's private directory,
// unless one answers there, and waits until it does. The keeper is in a session of
// its own and outlives its parent. Ensure must be called before the process serves
// anything: it forks.
func Ensure(program string, args []string, dir string) (*Client, error) {
	if c, err := Dial(dir); err == nil {
		return c, nil
	}
	cmd := exec.Command(program, args...) //nolint:gosec,noctx // this very program; it is to outlive us
	cmd.Dir, cmd.Env = "/", []string{"GOMAXPROCS=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the keeper: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // for the kernel's sake: it ends long after, or with us
	for end := time.Now().Add(startWait); ; {
		c, err := Dial(dir)
		if err == nil {
			return c, nil
		}
		select {
		case failed := <-ended:
			return nil, fmt.Errorf("the keeper ended at once: %w", errors.Join(failed, err))
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(end) {
			_ = cmd.Process.Kill()
			return nil, fmt.Errorf("the keeper has not answered for %v: %w", startWait, err)
		}
	}
}
