package meta

import (
	"errors"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/disk/crashdisk"
)

var errCut = errors.New("cut here")

func promise(e arbiter.Epoch) func(*Superblock) {
	return func(b *Superblock) { b.Register.Promised = e }
}

// cutAt builds a replica that promised 2, and stops the update to 3 before the
// disk's request number op of that update.
func cutAt(t *testing.T, op int) (d *crashdisk.Disk, cut bool) {
	t.Helper()
	d, s := made(t)
	if err := s.Update(promise(2)); err != nil {
		t.Fatal(err)
	}
	first := d.Ops()
	d.Inject(func(o crashdisk.Op) error {
		if o.N >= first+op {
			return errCut
		}
		return nil
	})
	return d, s.Update(promise(3)) != nil
}

// TestPowerCutDuringUpdate cuts the power before every request of an update and
// keeps every subset of the sectors in the cache: the old or the new state must
// come up, never neither, and never anything else.
func TestPowerCutDuringUpdate(t *testing.T) {
	for op := 0; ; op++ {
		d, cut := cutAt(t, op)
		subsets := 1 << d.Unflushed()
		for kept := range subsets {
			if kept > 0 {
				d, cut = cutAt(t, op)
			}
			after := d.CrashWith(func(i int) bool { return kept>>i&1 != 0 })
			checkAfterCut(t, after, op, kept, cut)
		}
		if !cut {
			return
		}
	}
}

// checkAfterCut opens the disk twice: what the first one saw must not be taken
// back by a second crash.
func checkAfterCut(t *testing.T, d *crashdisk.Disk, op, kept int, cut bool) {
	t.Helper()
	s, err := Open(d, params)
	if err != nil {
		t.Fatalf("cut at %d, sectors %#x: %v", op, kept, err)
	}
	seen := s.Super().Register.Promised
	if seen != 3 && (seen != 2 || !cut) {
		t.Fatalf("cut at %d, sectors %#x: promise %d", op, kept, seen)
	}
	again, err := Open(d.CrashWith(func(int) bool { return false }), params)
	if err != nil || again.Super().Register.Promised != seen {
		t.Fatalf("cut at %d, sectors %#x: second start sees %v, %v", op, kept, again.Super().Register, err)
	}
}

// TestPowerCutWhileMending cuts the power while Open mends a slot.
func TestPowerCutWhileMending(t *testing.T) {
	for op := range 8 {
		for kept := range 256 {
			d, _ := cutAt(t, 2) // slot 0 is new, slot 1 old
			d = d.CrashWith(func(int) bool { return false })
			d.Inject(func(o crashdisk.Op) error {
				if o.N >= op {
					return errCut
				}
				return nil
			})
			Open(d, params)
			after := d.CrashWith(func(i int) bool { return kept>>i&1 != 0 })
			s, err := Open(after, params)
			if err != nil || s.Super().Register.Promised != 3 {
				t.Fatalf("cut at %d, sectors %#x: %v", op, kept, err)
			}
		}
	}
}

func TestBitmap(t *testing.T) {
	d := crashdisk.New(400 << 20) // four pages
	s, err := Create(d, params, false)
	if err != nil {
		t.Fatal(err)
	}
	words, damaged := s.LoadBitmap()
	if damaged != s.layout.pages || words[0] != ^uint64(0) {
		t.Fatalf("a bitmap never saved must be all set: %d of %d pages", damaged, s.layout.pages)
	}
	clear(words)
	for i := 0; i < len(words); i += 97 {
		words[i] = uint64(i) << 7
	}
	if err := s.SaveBitmap(words); err != nil || d.Unflushed() != 0 {
		t.Fatal(err)
	}
	same(t, d, words, 0)
	words[PageWords] = 99 // second page
	bit := int64(PageWords * 64 * block.Size)
	if err := s.SaveBitmapRange(words, block.Range{Off: bit, Len: block.Size}); err != nil {
		t.Fatal(err)
	}
	same(t, d, words, 0)
	if err := s.SaveBitmap(append(words, 0)); err == nil {
		t.Error("a bitmap that is too long must be refused")
	}
	page := make([]byte, 4096)
	d.WriteAt(page, s.pageAt(1))
	fill(words[PageWords : 2*PageWords])
	same(t, d, words, 1)
}

// same checks that a new start loads exactly want.
func same(t *testing.T, d *crashdisk.Disk, want []uint64, wantDamaged int) {
	t.Helper()
	s, err := Open(d, params)
	if err != nil {
		t.Fatal(err)
	}
	got, damaged := s.LoadBitmap()
	if damaged != wantDamaged {
		t.Fatalf("%d pages damaged", damaged)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("word %d is %#x, saved was %#x", i, got[i], want[i])
		}
	}
}

// TestPowerCutDuringBitmap: a torn page comes back old, new or all set.
func TestPowerCutDuringBitmap(t *testing.T) {
	for kept := range 256 {
		d, s := made(t)
		words := make([]uint64, s.Words())
		s.SaveBitmap(words)
		for i := range words {
			words[i] = 5
		}
		d.Inject(func(o crashdisk.Op) error {
			if o.Kind == crashdisk.Sync {
				return errCut
			}
			return nil
		})
		s.SaveBitmap(words)
		after, err := Open(d.CrashWith(func(i int) bool { return kept>>i&1 != 0 }), params)
		if err != nil {
			t.Fatal(err)
		}
		got, damaged := after.LoadBitmap()
		if damaged == 0 && kept != 255 && got[0] != 0 && got[0] != 5 || damaged == 1 && got[0] != ^uint64(0) {
			t.Fatalf("sectors %#x: %#x, %d damaged", kept, got[0], damaged)
		}
	}
}

func TestBitmapOfOlderMetadataDoesNotCount(t *testing.T) {
	d, s := made(t)
	s.SaveBitmap(make([]uint64, s.Words()))
	next := params
	next.ID = [16]byte{9}
	s, err := Create(d, next, true)
	if err != nil {
		t.Fatal(err)
	}
	if words, damaged := s.LoadBitmap(); damaged == 0 || words[0] != ^uint64(0) {
		t.Error("the old bitmap was believed")
	}
}

func TestTrim(t *testing.T) {
	_, s := made(t)
	words, _ := s.LoadBitmap()
	bits := 0
	for _, w := range words {
		for ; w != 0; w &= w - 1 {
			bits++
		}
	}
	if int64(bits) != s.DataSize()/block.Size {
		t.Errorf("%d bits set for %d blocks", bits, s.DataSize()/block.Size)
	}
}
