// Package undo keeps in a file what a resync is going to overwrite on a replica
// that was given up, so that nothing acknowledged is ever gone for good. It
// knows the file's bytes and its directory; which blocks are kept, and when a
// block may be overwritten, is its callers' business.
//
// A file, all numbers little endian, all checksums CRC32C:
//
//	header, 512 bytes, zero behind byte 208
//	  0  8 "gemel\0un"        32 8 size of the volume   72  8 current generation of the source
//	  8  4 CRC32C of header   40 8 time, ns since 1970  80 64 cluster: one byte length, name
//	 12  2 version, 1         48 8 marked bytes        144 64 volume: one byte length, name
//	 14  1 node number        56 8 current generation
//	 16 16 id of the replica  64 8 bitmap generation
//	records
//	  0  4 CRC32C of bytes 4 … 31   8 8 offset   24 4 CRC32C of the data
//	  4  4 kind: 1 data, 2 zeroes   16 8 length   28 4 zero
//	       3 end                    32 … data, for kind 1
//
// The end record carries the number of records in offset and their bytes in
// length. A file has its final name only once it is whole and synced; one that
// was interrupted ends in ".partial" and is written anew, since nothing was
// overwritten before the end.
package undo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"gemel/node/arbiter"
	"gemel/node/block"
)

// Version is the version of the bytes.
const Version = 1

const (
	headerSize = 512
	recordSize = 32
	nameMax    = 63
	// chunk is the most data of one record in bytes.
	chunk = 1 << 20

	kindData = 1
	kindZero = 2
	kindEnd  = 3
)

var magic = [8]byte{'g', 'e', 'm', 'e', 'l', 0, 'u', 'n'}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var le = binary.LittleEndian

// Sentinel errors of reading.
var (
	ErrNotUndo = errors.New("not an undo file")
	ErrNewer   = errors.New("written by a newer gemel")
	ErrDamaged = errors.New("damaged undo file")
)

// Header says where the blocks come from.
type Header struct {
	Cluster, Volume string
	Node            arbiter.NodeID
	Replica         [16]byte
	Size            int64 // bytes of the volume
	Time            int64 // ns since 1970
	Marked          int64 // bytes kept
	// Current and Bitmap are the generations of the replica, Source the current
	// one of the replica that overwrites it.
	Current, Bitmap, Source block.Generation
}

func (h *Header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, magic[:])
	le.PutUint16(b[12:], Version)
	b[14] = byte(h.Node)
	copy(b[16:], h.Replica[:])
	le.PutUint64(b[32:], uint64(h.Size))
	le.PutUint64(b[40:], uint64(h.Time))
	le.PutUint64(b[48:], uint64(h.Marked))
	le.PutUint64(b[56:], uint64(h.Current))
	le.PutUint64(b[64:], uint64(h.Bitmap))
	le.PutUint64(b[72:], uint64(h.Source))
	putName(b[80:], h.Cluster)
	putName(b[144:], h.Volume)
	le.PutUint32(b[8:], headerSum(b))
	return b
}

func decodeHeader(b []byte) (Header, error) {
	switch {
	case [8]byte(b) != magic:
		return Header{}, ErrNotUndo
	case le.Uint32(b[8:]) != headerSum(b):
		return Header{}, fmt.Errorf("%w: the header's checksum is wrong", ErrDamaged)
	case le.Uint16(b[12:]) != Version:
		return Header{}, fmt.Errorf("%w: version %d, this gemel reads version %d", ErrNewer, le.Uint16(b[12:]), Version)
	}
	h := Header{
		Node: arbiter.NodeID(b[14]), Replica: [16]byte(b[16:]), Size: int64(le.Uint64(b[32:])),
		Time: int64(le.Uint64(b[40:])), Marked: int64(le.Uint64(b[48:])), Current: block.Generation(le.Uint64(b[56:])),
		Bitmap: block.Generation(le.Uint64(b[64:])), Source: block.Generation(le.Uint64(b[72:])),
		Cluster: getName(b[80:144]), Volume: getName(b[144:208]),
	}
	if h.Size <= 0 || h.Size%block.Size != 0 || h.Marked < 0 || h.Marked > h.Size {
		return Header{}, fmt.Errorf("%w: %d bytes kept of a volume of %d", ErrDamaged, h.Marked, h.Size)
	}
	return h, nil
}

func headerSum(b []byte) uint32 {
	sum := crc32.Checksum(b[:8], castagnoli)
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, b[12:headerSize])
}

func putName(b []byte, name string) {
	name = name[:min(len(name), nameMax)]
	b[0] = byte(len(name))
	copy(b[1:], name)
}

func getName(b []byte) string { return string(b[1 : 1+min(int(b[0]), nameMax)]) }

// writer writes records to w.
type writer struct {
	w       io.Writer
	records int64
	bytes   int64
}

// put writes the blocks at off, all zeroes without their bytes.
func (w *writer) put(data []byte, off int64) error {
	kind, body := uint32(kindData), data
	if allZero(data) {
		kind, body = kindZero, nil
	}
	w.records++
	w.bytes += int64(len(data))
	return w.record(kind, off, int64(len(data)), body)
}

func (w *writer) end() error { return w.record(kindEnd, w.records, w.bytes, nil) }

func (w *writer) record(kind uint32, off, length int64, body []byte) error {
	var b [recordSize]byte
	le.PutUint32(b[4:], kind)
	le.PutUint64(b[8:], uint64(off))
	le.PutUint64(b[16:], uint64(length))
	le.PutUint32(b[24:], crc32.Checksum(body, castagnoli))
	le.PutUint32(b[:], crc32.Checksum(b[4:], castagnoli))
	if _, err := w.w.Write(b[:]); err != nil {
		return err
	}
	_, err := w.w.Write(body)
	return err
}

func allZero(b []byte) bool {
	for len(b) >= 8 && le.Uint64(b) == 0 {
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Read reads a file and calls each for every run of kept blocks in order; data
// is nil for zeroes, and valid until each returns. It ends with an error that
// wraps ErrDamaged when anything is missing or wrong; what was told until then
// was right.
func Read(r io.Reader, each func(run block.Range, data []byte) error) (Header, error) {
	head := make([]byte, headerSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return Header{}, fmt.Errorf("%w: %w", ErrNotUndo, err)
	}
	h, err := decodeHeader(head)
	if err != nil {
		return h, err
	}
	var records, bytes int64
	var buf []byte
	for {
		kind, run, data, err := next(r, &h, &buf)
		if err != nil {
			return h, err
		}
		if kind == kindEnd {
			if run.Off != records || run.Len != bytes {
				return h, fmt.Errorf("%w: %d records with %d bytes, the end says %d with %d", ErrDamaged, records, bytes, run.Off, run.Len)
			}
			return h, nil
		}
		records++
		bytes += run.Len
		if err := each(run, data); err != nil {
			return h, err
		}
	}
}

// next reads one record.
func next(r io.Reader, h *Header, buf *[]byte) (kind uint32, run block.Range, data []byte, err error) {
	var b [recordSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, run, nil, fmt.Errorf("%w: it ends too early: %w", ErrDamaged, err)
	}
	if crc32.Checksum(b[4:], castagnoli) != le.Uint32(b[:]) {
		return 0, run, nil, fmt.Errorf("%w: a record's checksum is wrong", ErrDamaged)
	}
	kind = le.Uint32(b[4:])
	run = block.Range{Off: int64(le.Uint64(b[8:])), Len: int64(le.Uint64(b[16:]))}
	if kind == kindEnd {
		return kind, run, nil, nil
	}
	if run.Off < 0 || run.Len <= 0 || run.Len > chunk || !run.Aligned() || run.End() > h.Size {
		return 0, run, nil, fmt.Errorf("%w: a record at %d+%d", ErrDamaged, run.Off, run.Len)
	}
	if kind == kindZero {
		return kind, run, nil, nil
	}
	if int64(len(*buf)) < run.Len {
		*buf = make([]byte, run.Len)
	}
	data = (*buf)[:run.Len]
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, run, nil, fmt.Errorf("%w: it ends too early: %w", ErrDamaged, err)
	}
	if kind != kindData || crc32.Checksum(data, castagnoli) != le.Uint32(b[24:]) {
		return 0, run, nil, fmt.Errorf("%w: the blocks at %d+%d", ErrDamaged, run.Off, run.Len)
	}
	return kind, run, data, nil
}
