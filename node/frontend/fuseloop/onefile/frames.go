package onefile

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

const pageBytes = 4096

// frame is memory for one request or answer: its data begin on a page, and what
// comes before them in a message lies at the end of the page before, so that data
// are never moved to be aligned.
type frame struct {
	mem   []byte
	write write // that it holds
}

func (f *frame) data() []byte { return f.mem[pageBytes:] }

// incoming is where a request is read to: a WRITE's data fall on data().
func (f *frame) incoming() []byte { return f.mem[pageBytes-requestHead-writeHead:] }

// answer returns the message with n bytes of data() behind its head.
func (f *frame) answer(unique uint64, n int) []byte {
	p := f.mem[pageBytes-answerHead : pageBytes+n]
	order.PutUint32(p, uint32(len(p))) //nolint:gosec // at most 1 MiB and a little
	order.PutUint32(p[4:], 0)
	order.PutUint64(p[8:], unique)
	return p
}

// frames is a pool of frames of one size. They lie outside Go's heap, every page
// is there before the kernel copies into it, and nothing gives pages back behind
// our back: see the package's promise.
type frames struct {
	bytes int // of data, a multiple of a page
	most  int // frames at a time

	mu   sync.Mutex
	room sync.Cond
	free []*frame
	all  int // frames that exist
	peak int // most in use at a time since the last trim
}

func newFrames(bytes, most int) *frames {
	p := &frames{bytes: bytes, most: most}
	p.room.L = &p.mu
	return p
}

// take returns a frame; it waits while all are in use. It fails when the box has
// no memory and no frame is in use for which to wait.
func (p *frames) take() (*frame, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.free) == 0 {
		if p.all < p.most {
			err := p.grow()
			if err == nil {
				break
			}
			if p.all == 0 {
				return nil, err
			}
		}
		p.room.Wait()
	}
	f := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	p.peak = max(p.peak, p.all-len(p.free))
	return f, nil
}

// grow adds a frame; p.mu is held.
func (p *frames) grow() error {
	mem, err := unix.Mmap(-1, 0, pageBytes+p.bytes, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("get %d bytes for a request: %w", pageBytes+p.bytes, err)
	}
	for i := 0; i < len(mem); i += pageBytes {
		mem[i] = 0 // populating is a wish only
	}
	p.free = append(p.free, &frame{mem: mem})
	p.all++
	return nil
}

func (p *frames) put(f *frame) {
	p.mu.Lock()
	p.free = append(p.free, f)
	p.mu.Unlock()
	p.room.Signal()
}

// trim gives back to the system what was not needed since the last trim.
func (p *frames) trim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.free) > 0 && p.all > max(p.peak, 1) {
		p.drop()
	}
	p.peak = p.all - len(p.free)
}

// drop unmaps a free frame; p.mu is held.
func (p *frames) drop() {
	f := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	p.all--
	_ = unix.Munmap(f.mem) // our own mapping, whole
}

// close gives everything back that is not in use.
func (p *frames) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.free) > 0 {
		p.drop()
	}
}
