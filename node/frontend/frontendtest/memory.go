package frontendtest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"gemel/node/block"
)

// ErrInjected is what a Memory answers with while it fails.
var ErrInjected = errors.New("injected error")

// Memory is a block.Device in memory that counts, checks, fails and blocks on
// request.
type Memory struct {
	Reads, Writes, Flushes atomic.Int64
	Discards, Zeroes       atomic.Int64
	Failing                atomic.Bool  // every request fails with ErrInjected
	Misaligned             atomic.Int64 // requests that broke block.Device's promise

	mu   sync.RWMutex
	data []byte

	gate    sync.Mutex
	open    chan struct{} // closed: requests pass
	Blocked atomic.Int64  // requests waiting at the gate
}

// NewMemory returns a device of size bytes, all zero.
func NewMemory(size int64) *Memory {
	open := make(chan struct{})
	close(open)
	return &Memory{data: make([]byte, size), open: open}
}

// Block makes every request wait until Unblock.
func (m *Memory) Block() {
	m.gate.Lock()
	defer m.gate.Unlock()
	m.open = make(chan struct{})
}

// Unblock lets the waiting requests go on.
func (m *Memory) Unblock() {
	m.gate.Lock()
	defer m.gate.Unlock()
	close(m.open)
}

func (m *Memory) pass() error {
	m.gate.Lock()
	open := m.open
	m.gate.Unlock()
	m.Blocked.Add(1)
	<-open
	m.Blocked.Add(-1)
	if m.Failing.Load() {
		return ErrInjected
	}
	return nil
}

func (m *Memory) check(p []byte, off int64) error {
	return m.inside(block.Range{Off: off, Len: int64(len(p))})
}

func (m *Memory) inside(r block.Range) error {
	if !r.Aligned() || r.Empty() || r.Off < 0 || r.End() > m.SizeBytes() {
		m.Misaligned.Add(1)
		return fmt.Errorf("range %+v is not aligned or not inside", r)
	}
	return m.pass()
}

// SizeBytes returns the size given to NewMemory, or to Enlarge.
func (m *Memory) SizeBytes() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return int64(len(m.data))
}

// Enlarge gives the device size bytes, more than before; the new ones are zero.
func (m *Memory) Enlarge(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.data = append(m.data, make([]byte, size-int64(len(m.data)))...)
}

// ReadAt copies out.
func (m *Memory) ReadAt(p []byte, off int64) error {
	m.Reads.Add(1)
	if err := m.check(p, off); err != nil {
		return err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	copy(p, m.data[off:])
	return nil
}

// WriteAt copies in.
func (m *Memory) WriteAt(p []byte, off int64, _ bool) error {
	m.Writes.Add(1)
	if err := m.check(p, off); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(m.data[off:], p)
	return nil
}

// Flush counts.
func (m *Memory) Flush() error {
	m.Flushes.Add(1)
	return m.pass()
}
