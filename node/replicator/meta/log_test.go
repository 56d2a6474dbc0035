package meta

import (
	"slices"
	"testing"

	"gemel/node/block"
	"gemel/node/replicator/activity"
	"gemel/node/replicator/disk/crashdisk"
)

// primary is a little Primary: it writes one block in each of several extents,
// with a log of one slot, and saves the bitmap before an extent leaves.
type primary struct {
	store *Store
	log   *activity.Log
	words []uint64
	truth []int64 // blocks that may be out of sync: their writes have begun
}

func (p *primary) run(extents []uint32) error {
	for _, e := range extents {
		if err := p.enter(e); err != nil {
			return err
		}
		b := int64(e) * activity.ExtentSize / block.Size
		p.truth = append(p.truth, b)
		p.words[b/64] |= 1 << (b % 64)
	}
	return nil
}

// enter makes e hot; what was hot leaves once its bits are saved.
func (p *primary) enter(e uint32) error {
	if len(p.truth) > 0 {
		last := p.truth[len(p.truth)-1] / 64 / PageWords
		pages := []int{int(last)}
		if last == 0 {
			pages = append(pages, 1) // a neighbour, in the same write
		}
		err := p.store.SavePages(len(pages), func(i int) (int, []uint64) { return pages[i], p.store.part(p.words, pages[i]) })
		if err != nil {
			return err
		}
	}
	slot, _ := p.log.Admit(e, func(int) bool { return true })
	p.log.Use(slot)
	p.log.Leave(slot)
	if err := p.store.WriteLog(p.log.Make()); err != nil {
		return err
	}
	p.log.Done()
	return nil
}

// cutPrimary runs until request op of the disk, which fails.
func cutPrimary(t *testing.T, from *crashdisk.Disk, op int) (d *crashdisk.Disk, p *primary, cut bool) {
	t.Helper()
	d = from.Clone()
	store, err := Open(d, params)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.ReadLog(); err != nil {
		t.Fatal(err)
	}
	p = &primary{store: store, log: activity.New(1, int(store.DataSize()/activity.ExtentSize)+1, 0), words: make([]uint64, store.Words())}
	first := d.Ops()
	d.Inject(func(o crashdisk.Op) error {
		if o.N >= first+op {
			return errCut
		}
		return nil
	})
	return d, p, p.run([]uint32{0, 40, 7, 1}) != nil
}

// TestPowerCutDuringLogAndPages cuts the power before every request of a
// Primary's metadata writes and keeps many subsets of the sectors in flight:
// what is found must name every block whose write had begun.
func TestPowerCutDuringLogAndPages(t *testing.T) {
	from := crashdisk.New(300 << 20)
	store, err := Create(from, params, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.SaveBitmap(make([]uint64, store.Words())); err != nil {
		t.Fatal(err)
	}
	torn := 0
	for op := 0; ; op++ {
		d, p, cut := cutPrimary(t, from, op)
		subsets := 1 << d.Unflushed()
		for kept := 0; kept < subsets; kept += max(1, subsets/61) {
			if kept > 0 {
				d, p, cut = cutPrimary(t, from, op)
			}
			torn += checkNamed(t, d.CrashWith(func(i int) bool { return kept>>i&1 != 0 }), p, op, kept)
		}
		if !cut {
			break
		}
	}
	if torn == 0 {
		t.Error("no page was ever torn: the test cuts nothing")
	}
}

func checkNamed(t *testing.T, d *crashdisk.Disk, p *primary, op, kept int) (damaged int) {
	t.Helper()
	s, err := Open(d, params)
	if err != nil {
		t.Fatal(err)
	}
	words, damaged := s.LoadBitmap()
	set, err := s.ReadLog()
	if err != nil || !set.Known || len(set.Extents) > 1 {
		t.Fatalf("cut at %d, sectors %#x: %v, log %+v", op, kept, err, set)
	}
	for _, b := range p.truth {
		if words[b/64]&(1<<(b%64)) == 0 && !slices.Contains(set.Extents, uint32(b*block.Size/activity.ExtentSize)) {
			t.Fatalf("cut at %d, sectors %#x: block %d is not named, log %+v", op, kept, b, set)
		}
	}
	return damaged
}

func TestTheLogSurvivesAndOtherReplicasLogsDoNotCount(t *testing.T) {
	d, s := made(t)
	log := activity.New(activity.SlotsLeast, 4, 0)
	for e := range uint32(3) {
		log.Admit(e, nil)
		if err := s.WriteLog(log.Make()); err != nil {
			t.Fatal(err)
		}
		log.Done()
	}
	again, err := Open(d, params)
	if err != nil {
		t.Fatal(err)
	}
	if set, err := again.ReadLog(); err != nil || !set.Known || set.Number != 3 || len(set.Extents) != 3 {
		t.Errorf("%+v, %v", set, err)
	}
	log.Admit(3, nil)
	tr := log.Make()
	tr.Number++
	if err := again.WriteLog(tr); err == nil {
		t.Error("a transaction that leaves one out was written")
	}
	spoiled := make([]byte, activity.BlockSize)
	d.ReadAt(spoiled, again.ringAt()+3*activity.BlockSize)
	other := spoiled[:]
	d.WriteAt(other, again.ringAt()+9*activity.BlockSize) // in another's place
	if set, _ := again.ReadLog(); !set.Known || set.Number != 3 {
		t.Errorf("a transaction in the wrong place counts: %+v", set)
	}
	next := params
	next.ID = [16]byte{7}
	if s, err = Create(d, next, true); err != nil {
		t.Fatal(err)
	}
	if set, err := s.ReadLog(); err != nil || !set.Known || set.Number != 0 {
		t.Errorf("after a new create: %+v, %v", set, err)
	}
}

func TestSavePagesRefusesPagesThatDoNotExist(t *testing.T) {
	_, s := made(t)
	for _, page := range []int{-1, s.layout.pages} {
		if err := s.SavePages(1, func(int) (int, []uint64) { return page, nil }); err == nil {
			t.Errorf("page %d was saved", page)
		}
	}
}
