package meta

import (
	"errors"
	"strings"
	"testing"

	"gemel/node/replicator/activity"
	"gemel/node/replicator/disk/crashdisk"
)

// openWith opens a replica whose disk was treated by spoil.
func openWith(t *testing.T, d *crashdisk.Disk, spoil func(s *Store)) *Store {
	t.Helper()
	s, err := Open(d, params)
	if err != nil {
		t.Fatal(err)
	}
	spoil(s)
	if s, err = Open(d, params); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestUnreadablePageIsAllSet(t *testing.T) {
	d := crashdisk.New(400 << 20) // four pages
	s, err := Create(d, params, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SaveBitmap(make([]uint64, s.Words())); err != nil {
		t.Fatal(err)
	}
	s = openWith(t, d, func(s *Store) { d.Spoil(s.pageAt(1), pageSize) })
	words, damaged := s.LoadBitmap()
	if damaged != 1 || words[0] != 0 || words[PageWords] != ^uint64(0) || words[2*PageWords] != 0 {
		t.Errorf("%d pages damaged, %#x %#x %#x", damaged, words[0], words[PageWords], words[2*PageWords])
	}
	if dump := Inspect(d, 0); dump.Err() != nil || dump.Bits.Damaged != 1 {
		t.Errorf("it is shown as %+v", dump.Bits)
	}
}

// An unreadable block of the log may be the newest one: nobody can tell what
// was hot. The numbers go on behind whatever it holds.
func TestUnreadableBlockOfTheLog(t *testing.T) {
	d, s := made(t)
	write := func(s *Store, n uint64) {
		t.Helper()
		err := s.WriteLog(&activity.Transaction{Number: n, Fresh: true, Slots: 4, Context: []uint32{1, 2, 3, activity.None}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range uint64(3) {
		write(s, n+1)
	}
	at := s.ringAt() + int64(activity.Position(3, ringBlocks))*activity.BlockSize
	s = openWith(t, d, func(*Store) { d.Spoil(at, activity.BlockSize) })
	set, err := s.ReadLog()
	if err != nil || set.Known || set.Number != 3 || !strings.Contains(set.Why, "cannot be read") {
		t.Fatalf("%+v, %v", set, err)
	}
	write(s, 4)
	d.Mend(at, activity.BlockSize)
	if set, err = s.ReadLog(); err != nil || !set.Known || set.Number != 4 {
		t.Errorf("after it could be read again: %+v, %v", set, err)
	}
	d.Spoil(s.ringAt(), ringSize)
	if _, err = s.ReadLog(); !errors.Is(err, crashdisk.ErrUnreadable) {
		t.Errorf("nothing of the log could be read: %v", err)
	}
}

func TestUnreadableSlot(t *testing.T) {
	for slot := range 2 {
		d, s := made(t)
		if err := s.Update(func(s *Superblock) { s.AgreedSize = 8 << 20 }); err != nil {
			t.Fatal(err)
		}
		s = openWith(t, d, func(s *Store) { d.Spoil(s.layout.slot[slot], SlotSize) })
		if s.Super().AgreedSize != 8<<20 || s.Note() == "" || d.Bad(s.layout.slot[slot], SlotSize) {
			t.Errorf("slot %d: %d bytes agreed, note %q", slot, s.Super().AgreedSize, s.Note())
		}
		d.Spoil(s.layout.slot[0], SlotSize)
		d.Spoil(s.layout.slot[1], SlotSize)
		if _, err := Open(d, params); !errors.Is(err, ErrDamaged) {
			t.Errorf("both slots are unreadable: %v", err)
		}
		if _, err := Create(d, params, false); !errors.Is(err, ErrOccupied) {
			t.Errorf("and it is not empty: %v", err)
		}
		if _, err := Create(d, params, true); err != nil {
			t.Errorf("forced: %v", err)
		}
	}
}
