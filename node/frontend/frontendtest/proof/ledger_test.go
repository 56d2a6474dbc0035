package proof

import (
	"bytes"
	"errors"
	"testing"

	"gemel/node/block"
)

// memory is a Device that remembers its content at a moment.
type memory struct{ data []byte }

func (m *memory) ReadAt(p []byte, off int64) error  { copy(p, m.data[off:]); return nil }
func (m *memory) WriteAt(p []byte, off int64) error { copy(m.data[off:], p); return nil }
func (m *memory) Flush() error                      { return nil }
func (m *memory) Close() error                      { return nil }

// TestLedgerSeesWhatIsLost: each row takes something away from what was written.
func TestLedgerSeesWhatIsLost(t *testing.T) {
	const blocks = 64
	for name, c := range map[string]struct {
		spoil  func(now, then []byte)
		lost   bool
		broken bool
	}{
		"nothing":               {func(_, _ []byte) {}, false, false},
		"the end of it all":     {func(now, then []byte) { copy(now, then) }, true, false},
		"a piece of the middle": {func(now, then []byte) { copy(now[:4*block.Size], then) }, true, true},
		"one bit":               {func(now, _ []byte) { now[100] ^= 1 }, false, true},
		"everything":            {func(now, _ []byte) { clear(now) }, true, true}, // some of it was flushed
	} {
		t.Run(name, func(t *testing.T) {
			l, d := NewLedger(0, blocks*block.Size, 7), &memory{make([]byte, blocks*block.Size)}
			buf := Aligned(4 * block.Size)
			all := func() {
				for at := 0; at < blocks; at += 4 {
					if err := l.write(d, buf, at); err != nil {
						t.Fatal(err)
					}
				}
			}
			all()
			if err := l.flush(d); err != nil {
				t.Fatal(err)
			}
			then := bytes.Clone(d.data)
			all()
			c.spoil(d.data, then)
			loss, err := l.Check(d)
			if errors.Is(err, ErrBroken) != c.broken || !c.broken && (loss.Writes != 0) != c.lost {
				t.Errorf("%+v, %v", loss, err)
			}
		})
	}
}

// TestLedgerStreams: many streams at once leave what the ledger says.
func TestLedgerStreams(t *testing.T) {
	l, stop, done := NewLedger(1<<20, 1<<20, 3), make(chan struct{}), make(chan error)
	d := &memory{make([]byte, 2<<20)}
	for i := range 4 {
		go func() { done <- l.Stream(d, i, 4, stop) }()
	}
	for l.Acked() < 500 {
	}
	close(stop)
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if loss, err := l.Check(d); err != nil || loss != (Loss{}) {
		t.Errorf("%+v, %v", loss, err)
	}
}
