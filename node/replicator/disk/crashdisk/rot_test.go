package crashdisk_test

import (
	"bytes"
	"errors"
	"testing"

	"gemel/node/replicator/disk/crashdisk"
)

func TestUnreadableUntilWritten(t *testing.T) {
	d := crashdisk.New(1 << 20)
	p := bytes.Repeat([]byte{7}, 8192)
	if err := d.WriteAt(p, 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	d.Spoil(4096, 4096)
	if err := d.ReadAt(p, 0); !errors.Is(err, crashdisk.ErrUnreadable) || !d.Bad(0, 8192) || d.Bad(0, 4096) {
		t.Fatalf("a bad block was read: %v", err)
	}
	if err := d.WriteAt(p[:4096], 4096); err != nil {
		t.Fatal(err)
	}
	if err := d.ReadAt(p, 0); err != nil {
		t.Fatalf("it was written: %v", err)
	}
	lost := d.Clone().CrashWith(func(int) bool { return false })
	if !lost.Bad(4096, 4096) {
		t.Error("a crash took the write and left the block good")
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	if d.Crash(1).Bad(4096, 4096) {
		t.Error("a flushed write left the block bad")
	}
	lost.Mend(4096, 4096)
	if err := lost.ReadAt(p, 0); err != nil || p[5000] != 7 {
		t.Errorf("%v, %d", err, p[5000])
	}
}

func TestRotReachesMediumAndCache(t *testing.T) {
	d := crashdisk.New(1 << 20)
	if err := d.WriteAt(bytes.Repeat([]byte{1}, 4096), 4096); err != nil {
		t.Fatal(err)
	}
	d.Rot(bytes.Repeat([]byte{9}, 4096), 4096)
	got := make([]byte, 4096)
	d.Spoil(4096, 4096)
	if d.Peek(got, 4096); got[100] != 9 {
		t.Errorf("it holds %d", got[100])
	}
	if d.CrashWith(func(int) bool { return true }).Peek(got, 4096); got[100] != 9 {
		t.Errorf("after a crash it holds %d", got[100])
	}
}
