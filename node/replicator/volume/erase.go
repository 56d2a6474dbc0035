package volume

import (
	"encoding/binary"
	"fmt"

	"gemel/node/block"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/volume/core"
)

// erasePiece bounds one discard or write of zeroes in bytes, and pieces end at
// its multiples: where a disk has to write the zeroes, a piece is done well
// before the peer is given up, and what overlaps does not wait long.
const erasePiece = 16 << 20

var (
	_ block.Discarder = (*Volume)(nil)
	_ block.Zeroer    = (*Volume)(nil)
)

// Discard gives back n bytes at off. On both nodes they read as zeroes
// afterwards, until they are written again.
func (v *Volume) Discard(off, n int64) error {
	return v.erase("discard", off, n, core.OpDiscard)
}

// WriteZeroes makes n bytes at off zero on both nodes. With keep the blocks
// stay allocated, without they may be given back.
func (v *Volume) WriteZeroes(off, n int64, keep bool) error {
	if keep {
		return v.erase("write zeroes", off, n, core.OpZeroKeep)
	}
	return v.erase("write zeroes", off, n, core.OpZero)
}

// erase goes piece by piece; after an error the pieces before it are done.
func (v *Volume) erase(what string, off, n int64, op core.Op) error {
	if off < 0 || n < 0 || n > v.SizeBytes()-off {
		return fmt.Errorf("volume %s: %s %d+%d: the volume has %d bytes", v.o.Name, what, off, n, v.SizeBytes())
	}
	for n > 0 {
		r := block.Range{Off: off, Len: min(n, erasePiece-off%erasePiece)}
		v.mu.Lock()
		id, err := v.core.Erase(Now(), r, op)
		if err := v.await(what, id, nil, err); err != nil {
			return err
		}
		off, n = r.End(), n-r.Len
	}
	return nil
}

// toDisk does to the local disk what a write of the core says.
func (v *Volume) toDisk(a *core.Action, p []byte) error {
	r := a.Range
	if a.FUA {
		return v.o.Disk.WriteThrough(p, r.Off)
	}
	switch a.Op {
	case core.OpBytes:
		return v.o.Disk.WriteAt(p, r.Off)
	case core.OpDiscard:
		return v.o.Disk.Discard(r.Off, r.Len)
	case core.OpBlank:
		return v.blank(r)
	}
	return v.o.Disk.WriteZeroes(r.Off, r.Len, a.Op == core.OpZeroKeep)
}

// blank makes r zero. What is zero already stays as it is: a thin disk stays
// thin, and one whose blocks were laid out keeps them.
func (v *Volume) blank(r block.Range) error {
	p := buffer.Get(int(min(r.Len, buffer.Max)))
	defer buffer.Put(p)
	for off := r.Off; off < r.End(); off += int64(len(p)) {
		p = p[:min(int64(len(p)), r.End()-off)]
		if err := v.o.Disk.ReadAt(p, off); err != nil {
			return err
		}
		if !allZero(p) {
			return v.o.Disk.WriteZeroes(off, r.End()-off, false)
		}
	}
	return nil
}

// allZero reports whether p, whole blocks of it, holds nothing but zeroes.
func allZero(p []byte) bool {
	for ; len(p) >= 8; p = p[8:] {
		if binary.LittleEndian.Uint64(p) != 0 {
			return false
		}
	}
	return true
}
