// Package activity is the activity log's logic: which extents of a volume are
// hot, that is may be written without asking, in which slots of the log they
// are, which one leaves when a cold one comes, and what of that is written to
// disk, one block of 4 KiB per change. After a crash the log names every extent
// in which a write may have been under way. The package is pure: it writes
// nothing, and when an extent may leave is its caller's decision.
//
// One transaction, little endian, zero behind what is used (docs/ondisk.md
// draws it):
//
//	 0 4  "gemL"                        18 2  updates in use, at most 64
//	 4 4  CRC32C of the replica's id,   20 2  slots of the log
//	      then of the block with this   22 2  first slot of the context
//	      field taken as zero           24 2  slots of the context, at most 920
//	 8 8  number, from 1                32 …  64 updates: slot (2), extent (4)
//	16 2  flags: 1 the log was empty    416 … 920 extents of the context
//	      before
//
// Transaction n lies in block n modulo the ring's blocks. Each carries what it
// changes and a slice of all slots, the next one the next slice, so that the
// newest few transactions hold the whole set.
package activity

// Sizes and limits.
const (
	BlockSize    = 4096    // bytes of a transaction
	ExtentSize   = 4 << 20 // bytes of an extent
	SlotsDefault = 1237    // 4.8 GiB of hot extents
	SlotsLeast   = 67
	SlotsMost    = 65534
	UpdatesMost  = 64
	// None is the extent of an empty slot.
	None = ^uint32(0)
)

// Log is the set of hot extents. It is not safe for concurrent use.
type Log struct {
	slots   []slot
	index   []uint16 // of each extent: its slot + 1; 0: cold
	first   uint16   // slot + 1 of the one used last
	last    uint16   // and of the one not used for longest
	filled  int      // slots below hold an extent, or are free
	free    []uint16 // slots below filled that hold none
	updates []Update // of the transaction that is being made
	scan    uint16   // slot + 1 where the search for a victim goes on
	number  uint64   // of the newest transaction
	stable  uint64   // of the newest one on stable storage
	context int      // first slot of the next slice
	fresh   bool     // no transaction was made since New
	made    Transaction
}

type slot struct {
	extent       uint32
	uses         int32
	number       uint64 // transaction that brought the extent
	newer, older uint16 // neighbours by last use, slot + 1
}

// Update says that a slot holds another extent from now on, or None.
type Update struct {
	Slot   uint16
	Extent uint32
}

// New makes an empty log with so many slots for a volume of so many extents,
// whose transactions follow the one of number. Its first transaction says that
// the log was empty before.
func New(slots, extents int, number uint64) *Log {
	return &Log{slots: make([]slot, min(max(slots, 1), SlotsMost)), index: make([]uint16, extents),
		number: number, stable: number, fresh: true}
}

// Grow makes room for a volume of so many extents, not fewer than before.
func (l *Log) Grow(extents int) {
	l.index = append(l.index, make([]uint16, max(extents-len(l.index), 0))...)
}

// Slots returns how many extents can be hot at once.
func (l *Log) Slots() int { return len(l.slots) }

// Number returns the number of the newest transaction made.
func (l *Log) Number() uint64 { return l.number }

// Hot returns the slot of an extent that stable storage says is hot, or -1.
func (l *Log) Hot(extent uint32) int {
	i := int(l.index[extent]) - 1
	if i >= 0 && l.slots[i].number > l.stable {
		return -1
	}
	return i
}

// AllHot reports whether stable storage says so of all extents from first to last.
func (l *Log) AllHot(first, last uint32) bool {
	for e := first; e <= last; e++ {
		if l.Hot(e) < 0 {
			return false
		}
	}
	return true
}

// Slot returns the slot of an extent in the log, stable or not, or -1.
func (l *Log) Slot(extent uint32) int { return int(l.index[extent]) - 1 }

// Extent returns what slot holds, and the number of the transaction by which.
func (l *Log) Extent(slot int) (extent uint32, number uint64) {
	return l.slots[slot].extent, l.slots[slot].number
}

// Stable reports whether the transaction of number is on stable storage.
func (l *Log) Stable(number uint64) bool { return number <= l.stable }

// Use counts one more user of the extent in slot, which stays until Leave.
func (l *Log) Use(slot int) {
	l.slots[slot].uses++
	if int(l.first) != slot+1 {
		l.unlink(slot)
		l.link(slot)
	}
}

// Leave counts one user less and returns how many are left.
func (l *Log) Leave(slot int) int {
	l.slots[slot].uses--
	return int(l.slots[slot].uses)
}

// Outcome of Admit.
type Outcome uint8

// Outcomes.
const (
	Admitted Outcome = iota
	Full             // the transaction holds no more; Make it and try again
	NoRoom           // no slot is free, and none may leave
)

// Admit gives a cold extent a slot in the transaction that is being made. It
// takes an empty one, or that of the extent not used for longest that has no
// user and may leave. The new extent has no user yet.
func (l *Log) Admit(extent uint32, may func(slot int) bool) (slot int, o Outcome) {
	if len(l.updates) == UpdatesMost {
		return -1, Full
	}
	if n := len(l.free); n > 0 {
		slot = int(l.free[n-1])
		l.free = l.free[:n-1]
	} else if l.filled < len(l.slots) {
		slot = l.filled
		l.filled++
	} else if slot = l.victim(may); slot < 0 {
		return -1, NoRoom
	} else {
		l.index[l.slots[slot].extent] = 0
		l.unlink(slot)
	}
	l.slots[slot] = held(extent, l.number+1)
	l.index[extent] = uint16(slot + 1)
	l.link(slot)
	l.updates = append(l.updates, Update{Slot: uint16(slot), Extent: extent})
	return slot, Admitted
}

// Drop takes the extent out of slot, which nobody uses, in the transaction that is
// being made; it reports whether that had room.
func (l *Log) Drop(slot int) bool {
	if len(l.updates) == UpdatesMost {
		return false
	}
	l.index[l.slots[slot].extent] = 0
	l.unlink(slot)
	l.slots[slot] = held(None, l.number+1)
	l.free = append(l.free, uint16(slot))                                   //nolint:gosec // below SlotsMost
	l.updates = append(l.updates, Update{Slot: uint16(slot), Extent: None}) //nolint:gosec // below SlotsMost
	return true
}

// Held returns how many extents are in the log.
func (l *Log) Held() int { return l.filled - len(l.free) }

func held(extent uint32, number uint64) slot { return slot{extent: extent, number: number} }

// victim finds the slot to take; the search goes on where it ended as long as
// the same transaction is made.
func (l *Log) victim(may func(slot int) bool) int {
	if len(l.updates) == 0 {
		l.scan = l.last
	}
	for l.scan != 0 {
		i := int(l.scan - 1)
		s := &l.slots[i]
		l.scan = s.newer
		if s.uses == 0 && s.number <= l.stable && may(i) {
			return i
		}
	}
	return -1
}

// EachIdle calls f for the extents without user, the one not used for longest
// first, until f returns false.
func (l *Log) EachIdle(f func(slot int, extent uint32) bool) {
	for at := l.last; at != 0; at = l.slots[at-1].newer {
		if s := &l.slots[at-1]; s.uses == 0 && !f(int(at-1), s.extent) {
			return
		}
	}
}

// link makes slot the one used last.
func (l *Log) link(slot int) {
	s := &l.slots[slot]
	s.newer, s.older = 0, l.first
	if l.first != 0 {
		l.slots[l.first-1].newer = uint16(slot + 1)
	}
	l.first = uint16(slot + 1)
	if l.last == 0 {
		l.last = l.first
	}
}

func (l *Log) unlink(slot int) {
	s := &l.slots[slot]
	if int(l.scan) == slot+1 {
		l.scan = s.newer
	}
	if s.newer != 0 {
		l.slots[s.newer-1].older = s.older
	} else {
		l.first = s.older
	}
	if s.older != 0 {
		l.slots[s.older-1].newer = s.newer
	} else {
		l.last = s.newer
	}
}

// Pending returns how many extents Admit put into the transaction that is being
// made.
func (l *Log) Pending() int { return len(l.updates) }

// Make ends the transaction that is being made. One is under way at a time:
// what is returned is valid until Done.
func (l *Log) Make() *Transaction {
	l.number++
	t := &l.made
	t.Number, t.Fresh, t.Slots = l.number, l.fresh, len(l.slots)
	t.Updates = append(t.Updates[:0], l.updates...)
	t.First, t.Context = l.context, t.Context[:0]
	for i := l.context; i < min(l.context+contextMost, len(l.slots)); i++ {
		extent := None
		if i < l.filled {
			extent = l.slots[i].extent
		}
		t.Context = append(t.Context, extent)
	}
	if l.context += contextMost; l.context >= len(l.slots) {
		l.context = 0
	}
	l.updates, l.fresh = l.updates[:0], false
	return t
}

// Done tells that the transaction made last is on stable storage.
func (l *Log) Done() { l.stable = l.number }
