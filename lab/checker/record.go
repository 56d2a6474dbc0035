package checker

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
)

// RecordSize is the length of one record in bytes. Record n of a worker lies at
// (n modulo slots) * RecordSize of that worker's file.
const RecordSize = 4096

// A record on disk, little endian:
//
//	 0  8  magic
//	 8 16  run id
//	24  8  worker
//	32  8  number
//	40 ..  bytes drawn from a generator seeded by run id, worker and number
//	4092 4 CRC32C of everything before
const (
	recordMagic   = "GEMELCK1"
	payloadOffset = 40
	crcOffset     = RecordSize - 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// RunID tells the records of one run from those of any other.
type RunID [16]byte

// fillRecord writes record number of worker into buf, which has RecordSize bytes.
// The same arguments always give the same bytes.
func fillRecord(buf []byte, run RunID, worker int, number uint64) {
	copy(buf, recordMagic)
	copy(buf[8:], run[:])
	binary.LittleEndian.PutUint64(buf[24:], uint64(worker))
	binary.LittleEndian.PutUint64(buf[32:], number)
	var seed [32]byte
	copy(seed[:], buf[8:payloadOffset])
	rand.NewChaCha8(seed).Read(buf[payloadOffset:crcOffset])
	sum := crc32.Checksum(buf[:crcOffset], castagnoli)
	binary.LittleEndian.PutUint32(buf[crcOffset:], sum)
}

// recordState is what a place in the file turned out to hold.
type recordState int

const (
	recordIntact  recordState = iota // the record expected, every byte of it
	recordAbsent                     // zeros, an older record, or beyond the end of the file
	recordCorrupt                    // neither
)

// judgeRecord compares what was read with record number of worker. Older numbers of
// the same run in the same place mean that the newer write is gone, not damaged.
func judgeRecord(got []byte, run RunID, worker int, number uint64, scratch []byte) recordState {
	fillRecord(scratch, run, worker, number)
	switch {
	case bytes.Equal(got, scratch):
		return recordIntact
	case len(got) == 0 || allZero(got) || isOther(got, run, worker, number):
		return recordAbsent
	default:
		return recordCorrupt
	}
}

// isOther reports whether got is an intact record that belongs here but is older.
func isOther(got []byte, run RunID, worker int, number uint64) bool {
	if len(got) != RecordSize || !bytes.Equal(got[:8], []byte(recordMagic)) {
		return false
	}
	sum := crc32.Checksum(got[:crcOffset], castagnoli)
	sameRun := bytes.Equal(got[8:24], run[:])
	older := !sameRun || binary.LittleEndian.Uint64(got[32:]) < number
	return sum == binary.LittleEndian.Uint32(got[crcOffset:]) && older &&
		binary.LittleEndian.Uint64(got[24:]) == uint64(worker)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
