// Package digest says in few bytes what blocks hold, so that two replicas can
// compare theirs without sending them. It reads no disk and knows no peer.
//
// A block's sum is its HighwayHash of 128 bits under a key that both replicas know and nobody else: two blocks that
// differ never look alike by accident, and whoever writes to the volume cannot make two that do, since the key is
// another one in every session. SHA-256 would need no key, and takes about seven times the processor's time, which
// is what bounds a resync of disks that are nearly equal.
package digest

import (
	"bytes"

	"github.com/minio/highwayhash"

	"gemel/node/block"
)

// Size is the length of one block's sum in bytes.
const Size = 16

// Len returns the bytes that the sums of n bytes of blocks take; n is a
// multiple of block.Size.
func Len(n int64) int { return int(n/block.Size) * Size }

// Key is what both replicas sum under.
type Key [highwayhash.Size]byte

// Append appends the sum of every block of data to dst.
func Append(dst, data []byte, key *Key) []byte {
	for len(data) >= block.Size {
		sum := highwayhash.Sum128(data[:block.Size], key[:])
		dst = append(dst, sum[:]...)
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
