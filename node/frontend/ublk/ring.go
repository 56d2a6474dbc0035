package ublk

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's interface, from its include/uapi/linux/io_uring.h.
const (
	setupCoopTaskrun  = 1 << 8
	setupSQE128       = 1 << 10
	setupSingleIssuer = 1 << 12

	offSQRing = 0
	offSQEs   = 0x10000000

	enterGetEvents = 1 << 0
	enterExtArg    = 1 << 3

	opRead     = 22
	opURingCmd = 46
)

type ringParams struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	_                                                                      [3]uint32
	sq                                                                     struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		_                                                   uint64
	}
}

// submission is a 128-byte entry, the size that ublk's commands need.
type submission struct {
	opcode    uint8
	flags     uint8
	ioprio    uint16
	fd        int32
	op        uint32 // of a command; the low half of an offset
	offHigh   uint32
	addr      uint64
	length    uint32
	rwFlags   uint32
	userData  uint64
	bufIndex  uint16
	_         uint16
	fileIndex uint32
	command   [80]byte
}

type completion struct {
	userData uint64
	result   int32
	flags    uint32
}

// ring is one io_uring with 128-byte entries. It belongs to one thread.
type ring struct {
	fd      int
	memory  []byte // both rings
	entries []submission
	sqTail  *uint32
	cqHead  *uint32
	cqTail  *uint32
	mask    uint32
	cqMask  uint32
	cqes    unsafe.Pointer
	tail    uint32 // of what is prepared
	taken   uint32 // by the kernel
}

// newRing makes a ring for at least entries submissions at once.
func newRing(entries int, flags uint32) (*ring, error) {
	p := ringParams{flags: flags | setupSQE128}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("set up io_uring: %w", errno)
	}
	r := &ring{fd: int(fd)}
	if err := r.mapMemory(&p); err != nil {
		r.close()
		return nil, fmt.Errorf("map io_uring: %w", err)
	}
	return r, nil
}

func (r *ring) mapMemory(p *ringParams) (err error) {
	size := max(p.sq.array+4*p.sqEntries, p.cq.cqes+p.cqEntries*uint32(unsafe.Sizeof(completion{})))
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	if r.memory, err = unix.Mmap(r.fd, offSQRing, int(size), prot, flags); err != nil {
		return err
	}
	raw, err := unix.Mmap(r.fd, offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(submission{})), prot, flags)
	if err != nil {
		return err
	}
	r.entries = unsafe.Slice((*submission)(unsafe.Pointer(&raw[0])), p.sqEntries)
	at := func(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.memory[off])) }
	r.sqTail, r.cqHead, r.cqTail = at(p.sq.tail), at(p.cq.head), at(p.cq.tail)
	r.mask, r.cqMask = *at(p.sq.mask), *at(p.cq.mask)
	r.cqes = unsafe.Pointer(&r.memory[p.cq.cqes])
	for i := range p.sqEntries {
		*at(p.sq.array + 4*i) = i // submissions are used in order
	}
	return nil
}

// next returns an empty submission. At most as many as the ring was made for
// may be prepared between two calls of enter.
func (r *ring) next() *submission {
	s := &r.entries[r.tail&r.mask]
	r.tail++
	*s = submission{}
	return s
}

// timeLimit is the kernel's argument of a wait that ends.
type timeLimit struct {
	sigmask     uint64
	sigmaskSize uint32
	_           uint32
	ts          uint64
}

// enter submits what is prepared and waits for at least wait completions. A
// signal ends the wait early, without an error.
func (r *ring) enter(wait uint32) error {
	return r.enterFor(wait, 0, nil, 0)
}

// enterFor is enter with a time limit, whose end is no error either.
func (r *ring) enterFor(wait, flags uint32, limit *timeLimit, size uintptr) error {
	atomic.StoreUint32(r.sqTail, r.tail)
	if wait > 0 {
		flags |= enterGetEvents
	}
	n, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(r.tail-r.taken), uintptr(wait),
		uintptr(flags), uintptr(unsafe.Pointer(limit)), size)
	switch errno {
	case 0:
		r.taken += uint32(n)
		return nil
	case unix.EINTR, unix.EAGAIN, unix.EBUSY, unix.ETIME:
		return nil
	}
	return fmt.Errorf("enter io_uring: %w", errno)
}

// waitFor submits what is prepared and waits about d for a completion.
func (r *ring) waitFor(ts *unix.Timespec) error {
	limit := timeLimit{ts: uint64(uintptr(unsafe.Pointer(ts)))}
	return r.enterFor(1, enterExtArg, &limit, unsafe.Sizeof(limit))
}

// completed takes the oldest completion; ok is false when there is none.
func (r *ring) completed() (c completion, ok bool) {
	head := *r.cqHead // only this thread moves it
	if head == atomic.LoadUint32(r.cqTail) {
		return c, false
	}
	c = *(*completion)(unsafe.Add(r.cqes, uintptr(head&r.cqMask)*unsafe.Sizeof(c)))
	atomic.StoreUint32(r.cqHead, head+1)
	return c, true
}

// close ends the ring; the kernel gives up what is under way in it.
func (r *ring) close() {
	if r.entries != nil {
		raw := unsafe.Slice((*byte)(unsafe.Pointer(&r.entries[0])), len(r.entries)*int(unsafe.Sizeof(submission{})))
		_ = unix.Munmap(raw) // it was mapped
	}
	if r.memory != nil {
		_ = unix.Munmap(r.memory) // it was mapped
	}
	r.entries, r.memory = nil, nil
	unix.Close(r.fd)
}

var errUnanswered = errors.New("the kernel has not answered")
