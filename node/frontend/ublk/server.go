package ublk

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gemel/node/block"
)

// server answers the requests of one device of the kernel.
type server struct {
	dev  block.Device
	size atomic.Int64 // bytes
	info deviceInfo
	node int // the device's control node, /dev/ublkcN

	arena   []byte // buffers, one per tag; pages are used up as requests come
	signals [][8]byte
	queues  []queue
	inside  sync.WaitGroup // workers
	cut     atomic.Bool    // every request is answered with an error at once
	last    atomic.Pointer[error]
	served  chan struct{} // closed when no worker is left
}

// nodeWait bounds the wait for the device's nodes to appear.
const nodeWait = 5 * time.Second

// serve opens the device's control node and starts its queues.
func serve(i deviceInfo, dev block.Device) (*server, error) {
	s := &server{dev: dev, info: i, node: -1, served: make(chan struct{})}
	s.size.Store(dev.SizeBytes())
	err := s.open()
	if err == nil {
		s.queues = make([]queue, i.queues)
		for n := range s.queues {
			q := &s.queues[n]
			q.s, q.id, q.signal = s, uint16(n), -1 //nolint:gosec // below 65536
			if err = q.start(); err != nil {
				s.queues = s.queues[:n+1]
				break
			}
		}
	}
	if err != nil {
		s.end()
		return nil, fmt.Errorf("serve %s: %w", controlNode(i.id), err)
	}
	return s, nil
}

func controlNode(id uint32) string { return fmt.Sprintf("/dev/ublkc%d", id) }
func blockNode(id uint32) string   { return fmt.Sprintf("/dev/ublkb%d", id) }

func (s *server) open() (err error) {
	for end := time.Now().Add(nodeWait); ; time.Sleep(10 * time.Millisecond) {
		s.node, err = unix.Open(controlNode(s.info.id), unix.O_RDWR|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.ENOENT) || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		s.node = -1
		return fmt.Errorf("open it: %w", err)
	}
	buffers := int(s.info.queues) * int(s.info.depth) * int(s.info.maxIO)
	signals := int(s.info.queues) * len([8]byte{})
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANON | unix.MAP_NORESERVE
	if s.arena, err = unix.Mmap(-1, 0, buffers+signals, prot, flags); err != nil {
		return fmt.Errorf("memory for %d bytes of requests: %w", buffers, err)
	}
	s.signals = unsafe.Slice((*[8]byte)(unsafe.Pointer(&s.arena[buffers])), s.info.queues)
	return nil
}

// slot is the buffer of a tag.
func (s *server) slot(queue uint16, tag int) []byte {
	size := int(s.info.maxIO)
	at := (int(queue)*int(s.info.depth) + tag) * size
	return s.arena[at : at+size : at+size]
}

// cutOff makes every request end with an error at once, those inside the
// block.Device too.
func (s *server) cutOff() {
	s.cut.Store(true)
	for i := range s.queues {
		s.queues[i].wakeUp()
	}
}

// end lets the queues go, once the kernel sends nothing any more, and waits for
// their threads. Workers may still be inside the block.Device: what they use
// stays until they are done. The control node is closed at once, though, for
// the kernel waits for that: the descriptor leads nowhere from then on.
func (s *server) end() {
	for i := range s.queues {
		s.queues[i].end()
	}
	for i := range s.queues {
		<-s.queues[i].done
	}
	if s.node >= 0 {
		leadNowhere(s.node)
	}
	go func() {
		s.inside.Wait()
		for i := range s.queues {
			s.queues[i].release()
		}
		if s.arena != nil {
			_ = unix.Munmap(s.arena) // it was mapped
		}
		if s.node >= 0 {
			unix.Close(s.node)
		}
		close(s.served)
	}()
}

// leadNowhere closes what fd leads to and keeps its number in use.
func leadNowhere(fd int) {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return // it is closed when the workers are done
	}
	_ = unix.Dup3(null, fd, unix.O_CLOEXEC) // as above
	unix.Close(null)
}

// note keeps the newest error, for whoever asks.
func (s *server) note(err error) {
	if err != nil {
		s.last.Store(&err)
	}
}
