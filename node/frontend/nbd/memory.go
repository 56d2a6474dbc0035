package nbd

import (
	"math/bits"
	"sync"
	"unsafe"

	"gemel/node/block"
)

// budget is the most payload in bytes that one export holds at a time.
const budget = 2 * MaxPayload

// memory lends aligned buffers to the requests of one export, and bounds them
// together: who wants more waits until others gave back.
type memory struct {
	mu    sync.Mutex
	room  sync.Cond
	left  int
	pools [9]sync.Pool // of 4 KiB << i, up to piece
}

func newMemory() *memory {
	m := &memory{left: budget}
	m.room.L = &m.mu
	return m
}

// get lends n bytes, 1 to MaxPayload; their content is undefined.
func (m *memory) get(n int) []byte {
	m.mu.Lock()
	for m.left < n {
		m.room.Wait()
	}
	m.left -= n
	m.mu.Unlock()
	if n > piece {
		return alignedBytes(n)
	}
	i := classOf(n)
	if p, ok := m.pools[i].Get().(*byte); ok {
		return unsafe.Slice(p, block.Size<<i)[:n]
	}
	return alignedBytes(block.Size << i)[:n]
}

// put takes back what get lent.
func (m *memory) put(b []byte) {
	if cap(b) <= piece {
		m.pools[classOf(cap(b))].Put(unsafe.SliceData(b))
	}
	m.mu.Lock()
	m.left += len(b)
	m.room.Broadcast()
	m.mu.Unlock()
}

// classOf returns the pool whose buffers hold n bytes, 1 ≤ n ≤ piece.
func classOf(n int) int { return max(bits.Len(uint(n-1))-12, 0) } //nolint:gosec // positive

// alignedBytes makes a buffer that direct I/O can use as it is.
func alignedBytes(n int) []byte {
	raw := make([]byte, n+block.Size)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(raw)))) & (block.Size - 1) //nolint:gosec // an address
	return raw[skip : skip+n : skip+n]
}
