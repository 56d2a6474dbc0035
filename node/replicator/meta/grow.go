package meta

import (
	"fmt"

	"gemel/node/block"
	"gemel/node/replicator/buffer"
)

// This file moves the metadata when the device was enlarged. The new place is
// written whole and synced before a superblock points there, and only then the
// old superblock is wiped; its place is given to the data last:
//
//  1. ring and bitmap at the new place, sync
//  2. both slots there, with Moved telling the old place
//  3. zeroes over the old slots, sync
//  4. both slots without Moved
//
// A power cut before 2 leaves the old place valid and alone, one after it both,
// of which the new one counts; Open does what is left.

// moveRun is how much is copied at once, in bytes.
const moveRun = 256 << 10

// Grow moves the metadata to the end of the device, which has size bytes now, so
// that DataSize grows. AgreedSize stays. The device must have grown by so much
// that old and new place do not overlap (ErrTooSmall); one that became smaller is
// refused with ErrShrunk. When it returns nil all is on stable storage; after an
// error the metadata is where it was, or the store refuses updates until the
// next Open. Everything else that wants the metadata waits meanwhile.
func (s *Store) Grow(size int64) error {
	s.updating.Lock()
	defer s.updating.Unlock()
	s.bitmapMu.Lock()
	defer s.bitmapMu.Unlock()
	s.logMu.Lock()
	defer s.logMu.Unlock()
	if err := s.usable(); err != nil {
		return fmt.Errorf("move metadata: %w", err)
	}
	from, to := s.at(), layoutOf(size)
	if size == from.device {
		return s.leave()
	}
	if s.Super().Flags.Has(External) {
		if err := s.growApart(size); err != nil {
			return fmt.Errorf("enlarge metadata: %w", err)
		}
		return nil
	}
	if err := mayMove(&from, &to); err != nil {
		return fmt.Errorf("move metadata: %w", err)
	}
	if err := s.copyTo(&from, &to); err != nil {
		return fmt.Errorf("move metadata: %w", err)
	}
	if err := s.settleAt(&from, &to); err != nil {
		return fmt.Errorf("move metadata: %w", err)
	}
	return s.leave()
}

func mayMove(from, to *layout) error {
	if to.device < from.device {
		return fmt.Errorf("%w: the metadata was made for %d bytes and there are %d; nothing was changed; "+
			"enlarge the device again", ErrShrunk, from.device, to.device)
	}
	if to.data < from.device {
		need := from.device + tailSize + int64(pagesFor(from.device+tailSize)+1)*pageSize
		return fmt.Errorf("%w: it grew from %d to %d bytes; so that old and new metadata do not overlap it needs %d; "+
			"enlarge it further", ErrTooSmall, from.device, to.device, need)
	}
	return nil
}

// copyTo writes ring and bitmap at their new place and makes them stable. Pages
// that the old bitmap did not have are blank: they hold nothing that counts.
func (s *Store) copyTo(from, to *layout) error {
	b := buffer.Get(moveRun)
	defer buffer.Put(b)
	if err := s.copyBytes(b, from.ring(), to.ring(), ringSize); err != nil {
		return err
	}
	if err := s.copyBytes(b, from.page(0), to.page(0), int64(from.pages)*pageSize); err != nil {
		return err
	}
	clear(b)
	for at, end := to.page(from.pages), to.page(to.pages); at < end; at += moveRun {
		if err := s.dev.WriteAt(b[:min(moveRun, end-at)], at); err != nil {
			return err
		}
	}
	return s.dev.Sync()
}

func (s *Store) copyBytes(b []byte, from, to, n int64) error {
	for at := int64(0); at < n; at += moveRun {
		part := b[:min(moveRun, n-at)]
		if err := s.dev.ReadAt(part, from+at); err != nil {
			return err
		}
		if err := s.dev.WriteAt(part, to+at); err != nil {
			return err
		}
	}
	return nil
}

// settleAt writes the superblock at the new place, which counts from then on.
func (s *Store) settleAt(from, to *layout) error {
	next := s.Super()
	next.Sequence++
	next.DeviceSize, next.DataSize, next.Moved = to.device, to.data, from.device
	s.mu.Lock()
	s.layout = *to
	s.mu.Unlock()
	return s.replace(&next)
}

// leave wipes the superblock at the old place, if one is left there, so that
// nobody finds it should the device become smaller again; s.updating is held, or
// nobody else has the store yet.
func (s *Store) leave() error {
	next := s.Super()
	if next.Moved == 0 {
		return nil
	}
	old := layoutOf(next.Moved)
	for _, at := range old.slot {
		if err := zero(s.dev, at, SlotSize); err != nil {
			return fmt.Errorf("wipe the old metadata: %w", err)
		}
	}
	if err := s.dev.Sync(); err != nil {
		return fmt.Errorf("wipe the old metadata: %w", err)
	}
	next.Moved, next.Sequence = 0, next.Sequence+1
	if err := s.replace(&next); err != nil {
		return fmt.Errorf("wipe the old metadata: %w", err)
	}
	return nil
}

// SaveBlank writes the pages of the bitmap that stand for r, a range behind the
// volume, without a bit, and makes them stable. A page that stands for bytes in
// front of r as well stays as it is.
func (s *Store) SaveBlank(r block.Range) error {
	first, last := pagesFor(r.Off), min(pagesFor(r.End()), s.at().pages)
	if err := s.SavePages(max(last-first, 0), func(i int) (int, []uint64) { return first + i, nil }); err != nil {
		return fmt.Errorf("blank the bitmap of %d+%d: %w", r.Off, r.Len, err)
	}
	return nil
}
