// Package digest says in few bytes what blocks hold, so that two replicas can
// compare theirs without sending them. It reads no disk and knows no peer.
//
// A block's sum is the first half of its SHA-256: 128 bits, so that two blocks
// that differ never look alike by accident, nor by design with any means known;
// and processors compute it as fast as disks deliver.
package digest

import (
	"bytes"
	"crypto/sha256"

	"gemel/node/block"
)

// Size is the length of one block's sum in bytes.
const Size = 16

// Len returns the bytes that the sums of n bytes of blocks take; n is a
// multiple of block.Size.
func Len(n int64) int { return int(n/block.Size) * Size }

// Append appends the sum of every block of data to dst.
func Append(dst, data []byte) []byte {
	for len(data) >= block.Size {
		sum := sha256.Sum256(data[:block.Size])
		dst = append(dst, sum[:Size]...)
		data = data[block.Size:]
	}
	return dst
}

// Differ returns the runs of r's blocks whose sums are not the same; nil when all
// are. A block without a sum on either side differs.
func Differ(a, b []byte, r block.Range) (runs []block.Range) {
	for i := range int(r.Len / block.Size) {
		from, to := i*Size, (i+1)*Size
		if to <= len(a) && to <= len(b) && bytes.Equal(a[from:to], b[from:to]) {
			continue
		}
		off := r.Off + int64(i)*block.Size
		if n := len(runs); n > 0 && runs[n-1].End() == off {
			runs[n-1].Len += block.Size
			continue
		}
		runs = append(runs, block.Range{Off: off, Len: block.Size})
	}
	return runs
}
