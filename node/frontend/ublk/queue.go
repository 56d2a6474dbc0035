package ublk

import (
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// queue is one of the device's queues. The kernel talks to one thread only: it
// fetches requests and commits results, and never waits for a request itself.
// The workers, one per request that the kernel may have under way, do the work.
type queue struct {
	s       *server
	id      uint16
	ring    *ring
	shared  []byte // the kernel's descriptors
	descs   []descriptor
	workers []worker
	signal  int      // eventfd that wakes the thread
	signals *[8]byte // where a read of it goes; not in Go's memory
	done    chan struct{}

	// Of the thread.
	where []place // of each tag
	ended int     // tags that the kernel does not use any more
	taken []uint16

	mu       sync.Mutex
	finished []uint16 // by the workers, to be committed
	awake    bool     // the thread looks at finished before it sleeps again
	quit     bool     // the device is gone
}

// place says who has a tag.
type place uint8

const (
	atKernel  place = iota
	atWorker        // with its request
	abandoned       // the request was answered; the worker does not know yet
)

const wakeData = ^uint64(0)

// start makes the queue's memory and threads; the device can be started once
// every queue has.
func (q *queue) start() error {
	depth := int(q.s.info.depth)
	q.done = make(chan struct{})
	q.where, q.taken, q.finished = make([]place, depth), make([]uint16, 0, depth), make([]uint16, 0, depth)
	if err := q.prepare(depth); err != nil {
		q.release()
		close(q.done)
		return fmt.Errorf("queue %d: %w", q.id, err)
	}
	q.workers = make([]worker, depth)
	for tag := range q.workers {
		w := &q.workers[tag]
		*w = worker{q: q, tag: uint16(tag), wake: make(chan struct{}, 1), buf: q.s.slot(q.id, tag)} //nolint:gosec // below 4096
		q.s.inside.Add(1)
		go w.run()
	}
	ready := make(chan error, 1)
	go q.run(ready)
	return <-ready
}

func (q *queue) prepare(depth int) (err error) {
	q.signal = -1
	if q.signal, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("make an eventfd: %w", err)
	}
	page := unix.Getpagesize()
	size := (depth*int(unsafe.Sizeof(descriptor{})) + page - 1) / page * page
	at := int64(q.id) * int64(maxDepth*unsafe.Sizeof(descriptor{}))
	q.shared, err = unix.Mmap(q.s.node, at, size, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("map the requests: %w", err)
	}
	q.descs = unsafe.Slice((*descriptor)(unsafe.Pointer(&q.shared[0])), depth)
	return nil
}

func (q *queue) release() {
	if q.shared != nil {
		_ = unix.Munmap(q.shared) // it was mapped
		q.shared = nil
	}
	if q.signal >= 0 {
		unix.Close(q.signal)
		q.signal = -1
	}
}

// run is the queue's thread. It is never unlocked: the kernel knows the thread,
// and it ends with the queue.
func (q *queue) run(ready chan<- error) {
	runtime.LockOSThread()
	defer close(q.done)
	defer q.stopWorkers()
	var err error
	if q.ring, err = newRing(len(q.where)+1, setupCoopTaskrun|setupSingleIssuer); err != nil {
		ready <- err
		return
	}
	defer q.ring.close()
	q.signals = &q.s.signals[q.id]
	q.listen()
	for tag := range q.where {
		q.put(opFetch, uint16(tag), 0) //nolint:gosec // below 4096
	}
	err = q.ring.enter(0)
	ready <- err
	if err == nil {
		q.s.note(q.serve())
	}
}

// serve goes on until the kernel has ended every tag, or the device is gone.
func (q *queue) serve() error {
	for q.ended < len(q.where) {
		if quit := q.commit(); quit {
			return nil
		}
		if err := q.ring.enter(1); err != nil {
			return fmt.Errorf("queue %d: %w", q.id, err)
		}
		q.mu.Lock()
		q.awake = true
		q.mu.Unlock()
		q.reap()
	}
	return nil
}

// commit prepares the answers of what the workers finished, and of everything
// once the device is cut off. From then on workers wake the thread.
func (q *queue) commit() (quit bool) {
	q.mu.Lock()
	q.taken, q.finished = q.finished, q.taken[:0]
	q.awake, quit = false, q.quit
	q.mu.Unlock()
	for _, tag := range q.taken {
		if q.where[tag] == atWorker {
			q.put(opCommitAndFetch, tag, q.workers[tag].result)
		}
		q.where[tag] = atKernel
	}
	if q.s.cut.Load() {
		q.abandon()
	}
	return quit
}

// abandon answers every request that is with a worker.
func (q *queue) abandon() {
	for tag, at := range q.where {
		if at == atWorker {
			q.where[tag] = abandoned
			q.put(opCommitAndFetch, uint16(tag), failed) //nolint:gosec // below 4096
		}
	}
}

// reap takes what the kernel sent.
func (q *queue) reap() {
	for {
		c, ok := q.ring.completed()
		switch {
		case !ok:
			return
		case c.userData == wakeData:
			q.listen()
		case c.result != 0: // the kernel wants this tag no more
			q.ended++
		case q.s.cut.Load():
			q.put(opCommitAndFetch, uint16(c.userData), failed) //nolint:gosec // a tag
		default:
			q.where[c.userData] = atWorker
			q.workers[c.userData].wake <- struct{}{} // never blocks: the worker had no request
		}
	}
}

// put prepares a command for a tag.
func (q *queue) put(op uint32, tag uint16, result int32) {
	s := q.ring.next()
	s.opcode, s.fd, s.op, s.userData = opURingCmd, int32(q.s.node), op, uint64(tag) //nolint:gosec // a descriptor
	*(*ioCommand)(unsafe.Pointer(&s.command)) = ioCommand{queue: q.id, tag: tag, result: result}
}

// listen waits for the next signal beside the requests.
func (q *queue) listen() {
	s := q.ring.next()
	s.opcode, s.fd, s.userData = opRead, int32(q.signal), wakeData //nolint:gosec // a descriptor
	s.addr, s.length = uint64(uintptr(unsafe.Pointer(q.signals))), 8
}

// finish hands a request that a worker has done to the thread.
func (q *queue) finish(tag uint16) {
	q.mu.Lock()
	q.finished = append(q.finished, tag)
	wake := !q.awake
	q.awake = true
	q.mu.Unlock()
	if wake {
		q.wakeUp()
	}
}

var one = [8]byte{1}

// wakeUp makes the thread look at what there is to do.
func (q *queue) wakeUp() {
	_, _ = unix.Write(q.signal, one[:]) // cannot fail before the counter is full
}

// end makes the thread return, when the kernel has let the device go.
func (q *queue) end() {
	q.mu.Lock()
	q.quit = true
	q.mu.Unlock()
	q.wakeUp()
}

func (q *queue) stopWorkers() {
	for i := range q.workers {
		close(q.workers[i].wake)
	}
}
