package crashdisk

import (
	"bytes"
	"errors"
	"testing"

	"gemel/node/replicator/disk"
)

func blocks(n int, c byte) []byte { return bytes.Repeat([]byte{c}, n*4096) }

func read(t *testing.T, d *Disk, n int, off int64) []byte {
	t.Helper()
	p := make([]byte, n*4096)
	if err := d.ReadAt(p, off); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestReadSeesNewestData(t *testing.T) {
	d := New(1 << 20)
	d.WriteAt(blocks(2, 'a'), 4096)
	d.WriteAt(blocks(1, 'b'), 8192)
	want := append(append(blocks(1, 0), blocks(1, 'a')...), blocks(1, 'b')...)
	if !bytes.Equal(read(t, d, 3, 0), want) {
		t.Error("before Sync")
	}
	d.Sync()
	if !bytes.Equal(read(t, d, 3, 0), want) {
		t.Error("after Sync")
	}
}

func TestCrashKeepsWhatWasFlushed(t *testing.T) {
	d := New(1 << 20)
	d.WriteAt(blocks(1, 'a'), 0)
	d.Sync()
	d.WriteAt(blocks(1, 'b'), 0)
	if d.Unflushed() != 8 {
		t.Fatalf("%d sectors unflushed", d.Unflushed())
	}
	after := d.CrashWith(func(i int) bool { return i == 3 })
	want := blocks(1, 'a')
	copy(want[3*Sector:], bytes.Repeat([]byte{'b'}, Sector))
	if !bytes.Equal(read(t, after, 1, 0), want) {
		t.Error("a torn write must leave exactly the kept sector")
	}
	if err := d.Sync(); !errors.Is(err, ErrPower) {
		t.Errorf("the disk works without power: %v", err)
	}
}

func TestCrashReplaysFromItsSeed(t *testing.T) {
	run := func(seed uint64) []byte {
		d := New(1 << 20)
		d.WriteAt(blocks(16, 'x'), 0)
		return read(t, d.Crash(seed), 16, 0)
	}
	if !bytes.Equal(run(4), run(4)) {
		t.Error("same seed, different disks")
	}
	if bytes.Equal(run(4), run(5)) {
		t.Error("different seeds, same disk")
	}
}

func TestInjectAndRange(t *testing.T) {
	d := New(1 << 20)
	bad := errors.New("bad sector")
	d.Inject(func(o Op) error {
		if o.Kind == Write && o.Off == 4096 {
			return bad
		}
		return nil
	})
	if err := d.WriteAt(blocks(1, 'a'), 4096); !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
	if err := d.WriteAt(blocks(1, 'a'), 0); err != nil {
		t.Errorf("got %v", err)
	}
	if err := d.WriteAt(blocks(1, 'a'), 1<<20); !errors.Is(err, disk.ErrRange) {
		t.Errorf("got %v", err)
	}
	if d.Ops() != 3 {
		t.Errorf("%d requests counted", d.Ops())
	}
}

func TestClone(t *testing.T) {
	d := New(1 << 20)
	d.WriteAt(blocks(1, 'a'), 0)
	d.Sync()
	d.WriteAt(blocks(1, 'b'), 4096)
	c := d.Clone()
	for disk, letter := range map[*Disk]byte{d: 'c', c: 'd'} {
		disk.WriteAt(blocks(1, letter), 0)
		disk.Sync()
	}
	for disk, letter := range map[*Disk]byte{d: 'c', c: 'd'} {
		if want := append(blocks(1, letter), blocks(1, 'b')...); !bytes.Equal(read(t, disk, 2, 0), want) {
			t.Errorf("%c: the clone and its origin are not apart", letter)
		}
	}
}

func TestZeroesAreTornLikeWrites(t *testing.T) {
	d := New(1 << 20)
	d.WriteAt(blocks(2, 'a'), 0)
	d.Sync()
	d.Discard(0, 4096)
	d.WriteZeroes(4096, 4096, true)
	if !bytes.Equal(read(t, d, 2, 0), blocks(2, 0)) {
		t.Error("zeroes are not read back")
	}
	after := d.CrashWith(func(i int) bool { return i == 2 || i == 15 })
	want := blocks(2, 'a')
	clear(want[2*Sector : 3*Sector])
	clear(want[15*Sector:])
	if !bytes.Equal(read(t, after, 2, 0), want) {
		t.Error("a crash must leave exactly the kept sectors zero")
	}
}

func TestWriteThroughSurvives(t *testing.T) {
	d := New(1 << 20)
	d.WriteAt(blocks(3, 'a'), 0)
	d.WriteThrough(blocks(1, 'b'), 4096)
	want := append(append(blocks(1, 'a'), blocks(1, 'b')...), blocks(1, 'a')...)
	if !bytes.Equal(read(t, d, 3, 0), want) {
		t.Error("the newest data is not read")
	}
	if d.Unflushed() != 16 {
		t.Errorf("%d sectors unflushed", d.Unflushed())
	}
	for name, keep := range map[string]bool{"all": true, "none": false} {
		after := d.Clone().CrashWith(func(int) bool { return keep })
		if !bytes.Equal(read(t, after, 1, 4096), blocks(1, 'b')) {
			t.Errorf("%s of the cache kept: what was written through is gone", name)
		}
	}
}
