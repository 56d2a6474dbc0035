// Package ownthread runs a function on an operating system thread that is used
// for nothing else and ends with it, so that the function may change what a
// thread owns: its network or mount namespace. It is not a scheduler.
package ownthread

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Do runs do on a thread of its own, waits for it and returns its error.
func Do(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		// The process's first thread cannot end: changed, it would mislead everything
		// that looks at the process from outside. Held here, it is not chosen again.
		if unix.Gettid() == unix.Getpid() {
			done <- Do(do)
			runtime.UnlockOSThread()
			return
		}
		// Never unlocked: the runtime ends the thread with its goroutine.
		done <- do()
	}()
	return <-done
}
