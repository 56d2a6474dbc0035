package meta

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"gemel/node/block"
	"gemel/node/replicator/activity"
	"gemel/node/replicator/disk/crashdisk"
)

const (
	smallDevice = 256 << 20 // three pages of bitmap
	largeDevice = 512 << 20
)

// lived is a disk whose metadata has something to lose: a promise, bits, and
// transactions all around the ring.
func lived(t *testing.T) (*crashdisk.Disk, *Store) {
	t.Helper()
	d := crashdisk.New(smallDevice)
	s, err := Create(d, params, false)
	if err != nil {
		t.Fatal(err)
	}
	agreed := s.DataSize() - 1<<20
	check(t, s.Update(func(b *Superblock) { b.Register.Promised, b.AgreedSize, b.Flags = 2, agreed, PrimaryActive|BitmapValid }))
	check(t, s.SaveBitmap(livedWords(s)))
	log := activity.New(3, 64, 0)
	for e := range uint32(ringBlocks + 7) {
		log.Admit(e%60, func(int) bool { return true })
		check(t, s.WriteLog(log.Make()))
		log.Done()
	}
	return d, s
}

func livedWords(s *Store) []uint64 {
	words := make([]uint64, s.Super().AgreedSize/4096/64)
	for i := 0; i < len(words); i += 89 {
		words[i] = uint64(i)<<9 | 1
	}
	return words
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// growCut enlarges a clone of d and moves its metadata until the disk's request
// number op, before which the power fails.
func growCut(t *testing.T, from *crashdisk.Disk, op int) (d *crashdisk.Disk, cut bool) {
	t.Helper()
	d = from.Clone()
	s, err := Open(d, params)
	check(t, err)
	d.Enlarge(largeDevice)
	first := d.Ops()
	d.Inject(func(o crashdisk.Op) error {
		if o.N >= first+op {
			return errCut
		}
		return nil
	})
	return d, s.Grow(largeDevice) != nil
}

// TestPowerCutWhileGrowing cuts the power before every request of a move and
// keeps every subset of the sectors in flight where they are few, and drawn ones
// where they are many: the metadata comes up whole, at the old place or the new.
func TestPowerCutWhileGrowing(t *testing.T) {
	from, s := lived(t)
	want := memoryOf(t, s)
	places := map[int64]int{}
	for op := 0; ; op++ {
		d, cut := growCut(t, from, op)
		subsets := 8
		if n := d.Unflushed(); n <= 8 {
			subsets = 1 << n
		}
		for kept := range subsets {
			keep := drawn(uint64(op), kept, subsets)
			if d.Unflushed() <= 8 {
				keep = func(i int) bool { return kept>>i&1 != 0 }
			}
			after := d.Clone().CrashWith(keep)
			places[survives(t, after, want, op, kept)]++
		}
		if !cut {
			break
		}
	}
	if places[smallDevice] == 0 || places[largeDevice] == 0 {
		t.Errorf("the metadata was found at %v", places)
	}
}

// drawn keeps none, all, or a part that is drawn.
func drawn(op uint64, kept, subsets int) func(int) bool {
	r := rand.New(rand.NewPCG(op, uint64(kept)))
	chance := float64(kept) / float64(subsets-1)
	return func(int) bool { return r.Float64() < chance }
}

// memory is what must outlive a move.
type memory struct {
	promise uint64
	words   []uint64
	damaged int
	log     activity.Set
}

func memoryOf(t *testing.T, s *Store) memory {
	t.Helper()
	words, damaged := s.LoadBitmap()
	set, err := s.ReadLog()
	check(t, err)
	return memory{uint64(s.Super().Register.Promised), words[:s.Super().AgreedSize/4096/64], damaged, set}
}

func (m *memory) same(o *memory) bool {
	return m.promise == o.promise && m.damaged == o.damaged && slices.Equal(m.words, o.words) && m.log.Known && o.log.Known &&
		m.log.Number == o.log.Number && slices.Equal(m.log.Extents, o.log.Extents)
}

// survives opens what a power cut left, twice, and finishes the move. It returns
// where the metadata was found.
func survives(t *testing.T, d *crashdisk.Disk, want memory, op, kept int) (found int64) {
	t.Helper()
	p := params
	p.Seen = []int64{smallDevice}
	for try := range 2 {
		s, err := Open(d, p)
		if err != nil {
			t.Fatalf("cut at %d, subset %d, start %d: %v", op, kept, try+1, err)
		}
		got := memoryOf(t, s)
		if !got.same(&want) || found != 0 && s.Super().DeviceSize != found {
			t.Fatalf("cut at %d, subset %d, start %d: found at %d after %d: %+v, want %+v", op, kept, try+1,
				s.Super().DeviceSize, found, got, want)
		}
		found = s.Super().DeviceSize
		d = d.CrashWith(func(int) bool { return false })
	}
	s, err := Open(d, p)
	check(t, err)
	check(t, s.Grow(largeDevice))
	if s, err = Open(d, params); err != nil { // now without knowing what it once was
		t.Fatalf("cut at %d, subset %d, moved: %v", op, kept, err)
	}
	got := memoryOf(t, s)
	if !got.same(&want) || s.Super().Moved != 0 {
		t.Fatalf("cut at %d, subset %d, moved: %+v", op, kept, s.Super())
	}
	if _, err := read(d, smallDevice); !errors.Is(err, ErrNoMetadata) {
		t.Fatalf("cut at %d, subset %d: the old metadata is still there: %v", op, kept, err)
	}
	return found
}

func TestGrowServesOn(t *testing.T) {
	d, s := lived(t)
	before := s.DataSize()
	d.Enlarge(largeDevice)
	check(t, s.Grow(largeDevice))
	if s.DataSize() <= before || s.Super().DeviceSize != largeDevice {
		t.Fatalf("data size %d after %d", s.DataSize(), before)
	}
	check(t, s.Grow(largeDevice)) // again: nothing
	log := activity.New(3, 64, uint64(ringBlocks+7))
	log.Admit(9, func(int) bool { return true })
	check(t, s.WriteLog(log.Make()))
	check(t, s.SaveBlank(block.Range{Off: s.Super().AgreedSize, Len: s.DataSize() - s.Super().AgreedSize}))
	agreed := s.DataSize()
	check(t, s.Update(func(b *Superblock) { b.AgreedSize, b.Register.Promised = agreed, 5 }))
	again, err := Open(d, params)
	check(t, err)
	words, damaged := again.LoadBitmap()
	if err != nil || damaged != 0 || again.Super().Register.Promised != 5 {
		t.Fatalf("%d pages damaged, %v", damaged, err)
	}
	for i := int(before / 4096 / 64); i < len(words); i++ {
		if words[i] != 0 {
			t.Fatalf("word %d behind the old volume is %#x", i, words[i])
		}
	}
}

func TestGrowRefuses(t *testing.T) {
	d, s := lived(t)
	super := s.Super()
	if err := s.Grow(smallDevice - 1<<20); !errors.Is(err, ErrShrunk) {
		t.Errorf("smaller: %v", err)
	}
	d.Enlarge(smallDevice + 1<<20)
	if err := s.Grow(smallDevice + 1<<20); !errors.Is(err, ErrTooSmall) {
		t.Errorf("a little larger: %v", err)
	}
	if s.Super() != super {
		t.Error("a refusal changed something")
	}
	p := params
	if _, err := Open(d, p); !errors.Is(err, ErrNoMetadata) {
		t.Errorf("nobody knows the old size: %v", err)
	}
	p.Seen = []int64{smallDevice}
	if again, err := Open(d, p); err != nil || again.Super() != super || again.Note() == "" {
		t.Errorf("the old size is known: %v", err)
	}
	if dump := Inspect(d, smallDevice); dump.Err() != nil || dump.Slots[0].Volume != "data" {
		t.Errorf("a dump finds %+v", dump)
	}
}

func TestShrunkDeviceIsNamed(t *testing.T) {
	p := params
	p.Seen = []int64{smallDevice}
	if _, err := Open(crashdisk.New(smallDevice/2), p); !errors.Is(err, ErrShrunk) {
		t.Errorf("got %v", err)
	}
}

// TestFailedMoveStopsAll: once it is unknown which place counts, nothing more is
// written to either.
func TestFailedMoveStopsAll(t *testing.T) {
	d, s := lived(t)
	d.Enlarge(largeDevice)
	to := layoutOf(largeDevice)
	d.Inject(func(o crashdisk.Op) error {
		if o.Kind == crashdisk.Write && o.Off == to.slot[0] {
			return errCut
		}
		return nil
	})
	if err := s.Grow(largeDevice); !errors.Is(err, ErrFailed) {
		t.Fatalf("got %v", err)
	}
	log := activity.New(3, 64, uint64(ringBlocks+7))
	log.Admit(9, func(int) bool { return true })
	for name, err := range map[string]error{"log": s.WriteLog(log.Make()), "bitmap": s.SaveBitmap(nil), "update": s.Update(promise(9)),
		"page": s.SavePages(1, func(int) (int, []uint64) { return 0, nil })} {
		if !errors.Is(err, ErrFailed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMoveOfADeviceEnlargedAgain: the power fails around a move, and the device is
// larger still when it comes back. Both ends that were noted are looked at.
func TestMoveOfADeviceEnlargedAgain(t *testing.T) {
	for _, moved := range []bool{false, true} {
		d, s := lived(t)
		d.Enlarge(largeDevice)
		want := int64(smallDevice)
		if moved {
			if err := s.Grow(largeDevice); err != nil {
				t.Fatal(err)
			}
			want = largeDevice
		}
		d.Enlarge(2 * largeDevice)
		p := params
		p.Seen = []int64{largeDevice, smallDevice}
		if again, err := Open(d, p); err != nil || again.Super().DeviceSize != want {
			t.Errorf("moved %v: %v", moved, err)
		}
	}
}
