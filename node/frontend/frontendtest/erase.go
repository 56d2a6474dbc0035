package frontendtest

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"gemel/node/block"
)

var (
	_ block.Discarder = (*Memory)(nil)
	_ block.Zeroer    = (*Memory)(nil)
)

// Discard zeroes and counts.
func (m *Memory) Discard(off, n int64) error {
	m.Discards.Add(1)
	return m.zero(off, n)
}

// WriteZeroes zeroes and counts.
func (m *Memory) WriteZeroes(off, n int64, _ bool) error {
	m.Zeroes.Add(1)
	return m.zero(off, n)
}

func (m *Memory) zero(off, n int64) error {
	if err := m.inside(block.Range{Off: off, Len: n}); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.data[off : off+n])
	return nil
}

// plain hides what a Device may do beside reading and writing.
type plain struct{ block.Device }

// testErase discards and zeroes, and looks at the blocks beside as well.
func testErase(t *testing.T, b *bench) {
	u := b.open(t)
	defer shut(t, u)
	const off, n, size = 1 << 20, 5<<20 + 8192, 8 << 20
	for name, c := range map[string]struct {
		erase func(off, n int64) error
		count interface{ Load() int64 }
	}{
		"discard":      {u.Discard, &b.dev.Discards},
		"write zeroes": {u.WriteZeroes, nil}, // the kernel may write them where the frontend knows no better
	} {
		want, got := aligned(size), aligned(size)
		copy(want, bytes.Repeat([]byte{0xa5}, size))
		if err := u.WriteAt(want, 0); err != nil {
			t.Fatal(err)
		}
		if err := c.erase(off, n); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		clear(want[off : off+n])
		if err := u.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: what is read afterwards differs (%v)", name, err)
		}
		if c.count != nil && c.count.Load() == 0 {
			t.Errorf("%s: the device was not asked", name)
		}
	}
	b.dev.Failing.Store(true)
	if err := u.Discard(0, block.Size); !errors.Is(err, unix.EIO) {
		t.Errorf("discard of a failing device: %v, want EIO", err)
	}
	b.dev.Failing.Store(false)
}

// testNoErase: a device that cannot discard says so and works on.
func testNoErase(t *testing.T, b *bench) {
	b.detach(t, false)
	b.plain = true
	b.do(t)
	u := b.open(t)
	defer shut(t, u)
	if err := u.Discard(0, 1<<20); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("discard: %v, want EOPNOTSUPP", err)
	}
	buf := aligned(block.Size)
	buf[0] = 1
	if err := u.WriteAt(buf, 0); err != nil {
		t.Error(err)
	}
	if err := u.WriteZeroes(0, 1<<20); err != nil {
		t.Errorf("nobody wrote the zeroes instead: %v", err)
	}
	if err := u.ReadAt(buf, 0); err != nil || buf[0] != 0 {
		t.Errorf("read %d after zeroing, %v", buf[0], err)
	}
}

// testTrim is what a file system does with discards.
func testTrim(t *testing.T, b *bench) {
	dir := b.mkfsAndMount(t)
	before := b.dev.Discards.Load()
	command(t, "fstrim", dir)
	if b.dev.Discards.Load() == before {
		t.Error("fstrim reached the device with nothing")
	}
	unmount(t, dir, 0)
	command(t, "e2fsck", "-f", "-n", b.at.Path())
}
