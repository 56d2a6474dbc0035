package meta

import (
	"errors"
	"testing"

	"gemel/node/block"
	"gemel/node/replicator/activity"
	"gemel/node/replicator/disk/crashdisk"
)

const apartData = 300 << 20

// apart returns new metadata apart from its data.
func apart(t *testing.T) (Apart, *Store) {
	t.Helper()
	a := Apart{Meta: crashdisk.New(NeedApart(apartData)), Data: crashdisk.New(apartData), Backing: "disk naa.5"}
	s, err := CreateApart(a, params, false, false)
	check(t, err)
	return a, s
}

// mark writes a byte that a file system could have left at both ends.
func mark(t *testing.T, a Apart) {
	t.Helper()
	p := make([]byte, 4096)
	copy(p[510:], "\x55\xaa") // the end of a boot sector
	check(t, a.Data.WriteAt(p, 0))
	check(t, a.Data.WriteAt(p, apartData-4096))
}

func TestApartHoldsAll(t *testing.T) {
	a, s := apart(t)
	if s.DataSize() != apartData {
		t.Fatalf("data size %d, the device has %d", s.DataSize(), apartData)
	}
	words := make([]uint64, s.Words())
	words[len(words)-1] = 1
	check(t, s.SaveBitmap(words))
	check(t, s.Update(func(b *Superblock) { b.AgreedSize, b.Register.Promised = apartData, 4 }))
	log := activity.New(3, 100, 0)
	for e := range uint32(300) {
		log.Admit(e%80, func(int) bool { return true })
		check(t, s.WriteLog(log.Make()))
		log.Done()
	}
	again, err := OpenApart(a, params)
	check(t, err)
	got, damaged := again.LoadBitmap()
	set, _ := again.ReadLog()
	if err != nil || damaged != 0 || got[len(got)-1] != 1 || again.Super().Register.Promised != 4 || !set.Known || set.Number != 300 {
		t.Errorf("%d pages damaged, %v, %+v, %+v", damaged, err, again.Super(), set)
	}
	p := make([]byte, 4096)
	check(t, a.Data.ReadAt(p, apartData-4096))
	for _, c := range p {
		if c != 0 {
			t.Fatal("the end of the data was written")
		}
	}
	for _, dump := range []Dump{Inspect(a.Meta, 0), InspectApart(a.Meta)} {
		if dump.Err() != nil || !dump.Apart || dump.DataSize != apartData || dump.Slots[1].Volume != "data" || dump.Log.Number != 300 {
			t.Errorf("dump %+v", dump)
		}
	}
	if dump := InspectApart(crashdisk.New(4096)); dump.Err() == nil {
		t.Error("a dump of next to nothing")
	}
}

func TestApartKeepsData(t *testing.T) {
	a := Apart{Meta: crashdisk.New(NeedApart(apartData)), Data: crashdisk.New(apartData)}
	mark(t, a)
	if _, err := CreateApart(a, params, false, false); !errors.Is(err, ErrOccupied) {
		t.Errorf("data that nobody gave up: %v", err)
	}
	s, err := CreateApart(a, params, false, true)
	check(t, err)
	if !s.Super().Flags.Has(Created | Keep | External | Inconsistent) {
		t.Errorf("flags %v", s.Super().Flags.Names())
	}
	p := make([]byte, 4096)
	for _, at := range []int64{0, apartData - 4096} {
		if check(t, a.Data.ReadAt(p, at)); p[510] != 0x55 {
			t.Errorf("the data at %d is gone", at)
		}
	}
	if _, err := CreateApart(a, params, false, true); !errors.Is(err, ErrOccupied) {
		t.Errorf("older metadata: %v", err)
	}
	check(t, func() error { _, err := CreateApart(a, params, true, false); return err }())
	if check(t, a.Data.ReadAt(p, 0)); p[510] != 0 {
		t.Error("what was to be overwritten is still to be found")
	}
}

func TestApartRefuses(t *testing.T) {
	a, s := apart(t)
	other := params
	other.Volume = "other"
	for name, c := range map[string]struct {
		a    Apart
		p    Params
		want error
	}{
		"another volume's":     {a, other, ErrForeign},
		"another disk":         {Apart{a.Meta, crashdisk.New(apartData), "disk naa.6"}, params, ErrForeign},
		"a smaller disk":       {Apart{a.Meta, crashdisk.New(apartData - 4096), a.Backing}, params, ErrShrunk},
		"no metadata":          {Apart{crashdisk.New(4 << 20), a.Data, a.Backing}, params, ErrNoMetadata},
		"next to nothing":      {Apart{crashdisk.New(4096), a.Data, a.Backing}, params, ErrNoMetadata},
		"a disk without names": {Apart{a.Meta, a.Data, ""}, params, nil},
	} {
		if _, err := OpenApart(c.a, c.p); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	small := Apart{Meta: crashdisk.New(NeedApart(apartData) - 4096), Data: crashdisk.New(apartData)}
	if _, err := CreateApart(small, params, true, false); !errors.Is(err, ErrTooSmall) {
		t.Errorf("too small for its bitmap: %v", err)
	}
	internal, _ := made(t)
	if _, err := OpenApart(Apart{Meta: internal, Data: a.Data}, params); !errors.Is(err, ErrNoMetadata) {
		t.Errorf("a device with data and metadata: %v", err)
	}
	if err := s.Grow(apartData - 4096); !errors.Is(err, ErrShrunk) {
		t.Errorf("a smaller one while it is used: %v", err)
	}
}

// TestApartGrows: power cuts before each request leave the old size or the new.
func TestApartGrows(t *testing.T) {
	const large = apartData + 1<<30
	for op := 0; ; op++ {
		a, s := apart(t)
		d := a.Meta.(*crashdisk.Disk)
		check(t, s.Update(func(b *Superblock) { b.AgreedSize = apartData }))
		if err := s.Grow(large); !errors.Is(err, ErrTooSmall) {
			t.Fatalf("no room for the bitmap: %v", err)
		}
		d.Enlarge(NeedApart(large))
		a.Data.(*crashdisk.Disk).Enlarge(large)
		first := d.Ops()
		d.Inject(func(o crashdisk.Op) error {
			if o.N >= first+op {
				return errCut
			}
			return nil
		})
		cut := s.Grow(large) != nil
		cut = cut || s.SaveBlank(block.Range{Off: apartData, Len: large - apartData}) != nil
		for kept := range 256 {
			back := Apart{d.Clone().CrashWith(func(i int) bool { return kept>>(i%8)&1 != 0 }), a.Data, a.Backing}
			again, err := OpenApart(back, params)
			if err != nil || again.DataSize() != apartData && again.DataSize() != large || !cut && again.DataSize() != large {
				t.Fatalf("cut at %d, subset %d: %v", op, kept, err)
			}
			if kept > 16 && d.Unflushed() > 8 {
				break
			}
		}
		if !cut {
			return
		}
	}
}
