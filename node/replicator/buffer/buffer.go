// Package buffer lends aligned memory to the data plane, so that a request
// allocates nothing and direct I/O can use the memory as it is. It is not a
// general allocator: it knows the powers of two from 4 KiB to 1 MiB only.
package buffer

import (
	"math/bits"
	"sync"
	"unsafe"
)

// Align is the alignment in bytes of every buffer, and the smallest size.
const Align = 4096

// Max is the largest buffer in bytes that is pooled; larger ones are made anew.
const Max = 1 << 20

const (
	minShift = 12
	classes  = 9 // 4 KiB << 0 … 4 KiB << 8
)

var pools [classes]sync.Pool

// Get lends a buffer of n bytes. Its content is undefined; its capacity is the
// power of two that holds n.
func Get(n int) []byte {
	if n > Max {
		return Aligned(n)
	}
	c := class(n)
	if p, ok := pools[c].Get().(*byte); ok {
		return unsafe.Slice(p, Align<<c)[:n]
	}
	return Aligned(Align << c)[:n]
}

// Put takes a buffer of Get back. The caller must not touch it afterwards. A
// buffer that did not come from Get is dropped.
func Put(b []byte) {
	size := cap(b)
	if size < Align || size > Max || size&(size-1) != 0 || !IsAligned(b) {
		return
	}
	pools[class(size)].Put(unsafe.SliceData(b[:size]))
}

// Aligned makes a buffer of n bytes that never was in a pool. Its content is
// zero and its capacity n.
func Aligned(n int) []byte {
	raw := make([]byte, n+Align)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(raw)))) & (Align - 1)
	return raw[skip : skip+n : skip+n]
}

// IsAligned reports whether direct I/O can use b as it is. An empty buffer is
// aligned.
func IsAligned(b []byte) bool {
	return cap(b) == 0 || uintptr(unsafe.Pointer(unsafe.SliceData(b)))%Align == 0
}

// class returns the pool that serves n bytes, 0 ≤ n ≤ Max.
func class(n int) int {
	if n <= Align {
		return 0
	}
	return bits.Len(uint(n-1)) - minShift
}
