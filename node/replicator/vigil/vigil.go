// Package vigil keeps the watchman of Go's scheduler calm while requests come one
// by one. The watchman (sysmon) sleeps deeply only while nothing runs at all; the
// first system call after that wakes it, and then it looks every 20 µs whether
// somebody stays in the kernel for too long, which it unlearns only after
// milliseconds without an idle moment. A volume whose requests come one by one is
// idle between any two of them: the watchman's naps and wake-ups were a third of the
// processor time of a replicated write.
//
// So as long as there are requests, a goroutine sleeps in the kernel, five
// milliseconds at a time, in a slot of the scheduler that is there for it: to the
// watchman something always runs, and nobody has to be looked after. It costs 200
// wake-ups a second, and none when there are no requests.
//
// It is NOT needed for anything to be right. A scheduler that worked otherwise would
// make it useless, not wrong.
package vigil

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// nap is how long the goroutine sleeps at a time. Whoever is found twice in the same
// sleep by the watchman, which looks every 10 ms at the least, loses the slot.
const nap = 5 * time.Millisecond

// Vigil is kept for a program. A nil one is told of requests and does nothing.
type Vigil struct {
	seen, awake atomic.Bool
	call, leave chan struct{}
	ended       chan struct{}
	sleep       func()
}

// slot is made once: a program needs no more than one vigil.
var slot sync.Once

// New starts a vigil, in one more slot of the scheduler (GOMAXPROCS) than the program
// had. Close ends it, the slot stays.
func New() *Vigil {
	slot.Do(func() { runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1) })
	return start(sleep)
}

func start(sleep func()) *Vigil {
	v := &Vigil{call: make(chan struct{}, 1), leave: make(chan struct{}), ended: make(chan struct{}), sleep: sleep}
	go v.keep()
	return v
}

// Request says that there is a request. It neither blocks nor allocates, and mostly
// costs two loads.
func (v *Vigil) Request() {
	if v == nil {
		return
	}
	if !v.seen.Load() {
		v.seen.Store(true)
	}
	if v.awake.Load() || v.awake.Swap(true) {
		return
	}
	select {
	case v.call <- struct{}{}:
	default:
	}
}

// Close ends the vigil and waits for its goroutine.
func (v *Vigil) Close() {
	close(v.leave)
	<-v.ended
}

func (v *Vigil) keep() {
	defer close(v.ended)
	for {
		select {
		case <-v.leave:
			return
		case <-v.call:
		}
		for v.seen.Swap(false) {
			v.sleep()
		}
		v.awake.Store(false) // a request just before that is missed, the next one is not
	}
}

// sleep keeps the slot: the runtime's own sleep would give it back at once.
func sleep() {
	ts := unix.NsecToTimespec(int64(nap))
	_ = unix.Nanosleep(&ts, nil)
	runtime.Gosched() // as any goroutine does sooner or later, or the slot is taken away
}
