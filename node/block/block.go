// Package block is the vocabulary of the data plane: ranges of bytes, block
// numbers and the Device that a frontend shows to the kernel. It is not a
// driver: nothing here does I/O.
package block

// Size is the unit of the product in bytes: devices are exported with this
// logical block size, and one bit of the out-of-sync bitmap stands for it.
const Size = 4096

// Range is a run of bytes on a volume: [Off, Off+Len). Off and Len are
// multiples of Size wherever the data plane handles them.
type Range struct {
	Off int64 // bytes from the start of the volume
	Len int64 // bytes
}

// End returns the first byte behind the range.
func (r Range) End() int64 { return r.Off + r.Len }

// Empty reports whether the range holds no byte.
func (r Range) Empty() bool { return r.Len <= 0 }

// Overlaps reports whether r and o share at least one byte.
func (r Range) Overlaps(o Range) bool { return r.Off < o.End() && o.Off < r.End() }

// Aligned reports whether both ends lie on block boundaries.
func (r Range) Aligned() bool { return r.Off%Size == 0 && r.Len%Size == 0 }

// Device is what a frontend serves to the kernel. Methods may be called from
// many goroutines at once. off and len(p) are multiples of Size. An error ends
// the request with an I/O error at the caller; a method that blocks holds the
// request (frozen I/O), it never loses it.
type Device interface {
	// SizeBytes returns the size of the volume in bytes.
	SizeBytes() int64
	ReadAt(p []byte, off int64) error
	// WriteAt returns when the write is complete under the volume's protocol.
	// fua asks for this write to be stable before it returns. p may be reused
	// by the caller as soon as WriteAt returns.
	WriteAt(p []byte, off int64, fua bool) error
	// Flush returns when every write completed before the call is stable on
	// every node of the in-sync set.
	Flush() error
}

// Discarder is a Device whose blocks can be given back. What is read from a
// discarded block afterwards is the same on both nodes, and zeroes.
type Discarder interface {
	// Discard gives back n bytes at off, both multiples of Size, n at least
	// Size; it returns when that is complete under the volume's protocol.
	Discard(off, n int64) error
}

// Zeroer is a Device that can write zeroes without being sent them.
type Zeroer interface {
	// WriteZeroes makes n bytes at off zero, both multiples of Size, n at least
	// Size. With keep the blocks stay allocated; without, they may be given
	// back. It returns when that is complete under the volume's protocol.
	WriteZeroes(off, n int64, keep bool) error
}

// ReadStarter is a Device that can begin many reads at once, so that nobody has
// to wait inside it for each.
type ReadStarter interface {
	// StartReads begins the first n reads and returns n; the caller does the
	// others by ReadAt. A Device that cannot begin reads now returns 0. It keeps
	// nothing of the slice itself.
	StartReads(reads []Read) (n int)
}

// Read is one read that is begun: P, filled from Off. P is the Device's until
// Done was told.
type Read struct {
	P    []byte
	Off  int64
	Done ReadDone
}

// ReadDone is told once how a read ended, perhaps before StartReads returns and
// from any goroutine. It must not wait for other requests of the Device.
type ReadDone interface{ ReadDone(err error) }

// WriteStarter is a Device whose writes may end while nobody waits inside it.
type WriteStarter interface {
	// StartWrite begins to write p at off as WriteAt does, and reports whether it
	// did; otherwise the caller calls WriteAt. It may take as long as the Device's
	// own disk. p is the Device's until done was told.
	StartWrite(p []byte, off int64, fua bool, done WriteDone) bool
}

// WriteDone is told once how a write ended, perhaps before StartWrite returns and
// from any goroutine. It must not block. With busy it must not take long either, nor
// call the Device: locks are held, or other writes have ended as well.
type WriteDone interface{ WriteDone(err error, busy bool) }
