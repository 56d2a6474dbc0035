package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"gemel/node/block"
)

// aioSlots is how many begun reads a disk has under way; more go the usual way.
const aioSlots = 128

// aio is the kernel's asynchronous I/O (io_submit), for reads past the page
// cache: a batch goes to the disk with one system call, and with one interrupt
// of a virtual machine where the disk is the host's. It is used and not
// io_uring because containers forbid that one, and because a completion need
// not run in the thread that submitted.
type aio struct {
	d       *Disk
	context uintptr
	event   *os.File // eventfd, told of completions
	ended   chan struct{}

	mu    sync.Mutex
	idle  sync.Cond
	slots [aioSlots]aioSlot
	free  []uint8 // slots
}

// aioSlot is one read under way. The kernel knows it by its control block, which
// therefore stays where it is.
type aioSlot struct {
	cb   iocb
	read block.Read
}

// iocb and ioEvent are the kernel's structures; what is not named stays zero, or
// is of no use here.
type iocb struct {
	data     uint64
	_        [2]uint32 // key and flags, whose order depends on the byte order
	opcode   uint16
	_        int16 // priority
	fd       uint32
	buf      uint64
	length   uint64
	offset   int64
	_        uint64
	flags    uint32
	resultFD uint32
}

type ioEvent struct {
	data uint64
	_    uint64 // address of the iocb
	res  int64
	_    int64
}

const (
	iocbRead     = 0 // IOCB_CMD_PREAD
	iocbToResult = 1 // IOCB_FLAG_RESFD
)

// newAIO returns nil where the kernel does not offer it, or has none left.
func newAIO(d *Disk) *aio {
	a := &aio{d: d, ended: make(chan struct{})}
	a.idle.L = &a.mu
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, aioSlots, uintptr(unsafe.Pointer(&a.context)), 0); errno != 0 {
		return nil
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		a.destroy()
		return nil
	}
	a.event = os.NewFile(uintptr(fd), "completions of "+d.path)
	for i := range a.slots {
		a.slots[i].cb = iocb{data: uint64(i), opcode: iocbRead, fd: uint32(d.fd), flags: iocbToResult, resultFD: uint32(fd)} //nolint:gosec // descriptors are small
		a.free = append(a.free, uint8(i))                                                                                    //nolint:gosec // below aioSlots
	}
	go a.reap()
	return a
}

func (a *aio) destroy() { _, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, a.context, 0, 0) }

// close waits until nothing is under way.
func (a *aio) close() {
	a.mu.Lock()
	for len(a.free) < aioSlots {
		a.idle.Wait()
	}
	a.mu.Unlock()
	_ = a.event.Close()
	<-a.ended
	a.destroy()
}

// StartReads begins reads, as many as it can at once; see block.ReadStarter. It
// begins none where I/O goes through the page cache, which would make it wait.
func (d *Disk) StartReads(reads []block.Read) int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed || !d.direct {
		return 0
	}
	d.aioOnce.Do(func() { d.aio = newAIO(d) })
	if d.aio == nil {
		return 0
	}
	for i := range reads {
		if p := reads[i].P; len(p) == 0 || !aligned(p, d.align) || CheckRange(int64(len(p)), reads[i].Off, d.Size()) != nil {
			return d.aio.start(reads[:i]) // ReadAt says why, or copies
		}
	}
	return d.aio.start(reads)
}

// start submits reads; what the kernel does not take is not begun.
func (a *aio) start(reads []block.Read) int {
	var blocks [aioSlots]*iocb
	a.mu.Lock()
	n := min(len(reads), len(a.free))
	for i, r := range reads[:n] {
		s := a.takeSlot()
		s.read = r
		s.cb.buf, s.cb.length, s.cb.offset = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(r.P)))), uint64(len(r.P)), r.Off
		blocks[i] = &s.cb
	}
	a.mu.Unlock()
	begun := 0
	for begun < n {
		took, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, a.context, uintptr(n-begun), uintptr(unsafe.Pointer(&blocks[begun])))
		if errno != 0 && !errors.Is(errno, unix.EINTR) || errno == 0 && took == 0 {
			break
		}
		if errno == 0 {
			begun += int(took)
		}
	}
	if begun < n {
		a.mu.Lock()
		for _, cb := range blocks[begun:n] {
			a.giveSlot(int(cb.data)) //nolint:gosec // below aioSlots
		}
		a.mu.Unlock()
	}
	return begun
}

// takeSlot returns a free slot; there is one, and a.mu is held.
func (a *aio) takeSlot() *aioSlot {
	last := len(a.free) - 1
	s := &a.slots[a.free[last]]
	a.free = a.free[:last]
	return s
}

// giveSlot takes a slot back; a.mu is held.
func (a *aio) giveSlot(i int) {
	a.slots[i].read = block.Read{}
	a.free = append(a.free, uint8(i)) //nolint:gosec // below aioSlots
	if len(a.free) == aioSlots {
		a.idle.Broadcast()
	}
}

// reap tells of completions until close.
func (a *aio) reap() {
	defer close(a.ended)
	var count [8]byte
	for {
		if _, err := a.event.Read(count[:]); err != nil {
			return
		}
		for a.harvest() {
		}
	}
}

// harvest takes what has completed; true: there may be more.
func (a *aio) harvest() bool {
	var events [32]ioEvent
	var none unix.Timespec
	n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, a.context, 0, uintptr(len(events)),
		uintptr(unsafe.Pointer(&events)), uintptr(unsafe.Pointer(&none)), 0)
	if errno != 0 {
		return errors.Is(errno, unix.EINTR)
	}
	for _, e := range events[:n] {
		a.complete(int(e.data), e.res) //nolint:gosec // below aioSlots
	}
	return int(n) == len(events)
}

// complete tells of one read that ended with res, as the system call returns it.
func (a *aio) complete(i int, res int64) {
	a.mu.Lock()
	r := a.slots[i].read
	short := res > 0 && res < int64(len(r.P))
	if !short {
		a.giveSlot(i)
	}
	a.mu.Unlock()
	switch {
	case short:
		go a.finish(i, r, int(res))
	case res < 0:
		a.d.readDone(r, unix.Errno(-res))
	case res == 0:
		a.d.readDone(r, io.ErrUnexpectedEOF)
	default:
		r.Done.ReadDone(nil)
	}
}

// finish reads what a short read left, where waiting holds nobody up.
func (a *aio) finish(i int, r block.Read, have int) {
	err := a.d.whole(reading, r.P[have:], r.Off+int64(have))
	a.d.readDone(r, err)
	a.mu.Lock()
	a.giveSlot(i)
	a.mu.Unlock()
}

func (d *Disk) readDone(r block.Read, err error) {
	if err != nil {
		err = fmt.Errorf("%s %s at %d+%d: %w", reading, d.path, r.Off, len(r.P), err)
	}
	r.Done.ReadDone(err)
}
