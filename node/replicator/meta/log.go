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

// ReadLog finds out which extents the activity log names. What is damaged is
// said in the set, which then is not Known. Call it before the first WriteLog.
func (s *Store) ReadLog() (activity.Set, error) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	ring := buffer.Get(ringSize)
	defer buffer.Put(ring)
	if err := s.dev.ReadAt(ring, s.ringAt()); err != nil {
		return activity.Set{}, fmt.Errorf("read activity log: %w", err)
	}
	set := activity.Recover(ring, s.Super().ID)
	s.logged = set.Number
	return set, nil
}
