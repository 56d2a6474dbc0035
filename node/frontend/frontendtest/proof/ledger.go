// Package proof is what a user of a volume writes and remembers, so that it can
// be checked after a reset what is still there: blocks of a device (Ledger),
// files of a file system (Tree), and the same by fio, which knows nothing of us.
// It judges; whom to kill and when is its caller's. It is for tests, it measures
// no speed, and a device that it is given is overwritten.
package proof

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"unsafe"

	"gemel/node/block"
)

// Device is an opened volume. Offsets and lengths are bytes, aligned to
// block.Size, as is the memory of a request.
type Device interface {
	ReadAt(p []byte, off int64) error
	WriteAt(p []byte, off int64) error
	Flush() error
	Close() error
}

const (
	mostBlocks = 16 // of one write of a Ledger
	flushEvery = 24 // writes of the streams that flush
)

// Ledger writes to the blocks from First on and remembers of each write when it
// began and when it was acknowledged, in ticks that all its streams share. Every
// block says which write it is of.
type Ledger struct {
	first  int64 // block
	blocks int
	nonce  uint64 // tells its blocks from those of another ledger

	mu      sync.Mutex
	tick    int64
	writes  []made
	history [][]int32 // per block: its writes in order, indexes of writes
	acked   int
	stable  int64 // what was acknowledged before this tick was flushed since
}

// made is one write; ended is 0 while it is not acknowledged.
type made struct{ began, ended int64 }

// NewLedger returns a ledger over n bytes of a device from off on.
func NewLedger(off, n int64, nonce uint64) *Ledger {
	blocks := int(n / block.Size)
	return &Ledger{first: off / block.Size, blocks: blocks, nonce: nonce, history: make([][]int32, blocks)}
}

// Acked returns how many writes were acknowledged.
func (l *Ledger) Acked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}

// Stream writes to its share of the blocks, as one of so many streams, until stop
// is closed or the device fails, and returns the device's error. Of the streams
// every other one writes in random order and flushes now and then; the rest go
// through their shares in order, so that none of their writes has to wait for an
// earlier one to the same blocks, and never flush.
func (l *Ledger) Stream(d Device, stream, streams int, stop <-chan struct{}) error {
	share := l.blocks / streams
	chance := rand.New(rand.NewPCG(l.nonce, uint64(stream))) //nolint:gosec // a small number, and no secret
	buf := Aligned(mostBlocks * block.Size)
	for n, at := 1, 0; ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		count := 1 + chance.IntN(mostBlocks)
		if stream%2 == 0 {
			at = chance.IntN(share - count + 1)
		} else if at+count > share {
			at = 0
		}
		if err := l.write(d, buf[:count*block.Size], stream*share+at); err != nil {
			return err
		}
		at += count
		if stream%2 == 0 && n%flushEvery == 0 {
			if err := l.flush(d); err != nil {
				return err
			}
		}
	}
}

func (l *Ledger) write(d Device, p []byte, at int) error {
	id := l.begin(at, len(p)/block.Size)
	for i := range len(p) / block.Size {
		l.fill(p[i*block.Size:(i+1)*block.Size], id, at+i)
	}
	if err := d.WriteAt(p, (l.first+int64(at))*block.Size); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick++
	l.writes[id].ended = l.tick
	l.acked++
	return nil
}

func (l *Ledger) begin(at, count int) int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick++
	id := int32(len(l.writes)) //nolint:gosec // not that many
	l.writes = append(l.writes, made{began: l.tick})
	for i := at; i < at+count; i++ {
		l.history[i] = append(l.history[i], id)
	}
	return id
}

func (l *Ledger) flush(d Device) error {
	l.mu.Lock()
	l.tick++
	from := l.tick
	l.mu.Unlock()
	if err := d.Flush(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stable = max(l.stable, from)
	return nil
}

// fill makes a block's content: nonce, write, and what follows from these and
// its place.
func (l *Ledger) fill(p []byte, id int32, at int) {
	binary.LittleEndian.PutUint64(p, l.nonce)
	binary.LittleEndian.PutUint64(p[8:], uint64(id)) //nolint:gosec // not negative
	chance := rand.NewPCG(l.nonce^uint64(id), uint64(at))
	for i := 16; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], chance.Uint64())
	}
}

// Loss is what a device lacks of what it acknowledged.
type Loss struct {
	Writes int   // acknowledged writes of which blocks are older than they should be
	Bytes  int64 // of them in such blocks
}

// ErrBroken is wrapped by what no reset excuses: a block that nobody wrote, a
// flushed write that is lost, or one that is lost while a later one is there.
var ErrBroken = errors.New("the device broke its word")

// Check reads everything back and says what is lost. Nobody may write meanwhile.
func (l *Ledger) Check(d Device) (Loss, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	newest, err := l.read(d)
	if err != nil {
		return Loss{}, err
	}
	var loss Loss
	lost := map[int32]bool{}
	var lastThere int64           // when the latest of what is there began
	firstLost := int64(1<<63 - 1) // when the earliest of what is lost was acknowledged
	for at, there := range newest {
		for _, id := range l.history[at] {
			w := l.writes[id]
			if id <= there {
				lastThere = max(lastThere, w.began)
			} else if w.ended != 0 {
				lost[id] = true
				loss.Bytes += block.Size
				firstLost = min(firstLost, w.ended)
			}
		}
	}
	loss.Writes = len(lost)
	switch {
	case firstLost < l.stable:
		err = fmt.Errorf("%w: a write acknowledged at %d is lost, and a flush began at %d", ErrBroken, firstLost, l.stable)
	case firstLost < lastThere:
		err = fmt.Errorf("%w: a write acknowledged at %d is lost, and one begun at %d is there", ErrBroken, firstLost, lastThere)
	}
	return loss, err
}

// read returns the write that each block is of; -1: of none.
func (l *Ledger) read(d Device) ([]int32, error) {
	newest := make([]int32, l.blocks)
	buf, want := Aligned(256*block.Size), make([]byte, block.Size)
	for at := 0; at < l.blocks; at += 256 {
		p := buf[:min(256, l.blocks-at)*block.Size]
		if err := d.ReadAt(p, (l.first+int64(at))*block.Size); err != nil {
			return nil, fmt.Errorf("read block %d: %w", l.first+int64(at), err)
		}
		for i := range len(p) / block.Size {
			got := p[i*block.Size : (i+1)*block.Size]
			newest[at+i] = -1
			if binary.LittleEndian.Uint64(got) != l.nonce {
				continue
			}
			id := binary.LittleEndian.Uint64(got[8:])
			if id >= uint64(len(l.writes)) {
				return nil, fmt.Errorf("%w: block %d is of write %d, which never was", ErrBroken, l.first+int64(at+i), id)
			}
			newest[at+i] = int32(id) //nolint:gosec // smaller than the number of writes
			if l.fill(want, newest[at+i], at+i); !bytes.Equal(want, got) {
				return nil, fmt.Errorf("%w: block %d is not what write %d put there", ErrBroken, l.first+int64(at+i), id)
			}
		}
	}
	return newest, nil
}

// Aligned returns n bytes of memory that O_DIRECT takes.
func Aligned(n int) []byte {
	buf := make([]byte, n+block.Size)
	skip := block.Size - int(uintptr(unsafe.Pointer(&buf[0]))%block.Size)
	return buf[skip : skip+n]
}
