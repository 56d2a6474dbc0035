// Package resync knows which blocks a resynchronisation still has to copy and
// how much of them may be under way at once. It is pure: it moves no data, and
// what "copied" means is decided by its caller.
package resync

import (
	"math/bits"

	"gemel/node/block"
)

// Bitmap holds one bit per block of a volume; a set bit means out of sync.
// Ranges are clipped to the volume. It is not safe for concurrent use.
type Bitmap struct {
	words  []uint64
	blocks int64
	count  int64
	cursor int64 // block where the walk goes on
}

// NewBitmap makes a bitmap of size bytes, a multiple of block.Size, that takes
// words over as its storage; a nil or short slice is replaced by a longer one.
// Bits of words behind the volume are cleared.
func NewBitmap(size int64, words []uint64) *Bitmap {
	b := &Bitmap{words: words, blocks: size / block.Size}
	if need := int((b.blocks + 63) / 64); len(b.words) < need {
		b.words = append(make([]uint64, 0, need), words...)[:need]
	}
	full := int(b.blocks / 64)
	for i := range b.words {
		switch {
		case i == full:
			b.words[i] &= 1<<(b.blocks%64) - 1
		case i > full:
			b.words[i] = 0
		}
		b.count += int64(bits.OnesCount64(b.words[i]))
	}
	return b
}

// Grow makes room for a volume of size bytes, a multiple of block.Size, larger
// than before. The new blocks are not marked.
func (b *Bitmap) Grow(size int64) {
	b.blocks = size / block.Size
	if need := int((b.blocks + 63) / 64); len(b.words) < need {
		b.words = append(b.words, make([]uint64, need-len(b.words))...)
	}
}

// Words returns the storage; bit i%64 of word i/64 stands for block i.
func (b *Bitmap) Words() []uint64 { return b.words }

// Bytes returns how many bytes are out of sync.
func (b *Bitmap) Bytes() int64 { return b.count * block.Size }

// Set marks the blocks that r touches.
func (b *Bitmap) Set(r block.Range) {
	b.each(r, func(w *uint64, mask uint64) {
		b.count += int64(bits.OnesCount64(mask &^ *w))
		*w |= mask
	})
}

// Clear unmarks the blocks of r.
func (b *Bitmap) Clear(r block.Range) {
	b.each(r, func(w *uint64, mask uint64) {
		b.count -= int64(bits.OnesCount64(mask & *w))
		*w &^= mask
	})
}

// SetAll marks the whole volume.
func (b *Bitmap) SetAll() { b.Set(block.Range{Len: b.blocks * block.Size}) }

// ClearAll unmarks the whole volume.
func (b *Bitmap) ClearAll() { b.Clear(block.Range{Len: b.blocks * block.Size}) }

// All reports whether every block that r touches is marked.
func (b *Bitmap) All(r block.Range) bool {
	if b.count == 0 {
		return false
	}
	all := true
	b.each(r, func(w *uint64, mask uint64) { all = all && *w&mask == mask })
	return all
}

// each calls f for every word that r touches with the mask of r's bits in it.
func (b *Bitmap) each(r block.Range, f func(w *uint64, mask uint64)) {
	first := max(r.Off/block.Size, 0)
	end := min((r.End()+block.Size-1)/block.Size, b.blocks)
	for first < end {
		word, bit := first/64, uint(first%64)
		n := min(64-int64(bit), end-first)
		f(&b.words[word], (^uint64(0)>>(64-uint(n)))<<bit)
		first += n
	}
}

// Take finds the next marked run at or behind the cursor, unmarks at most limit
// bytes of it and returns them. The walk wraps around once.
func (b *Bitmap) Take(limit int64) (block.Range, bool) {
	if b.count == 0 {
		return block.Range{}, false
	}
	first := b.next(b.cursor)
	if first == b.blocks {
		first = b.next(0)
	}
	end := first
	for end < b.blocks && end-first < limit/block.Size && b.has(end) {
		end++
	}
	b.cursor = end
	r := block.Range{Off: first * block.Size, Len: (end - first) * block.Size}
	b.Clear(r)
	return r, true
}

func (b *Bitmap) has(i int64) bool { return b.words[i/64]&(1<<(i%64)) != 0 }

// next returns the first marked block at or behind i, or blocks.
func (b *Bitmap) next(i int64) int64 {
	for ; i < b.blocks; i = (i/64 + 1) * 64 {
		if w := b.words[i/64] >> (i % 64); w != 0 {
			return i + int64(bits.TrailingZeros64(w))
		}
	}
	return b.blocks
}

// Runs calls f for every marked run in order, without changing anything.
func (b *Bitmap) Runs(f func(block.Range)) {
	for first := b.next(0); first < b.blocks; first = b.next(first) {
		end := first
		for end < b.blocks && b.has(end) {
			end++
		}
		f(block.Range{Off: first * block.Size, Len: (end - first) * block.Size})
		first = end
	}
}

// Or marks what words mark; words[0] stands for the 64 blocks from word first.
// Bits behind the volume are ignored.
func (b *Bitmap) Or(first int, words []uint64) {
	for i, w := range words {
		for w != 0 {
			bit := bits.TrailingZeros64(w)
			w &^= 1 << bit
			b.Set(block.Range{Off: (int64(first+i)*64 + int64(bit)) * block.Size, Len: block.Size})
		}
	}
}
