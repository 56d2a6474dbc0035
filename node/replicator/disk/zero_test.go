package disk

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"gemel/node/replicator/buffer"
)

// TestZeroes makes holes and zeroes in every way that a device may leave: the
// kernel's, and written ones where it refuses.
func TestZeroes(t *testing.T) {
	const size, off, n = 8 << 20, 1<<20 + 4096, 3<<20 + 8192
	for name, prepare := range map[string]func(*Disk){
		"as the file system can": func(*Disk) {},
		"no holes":               func(d *Disk) { d.noHoles.Store(true) },
		"written":                func(d *Disk) { d.noHoles.Store(true); d.noZeroRange.Store(true) },
	} {
		for how, erase := range map[string]func(*Disk) error{
			"discard":      func(d *Disk) error { return d.Discard(off, n) },
			"zero":         func(d *Disk) error { return d.WriteZeroes(off, n, false) },
			"zero in situ": func(d *Disk) error { return d.WriteZeroes(off, n, true) },
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				d := open(t, file(t, size))
				prepare(d)
				want := bytes.Repeat([]byte{0xa5}, size)
				if err := d.WriteAt(want, 0); err != nil {
					t.Fatal(err)
				}
				if err := erase(d); err != nil {
					t.Fatal(err)
				}
				clear(want[off : off+n])
				got := buffer.Aligned(size)
				if err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
					t.Errorf("read back something else, %v", err)
				}
			})
		}
	}
}

func TestDiscardGivesBlocksBack(t *testing.T) {
	d := open(t, file(t, 4<<20))
	if err := d.WriteAt(bytes.Repeat([]byte{1}, 4<<20), 0); err != nil {
		t.Fatal(err)
	}
	blocks := func() int64 {
		var st unix.Stat_t
		if err := unix.Fstat(d.fd, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks
	}
	before := blocks()
	if err := d.WriteZeroes(0, 1<<20, true); err != nil {
		t.Fatal(err)
	}
	if !d.noZeroRange.Load() && blocks() < before {
		t.Errorf("zeroes that stay allocated gave blocks back: %d of %d are left", blocks(), before)
	}
	if err := d.Discard(0, 4<<20); err != nil {
		t.Fatal(err)
	}
	if !d.noHoles.Load() && blocks() > before/8 {
		t.Errorf("after the discard %d of %d blocks are left", blocks(), before)
	}
}

func TestZeroesOutsideAreRefused(t *testing.T) {
	d := open(t, file(t, 1<<20))
	for _, r := range [][2]int64{{0, 2 << 20}, {-4096, 4096}, {512, 4096}, {0, 512}, {4096, -4096}} {
		if err := d.Discard(r[0], r[1]); err == nil {
			t.Errorf("%v was taken", r)
		}
	}
}
