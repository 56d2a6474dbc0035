package meta

import (
	"fmt"

	"gemel/node/replicator/activity"
	"gemel/node/replicator/buffer"
)

// The ring of the activity log lies between the slots of the superblock.
const (
	ringSize   = tailSize - 2*SlotSize
	ringBlocks = ringSize / activity.BlockSize // 254
)

func (l *layout) ring() int64 { return l.slot[0] + SlotSize }

func (s *Store) ringAt() int64 { l := s.at(); return l.ring() }

// WriteLog writes a transaction of the activity log and makes it stable.
// Transactions are written one after the other, each with the number that
// follows the last one's.
func (s *Store) WriteLog(t *activity.Transaction) error {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	if err := s.usable(); err != nil {
		return fmt.Errorf("write activity log: %w", err)
	}
	if t.Number != s.logged+1 {
		return fmt.Errorf("write activity log: transaction %d after %d", t.Number, s.logged)
	}
	b := buffer.Get(activity.BlockSize)
	defer buffer.Put(b)
	t.Encode(b, s.Super().ID)
	at := s.ringAt() + int64(activity.Position(t.Number, ringBlocks))*activity.BlockSize
	if err := s.dev.WriteThrough(b, at); err != nil {
		return fmt.Errorf("write activity log: %w", err)
	}
	s.logged = t.Number
	return nil
}

// ReadLog finds out which extents the activity log names. What is damaged or
// cannot be read is said in the set, which then is not Known; it is an error when
// nothing can be read. Call it before the first WriteLog.
func (s *Store) ReadLog() (activity.Set, error) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	ring := buffer.Get(ringSize)
	defer buffer.Put(ring)
	unread, err := s.readRing(ring)
	if unread == ringBlocks {
		return activity.Set{}, fmt.Errorf("read activity log: %w", err)
	}
	set := activity.Recover(ring, s.Super().ID)
	if unread > 0 { // any of them may hold what counts
		set = activity.Set{Number: set.Number + uint64(unread), Why: fmt.Sprintf("%d blocks of it cannot be read: %v", unread, err)}
	}
	s.logged = set.Number
	return set, nil
}

// readRing reads the ring block by block where it cannot be read at once. It
// returns how many blocks it could not read, and why the first of them.
func (s *Store) readRing(ring []byte) (unread int, first error) {
	if s.dev.ReadAt(ring, s.ringAt()) == nil {
		return 0, nil
	}
	for i := range ringBlocks {
		b := ring[i*activity.BlockSize:][:activity.BlockSize]
		err := s.dev.ReadAt(b, s.ringAt()+int64(i)*activity.BlockSize)
		if err == nil {
			continue
		}
		clear(b)
		if unread++; unread == 1 {
			first = err
		}
	}
	return unread, first
}
