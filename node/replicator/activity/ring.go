package activity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

// Byte offsets in a transaction; frozen for format version 1.
const (
	offCRC      = 4
	offNumber   = 8
	offFlags    = 16
	offUpdates  = 18
	offSlots    = 20
	offFirst    = 22
	offContext  = 24
	offUpdate   = 32
	updateSize  = 6
	offExtent   = offUpdate + UpdatesMost*updateSize // 416
	contextMost = (BlockSize - offExtent) / 4        // 920
	flagFresh   = 1
)

var (
	magic      = [4]byte{'g', 'e', 'm', 'L'}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

// Transaction is one block of the log.
type Transaction struct {
	Number  uint64
	Fresh   bool // the log was empty before
	Slots   int  // of the log
	Updates []Update
	First   int      // slot of Context[0]
	Context []uint32 // extents of a slice of the slots, as they are after Updates
}

// Encode writes the transaction into b, BlockSize bytes, for the replica id.
func (t *Transaction) Encode(b []byte, id [16]byte) {
	clear(b[:BlockSize])
	copy(b, magic[:])
	le.PutUint64(b[offNumber:], t.Number)
	if t.Fresh {
		le.PutUint16(b[offFlags:], flagFresh)
	}
	le.PutUint16(b[offUpdates:], uint16(len(t.Updates)))
	le.PutUint16(b[offSlots:], uint16(t.Slots))
	le.PutUint16(b[offFirst:], uint16(t.First))
	le.PutUint16(b[offContext:], uint16(len(t.Context)))
	for i, u := range t.Updates {
		le.PutUint16(b[offUpdate+i*updateSize:], u.Slot)
		le.PutUint32(b[offUpdate+i*updateSize+2:], u.Extent)
	}
	for i, e := range t.Context {
		le.PutUint32(b[offExtent+i*4:], e)
	}
	le.PutUint32(b[offCRC:], checksum(b, id))
}

func checksum(b []byte, id [16]byte) uint32 {
	var zero [4]byte
	sum := crc32.Checksum(id[:], castagnoli)
	sum = crc32.Update(sum, castagnoli, b[:offCRC])
	sum = crc32.Update(sum, castagnoli, zero[:])
	return crc32.Update(sum, castagnoli, b[offCRC+4:BlockSize])
}

// Errors of Decode.
var (
	ErrBlank  = errors.New("no transaction was ever written here")
	ErrBroken = errors.New("not a whole transaction")
)

// Decode reads a transaction from b, BlockSize bytes. It returns ErrBlank for a
// block of zeroes and wraps ErrBroken for everything else that is not whole.
func Decode(b []byte, id [16]byte) (Transaction, error) {
	if blank(b[:BlockSize]) {
		return Transaction{}, ErrBlank
	}
	if [4]byte(b) != magic {
		return Transaction{}, fmt.Errorf("%w: it does not begin as one", ErrBroken)
	}
	if got, want := checksum(b, id), le.Uint32(b[offCRC:]); got != want {
		return Transaction{}, fmt.Errorf("%w: checksum is %08x, the bytes give %08x", ErrBroken, want, got)
	}
	t := Transaction{Number: le.Uint64(b[offNumber:]), Fresh: le.Uint16(b[offFlags:]) == flagFresh,
		Slots: int(le.Uint16(b[offSlots:])), First: int(le.Uint16(b[offFirst:]))}
	updates, context := int(le.Uint16(b[offUpdates:])), int(le.Uint16(b[offContext:]))
	if t.Number == 0 || le.Uint16(b[offFlags:]) > flagFresh || t.Slots == 0 || t.Slots > SlotsMost ||
		updates > UpdatesMost || context > contextMost || t.First+context > t.Slots {
		return Transaction{}, fmt.Errorf("%w: its counts break the rules", ErrBroken)
	}
	for i := range updates {
		at := b[offUpdate+i*updateSize:]
		t.Updates = append(t.Updates, Update{Slot: le.Uint16(at), Extent: le.Uint32(at[2:])})
		if int(t.Updates[i].Slot) >= t.Slots {
			return Transaction{}, fmt.Errorf("%w: it changes slot %d of %d", ErrBroken, t.Updates[i].Slot, t.Slots)
		}
	}
	for i := range context {
		t.Context = append(t.Context, le.Uint32(b[offExtent+i*4:]))
	}
	return t, nil
}

func blank(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Position returns the block of a ring of so many blocks where the transaction
// of number belongs.
func Position(number uint64, blocks int) int { return int(number % uint64(blocks)) }

// RingFor returns how many blocks a ring needs at least for so many slots: the
// newest transactions that hold the whole set, and the one that may be torn.
func RingFor(slots int) int { return (slots+contextMost-1)/contextMost + 1 }

// Set is what a ring says was hot.
type Set struct {
	// Known: Extents names every hot extent. Otherwise Why says what is damaged,
	// and each extent must be taken for hot.
	Known   bool
	Why     string
	Number  uint64 // of the newest transaction that is whole
	Slots   int
	Extents []uint32 // in ascending order
}

// Recover finds out from a ring, a multiple of BlockSize bytes, which extents
// were hot. A transaction that was being written when the power went is passed
// over, since nothing relied on it yet; any other damage among those that are
// needed means that nobody can tell.
func Recover(ring []byte, id [16]byte) Set {
	r := reading{id: id, blocks: len(ring) / BlockSize, ring: ring}
	if !r.newest() {
		return Set{Number: r.number, Why: r.why, Known: r.why == ""}
	}
	s := Set{Number: r.number}
	s.Extents, s.Why = r.walk()
	s.Known = s.Why == ""
	s.Slots = r.slots
	return s
}

type reading struct {
	id     [16]byte
	blocks int
	ring   []byte
	number uint64
	slots  int
	why    string
}

func (r *reading) at(number uint64) (Transaction, error) {
	i := Position(number, r.blocks)
	return Decode(r.ring[i*BlockSize:(i+1)*BlockSize], r.id)
}

// newest finds the newest whole transaction; false: there is none, or why it
// does not count.
func (r *reading) newest() bool {
	broken := 0
	for i := range r.blocks {
		t, err := r.at(uint64(i))
		if errors.Is(err, ErrBroken) {
			broken++
		} else if err == nil && Position(t.Number, r.blocks) == i {
			r.number = max(r.number, t.Number)
		}
	}
	_, next := r.at(r.number + 1)
	_, second := r.at(r.number + 2)
	switch torn := errors.Is(next, ErrBroken); {
	case r.number == 0 && (broken > 1 || broken == 1 && !torn):
		r.why = fmt.Sprintf("%d blocks of the log are damaged and none is whole", broken)
	case torn && errors.Is(second, ErrBroken): // a crash tears one
		r.why = fmt.Sprintf("the two blocks behind transaction %d are damaged", r.number)
	}
	return r.number != 0 && r.why == ""
}

// walk goes back from the newest transaction until every slot is known.
func (r *reading) walk() (extents []uint32, why string) {
	var known map[uint16]uint32
	for n := r.number; n > 0 && r.number-n < uint64(r.blocks-1); n-- {
		t, err := r.at(n)
		if err != nil || t.Number != n || known != nil && t.Slots != r.slots {
			return nil, fmt.Sprintf("transaction %d of the log is damaged or gone, the newest is %d", n, r.number)
		}
		if known == nil {
			known, r.slots = make(map[uint16]uint32, t.Slots), t.Slots
		}
		t.learn(known)
		if t.Fresh || len(known) == r.slots {
			return listed(known), ""
		}
	}
	return nil, "the log does not hold the whole set of its extents"
}

// learn adds what newer transactions did not say already.
func (t *Transaction) learn(known map[uint16]uint32) {
	for i, e := range t.Context {
		if slot := uint16(t.First + i); !has(known, slot) {
			known[slot] = e
		}
	}
	for i := len(t.Updates) - 1; i >= 0; i-- {
		if u := t.Updates[i]; !has(known, u.Slot) {
			known[u.Slot] = u.Extent
		}
	}
}

func has(known map[uint16]uint32, slot uint16) bool { _, ok := known[slot]; return ok }

func listed(known map[uint16]uint32) (extents []uint32) {
	for _, e := range known {
		if e != None {
			extents = append(extents, e)
		}
	}
	slices.Sort(extents)
	return extents
}
