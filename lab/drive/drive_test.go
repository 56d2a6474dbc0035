package drive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"gemel/lab/drive/faults"
	"gemel/lab/drive/model"
	"gemel/node/block"
	"gemel/node/replicator/disk"
)

// memory is a backing file without a file.
type memory struct {
	disk.Device
	mu   sync.Mutex
	data []byte
	fail error
}

func (m *memory) Size() int64 { return int64(len(m.data)) }

func (m *memory) ReadAt(p []byte, off int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(p, m.data[off:])
	return m.fail
}

func (m *memory) WriteAt(p []byte, off int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(m.data[off:], p)
	return m.fail
}

func (m *memory) WriteZeroes(off, n int64, _ bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.data[off : off+n])
	return m.fail
}

func (m *memory) Discard(off, n int64) error { return m.WriteZeroes(off, n, false) }
func (m *memory) Sync() error                { return nil }
func (m *memory) Close() error               { return nil }

// virtual is a clock that jumps to whatever is waited for.
type virtual struct {
	mu  sync.Mutex
	now time.Duration
}

func (v *virtual) Now() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

func (v *virtual) Wait(until time.Duration, _ <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.now = max(v.now, until)
}

const diskSize = 16 << 20

func newDisk(t *testing.T, name string) (*Disk, *memory, *virtual) {
	t.Helper()
	params, err := model.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	backing, clock := &memory{data: make([]byte, diskSize)}, &virtual{}
	return New(params, backing, clock), backing, clock
}

func filled(n int, number uint64) []byte {
	return bytes.Repeat(binary.LittleEndian.AppendUint64(nil, number), n/8)
}

// TestReadsWhatWasWritten compares with a plain array, for every model.
func TestReadsWhatWasWritten(t *testing.T) {
	for _, name := range model.Names() {
		d, backing, clock := newDisk(t, name)
		want := make([]byte, diskSize)
		random := rand.New(rand.NewPCG(1, 1))
		for number := range uint64(1000) {
			n := (1 + random.IntN(16)) * block.Size
			off := random.IntN((4<<20-n)/block.Size) * block.Size
			switch random.IntN(8) {
			case 0:
				must(t, d.Flush())
			case 1, 2, 3:
				got := make([]byte, n)
				must(t, d.ReadAt(got, int64(off)))
				if !bytes.Equal(got, want[off:off+n]) {
					t.Fatalf("%s: after %d steps %d+%d is wrong", name, number, off, n)
				}
			case 4:
				if z, ok := d.Device().(block.Zeroer); ok {
					must(t, z.WriteZeroes(int64(off), int64(n), true))
					clear(want[off : off+n])
				}
			default:
				p := filled(n, number)
				must(t, d.WriteAt(p, int64(off), number%64 == 0))
				copy(want[off:], p)
			}
			clock.Wait(clock.Now()+time.Duration(random.IntN(2e6)), nil)
		}
		must(t, d.Close())
		if !bytes.Equal(backing.data, want) {
			t.Errorf("%s: after Close the backing file holds something else", name)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestBurstCliffAndSustained measures the whole disk on a virtual clock against the
// figures of its model.
func TestBurstCliffAndSustained(t *testing.T) {
	d, _, clock := newDisk(t, "platter-2004")
	p := make([]byte, 256<<10)
	cliff := 8 * float64(1<<20) / (1 - 65.0/320)
	near(t, "burst", rateOf(t, d, clock, p, 8<<20), 320e6)
	fast := 8 << 20
	for rateOf(t, d, clock, p, len(p)) > 200e6 {
		fast += len(p)
	}
	near(t, "cliff", float64(fast), cliff)
	rateOf(t, d, clock, p, 16<<20)
	near(t, "sustained", rateOf(t, d, clock, p, 256<<20), 65e6)
}

// rateOf writes in a row, over the start of the disk again and again, and returns bytes per second.
func rateOf(t *testing.T, d *Disk, clock *virtual, p []byte, total int) float64 {
	t.Helper()
	began := clock.Now()
	for range total / len(p) {
		must(t, d.WriteAt(p, int64(d.stats.BytesWritten)%diskSize, false))
	}
	return float64(total) / (clock.Now() - began).Seconds()
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if got < want*0.95 || got > want*1.05 {
		t.Errorf("%s: %.4g, want %.4g within 5 %%", what, got, want)
	}
}

// cutDisk writes 200 blocks, flushes after the first 100, and cuts the power.
func cutDisk(t *testing.T, name string, cut Cut) (*Disk, *memory, Loss) {
	t.Helper()
	d, backing, _ := newDisk(t, name)
	for i := range int64(200) {
		if i == 100 {
			must(t, d.Flush())
		}
		must(t, d.WriteAt(filled(2*block.Size, uint64(i+1)), i*2*block.Size, false))
	}
	loss, err := d.CutPower(cut)
	must(t, err)
	return d, backing, loss
}

func TestPowerCutLosesOnlyWhatWasNotFlushed(t *testing.T) {
	d, backing, loss := cutDisk(t, "unthrottled", Cut{Seed: 42, Keep: 0.5})
	if loss.Cached != 100 || len(loss.Writes) < 30 || len(loss.Writes) > 90 {
		t.Fatalf("lost %d of %d writes", len(loss.Writes), loss.Cached)
	}
	lost := make([]byte, 200*2*block.Size)
	torn := 0
	for _, w := range loss.Writes {
		if w.Off < 100*2*block.Size || !w.Acknowledged || w.Off%faults.SectorSize != 0 {
			t.Errorf("lost %+v: it was flushed, or not acknowledged, or is no sector", w)
		}
		if w.Len < w.Of {
			torn++
		}
		for i := range w.Len {
			lost[w.Off+i] = 1
		}
	}
	if torn == 0 {
		t.Error("no write was torn")
	}
	for number := range 200 {
		at := number * 2 * block.Size
		want := filled(2*block.Size, uint64(number+1))
		for i := range want {
			want[i] *= 1 - lost[at+i]
		}
		if !bytes.Equal(backing.data[at:at+len(want)], want) {
			t.Fatalf("write %d is on the platter in another way than the loss says", number)
		}
	}
	p := make([]byte, block.Size)
	if err := d.ReadAt(p, 0); !errors.Is(err, ErrOff) {
		t.Errorf("read without power: %v", err)
	}
	if again, err := d.CutPower(Cut{Seed: 1}); err != nil || again.Cached != 0 {
		t.Errorf("a second cut lost %+v (%v)", again, err)
	}
	d.PowerOn()
	must(t, d.ReadAt(p, 0))
}

func TestPowerCutIsRepeatable(t *testing.T) {
	for _, name := range model.Names() {
		_, first, loss := cutDisk(t, name, Cut{Seed: 7, Keep: 0.5})
		_, second, again := cutDisk(t, name, Cut{Seed: 7, Keep: 0.5})
		if !reflect.DeepEqual(loss, again) || !bytes.Equal(first.data, second.data) {
			t.Errorf("%s: the same seed lost %+v and then %+v", name, loss, again)
		}
	}
	_, _, loss := cutDisk(t, "unthrottled", Cut{Seed: 7, Keep: 0.5})
	_, _, other := cutDisk(t, "unthrottled", Cut{Seed: 8, Keep: 0.5})
	if reflect.DeepEqual(loss.Writes, other.Writes) {
		t.Error("another seed lost the same")
	}
	for keep, want := range map[float64]int{0: 100, 1: 0} {
		if _, _, loss := cutDisk(t, "unthrottled", Cut{Keep: keep}); len(loss.Writes) != want {
			t.Errorf("keep %g: lost %d writes, want %d", keep, len(loss.Writes), want)
		}
	}
	d, _, _ := newDisk(t, "nvme")
	if _, err := d.CutPower(Cut{Keep: 2}); err == nil {
		t.Error("keep 2 was accepted")
	}
}

func TestLyingFlushLosesFlushedWrites(t *testing.T) {
	d, _, _ := newDisk(t, "unthrottled")
	lie, err := d.Fault(faults.Fault{Kind: faults.LyingFlush})
	must(t, err)
	must(t, d.WriteAt(filled(block.Size, 1), 0, true))
	must(t, d.Flush())
	loss, err := d.CutPower(Cut{Keep: 0})
	must(t, err)
	if len(loss.Writes) != 1 || !loss.Writes[0].Acknowledged {
		t.Errorf("the liar lost %+v", loss.Writes)
	}
	d.PowerOn()
	d.Heal(lie.ID)
	must(t, d.WriteAt(filled(block.Size, 1), 0, true))
	if loss, err = d.CutPower(Cut{Keep: 0}); err != nil || len(loss.Writes) != 0 {
		t.Errorf("after healing it lost %+v (%v)", loss.Writes, err)
	}
}

func TestResetKeepsTheCache(t *testing.T) {
	d, _, _ := newDisk(t, "unthrottled")
	must(t, d.WriteAt(filled(block.Size, 9), 0, false))
	d.Reset()
	got := make([]byte, block.Size)
	must(t, d.ReadAt(got, 0))
	if !bytes.Equal(got, filled(block.Size, 9)) || d.Report().Cached != 1 {
		t.Error("a reset lost what was cached")
	}
}

func TestStuckUntilHealedResetOrCut(t *testing.T) {
	for name, c := range map[string]struct {
		act  func(*Disk)
		want error
	}{
		"healed": {func(d *Disk) { d.HealAll() }, nil},
		"reset":  {(*Disk).Reset, ErrReset},
		"cut":    {func(d *Disk) { _, _ = d.CutPower(Cut{}) }, ErrOff},
		"closed": {func(d *Disk) { _ = d.Close() }, ErrOff},
	} {
		d, _, _ := newDisk(t, "unthrottled")
		_, err := d.Fault(faults.Fault{Kind: faults.Stuck})
		must(t, err)
		answers := make(chan error, 3)
		var begun sync.WaitGroup
		for _, request := range []func() error{
			func() error { return d.WriteAt(filled(block.Size, 1), 0, false) },
			func() error { return d.ReadAt(make([]byte, block.Size), 0) },
			d.Flush,
		} {
			begun.Add(1)
			go func() {
				begun.Done()
				answers <- request()
			}()
		}
		begun.Wait()
		select {
		case err := <-answers:
			t.Fatalf("%s: a stuck disk answered: %v", name, err)
		case <-time.After(20 * time.Millisecond):
		}
		c.act(d)
		for range 3 {
			if err := <-answers; !errors.Is(err, c.want) {
				t.Errorf("%s: a request ended with %v, want %v", name, err, c.want)
			}
		}
	}
}

func TestFaultsOfRequests(t *testing.T) {
	d, _, clock := newDisk(t, "platter-2004")
	p := make([]byte, block.Size)
	add := func(f faults.Fault) {
		t.Helper()
		_, err := d.Fault(f)
		must(t, err)
	}
	add(faults.Fault{Kind: faults.BadSector, Off: 8192, Len: 512, On: faults.Reads})
	if err := d.ReadAt(p, 8192); !errors.Is(err, faults.ErrBadSector) {
		t.Errorf("read of a bad sector: %v", err)
	}
	must(t, d.WriteAt(p, 8192, false))
	must(t, d.ReadAt(p, 8192)) // a spare sector
	add(faults.Fault{Kind: faults.Corrupt, Off: 0, Len: 4096, Seed: 3})
	must(t, d.ReadAt(p, 0))
	if bytes.Equal(p, make([]byte, block.Size)) {
		t.Error("a corrupt block is read as it was")
	}
	must(t, d.WriteAt(make([]byte, block.Size), 0, false))
	if must(t, d.ReadAt(p, 0)); !bytes.Equal(p, make([]byte, block.Size)) {
		t.Error("a block is corrupt after it was written anew")
	}
	add(faults.Fault{Kind: faults.Misdirected, Off: 1 << 20, Len: 4096, By: 8192})
	must(t, d.WriteAt(filled(block.Size, 5), 1<<20, false))
	if must(t, d.ReadAt(p, 1<<20+8192)); !bytes.Equal(p, filled(block.Size, 5)) {
		t.Error("a misdirected write did not land where it should not")
	}
	add(faults.Fault{Kind: faults.Slow, Latency: time.Second})
	before := clock.Now()
	if must(t, d.WriteAt(p, 0, false)); clock.Now()-before < time.Second {
		t.Error("a slow disk is quick")
	}
	add(faults.Fault{Kind: faults.BadFlush})
	if err := d.Flush(); !errors.Is(err, faults.ErrBadFlush) {
		t.Errorf("flush: %v", err)
	}
	add(faults.Fault{Kind: faults.Gone})
	if err := d.WriteAt(p, 0, false); !errors.Is(err, faults.ErrGone) {
		t.Errorf("write to a disk that is gone: %v", err)
	}
	if healed := d.HealAll(); len(healed) != 6 {
		t.Errorf("healed %v", healed)
	}
	must(t, d.ReadAt(p, 8192))
	must(t, d.Flush())
}

func TestSwap(t *testing.T) {
	d, first, _ := newDisk(t, "sata-ssd")
	must(t, d.WriteAt(filled(block.Size, 1), 0, true))
	must(t, d.WriteAt(filled(block.Size, 2), 8192, false))
	_, err := d.Fault(faults.Fault{Kind: faults.Gone})
	must(t, err)
	if _, err := d.Swap(&memory{data: make([]byte, 4096)}); err == nil {
		t.Error("a smaller disk was taken")
	}
	old, err := d.Swap(&memory{data: make([]byte, diskSize)})
	if err != nil || old != disk.Device(first) {
		t.Fatalf("swapped out %v (%v)", old, err)
	}
	p := make([]byte, block.Size)
	if must(t, d.ReadAt(p, 0)); !bytes.Equal(p, make([]byte, block.Size)) {
		t.Error("the new disk is not blank")
	}
	if !bytes.Equal(first.data[:block.Size], filled(block.Size, 1)) {
		t.Error("the old disk lost what was flushed")
	}
}

func TestHostFailureIsNoFault(t *testing.T) {
	d, backing, _ := newDisk(t, "unthrottled")
	must(t, d.WriteAt(filled(block.Size, 1), 0, false))
	backing.fail = errors.New("no space")
	if err := d.Flush(); !errors.Is(err, backing.fail) || d.Report().Broken == "" {
		t.Errorf("flush: %v, report %q", err, d.Report().Broken)
	}
}

// TestManyAtOnce is for the race detector: whoever writes a block reads it back.
func TestManyAtOnce(t *testing.T) {
	d, _, _ := newDisk(t, "unthrottled")
	tending, stop := t.Context(), make(chan struct{})
	go func() { d.Tend(tending); close(stop) }()
	var workers sync.WaitGroup
	errs := make(chan error, 8)
	for worker := range 8 {
		workers.Go(func() { errs <- churn(d, int64(worker)) })
	}
	workers.Wait()
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func churn(d *Disk, worker int64) error {
	random := rand.New(rand.NewPCG(uint64(worker), 5))
	base := worker * (2 << 20)
	got := make([]byte, 16*block.Size)
	for number := range uint64(400) {
		off := base + random.Int64N(32)*16*block.Size
		want := filled(len(got), number)
		if err := d.WriteAt(want, off, false); err != nil {
			return err
		}
		if random.IntN(8) == 0 {
			if err := d.Flush(); err != nil {
				return err
			}
		}
		if err := d.ReadAt(got, off); err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("worker %d: at %d something else was read than written", worker, off)
		}
	}
	return nil
}
