package drive

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"gemel/lab/drive/extent"
	"gemel/lab/drive/faults"
	"gemel/lab/drive/model"
	"gemel/node/block"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/disk"
)

// Cut says what a power cut leaves of the cache.
type Cut struct {
	Seed uint64 `json:"seed"` // the same cache and the same seed lose the same
	// Keep is the share of the cached writes that reached the platter, from 0 to 1;
	// about a quarter of all is torn, unless it is 0 or 1.
	Keep float64 `json:"keep"`
}

// Lost is a write, or what a later write had left of it, that a power cut took.
type Lost struct {
	Off          int64 `json:"off"`          // first byte lost
	Len          int64 `json:"len"`          // bytes lost
	Of           int64 `json:"of"`           // bytes that were cached; more than Len if torn
	Acknowledged bool  `json:"acknowledged"` // the writer had been told that it is complete
}

// Loss is what a power cut did.
type Loss struct {
	Cut
	Cached      int    `json:"cached"`       // writes in the cache
	CachedBytes int64  `json:"cached_bytes"` // bytes in the cache
	LostBytes   int64  `json:"lost_bytes"`
	Writes      []Lost `json:"writes"` // what was lost, in order of offsets
}

// CutPower takes the disk's power: of what is in the cache it keeps a subset that the
// seed chooses, torn at sectors of 512 bytes. Requests fail until PowerOn. A disk
// that is off loses nothing more.
func (d *Disk) CutPower(cut Cut) (Loss, error) {
	if cut.Keep < 0 || cut.Keep > 1 {
		return Loss{}, fmt.Errorf("power cut: keep %g: a share from 0 to 1", cut.Keep)
	}
	if !d.switchOff() {
		return Loss{Cut: cut, Writes: []Lost{}}, nil
	}
	d.drain.Lock()
	defer d.drain.Unlock()
	if err := d.storeDue(); err != nil {
		return Loss{}, err
	}
	return d.loseCache(cut)
}

// switchOff ends every request, before anything waits for one; false when the disk was off.
func (d *Disk) switchOff() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.on {
		return false
	}
	d.advance(d.clock.Now())
	d.on = false
	d.end(ErrOff)
	return true
}

// loseCache decides about every cached write and forgets them all; with d.drain held.
func (d *Disk) loseCache(cut Cut) (Loss, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	loss := Loss{Cut: cut, Cached: d.cache.Count(), CachedBytes: d.cache.Bytes(), Writes: []Lost{}}
	random := rand.New(rand.NewPCG(cut.Seed, 0x9e3779b97f4a7c15)) //nolint:gosec // to be repeated, not to be secret
	for i := range d.cache.Count() {
		e := d.cache.At(i)
		kept := keptBytes(random, cut.Keep, e.Len)
		if err := d.tear(e, kept); err != nil {
			return loss, err
		}
		if kept < e.Len {
			loss.LostBytes += e.Len - kept
			loss.Writes = append(loss.Writes, Lost{Off: e.Off + kept, Len: e.Len - kept, Of: e.Len, Acknowledged: e.Value.acked})
		}
	}
	d.cache.Clear()
	d.due = nil
	d.model.Forget(d.clock.Now())
	return loss, nil
}

// keptBytes says how much of a write of n bytes gets to the platter. It draws the
// same count of numbers for every write.
func keptBytes(random *rand.Rand, keep float64, n int64) int64 {
	torn, share := random.IntN(4) == 0, random.Float64()
	at := 1 + random.Int64N(max(1, n/faults.SectorSize-1))
	switch {
	case keep == 1:
		return n
	case keep == 0:
		return 0
	case torn:
		return min(n, at*faults.SectorSize)
	case share < keep:
		return n
	}
	return 0
}

// tear writes the first kept bytes of a cached extent to the platter.
func (d *Disk) tear(e extent.Extent[*write], kept int64) error {
	for at := int64(0); at < kept; at += block.Size {
		whole := buffer.Get(block.Size)
		defer buffer.Put(whole)
		if err := d.backing.ReadAt(whole, e.Off+at); err != nil {
			return err
		}
		copy(whole, e.Value.part(e.Off+at, min(block.Size, kept-at)))
		if err := d.backing.WriteAt(whole, e.Off+at); err != nil {
			return err
		}
	}
	return nil
}

// end drops the requests under way; with d.mu held.
func (d *Disk) end(why error) {
	d.life.why = why
	close(d.life.ended)
	d.life = newLife()
}

// PowerOn gives the power back; the cache is empty. A disk that is on stays as it is.
func (d *Disk) PowerOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.on = true
}

// Reset drops the requests under way, as a reset of the bus does. The disk keeps its
// power and its cache.
func (d *Disk) Reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end(ErrReset)
}

// Swap puts another disk of the same size in this one's place and returns the old
// one, with all in it that was flushed. Whatever was wrong with the old one is healed.
func (d *Disk) Swap(fresh disk.Device) (disk.Device, error) {
	if fresh.Size() != d.size {
		return nil, fmt.Errorf("swap the disk: the new one has %d bytes, the old one %d", fresh.Size(), d.size)
	}
	d.HealAll() // also what is stuck, before anything waits for it
	d.drain.Lock()
	defer d.drain.Unlock()
	if err := d.storeDue(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end(ErrReset)
	d.cache.Clear()
	d.due = nil
	d.model.Forget(d.clock.Now())
	old := d.backing
	d.backing, d.broken = fresh, nil
	return old, nil
}

// Fault makes the disk worse; see faults.Set.Add.
func (d *Disk) Fault(f faults.Fault) (faults.Fault, error) {
	f, err := d.faults.Add(f)
	if err == nil {
		d.apply()
	}
	return f, err
}

// Heal takes one fault away; false when there is none with this number.
func (d *Disk) Heal(id int) bool {
	healed := d.faults.Heal(id)
	d.apply()
	return healed
}

// HealAll takes every fault away and returns them. Lost power is none.
func (d *Disk) HealAll() []faults.Fault {
	healed := d.faults.HealAll()
	d.apply()
	return healed
}

// apply tells the model and whoever waits that the faults changed.
func (d *Disk) apply() {
	d.mu.Lock()
	defer d.mu.Unlock()
	factor, _ := d.faults.Slowness()
	d.model.SetSlow(factor)
	d.model.SetFull(d.faults.Has(faults.FullCache))
	d.model.SetFlush(d.params.Flush)
	if d.faults.Has(faults.LyingFlush) {
		d.model.SetFlush(model.Lying)
	}
	close(d.eased)
	d.eased = make(chan struct{})
}

// Report is the state of a disk.
type Report struct {
	Model       model.Params   `json:"model"`
	Size        int64          `json:"size"` // bytes
	On          bool           `json:"on"`
	Cached      int            `json:"cached"`       // writes a power cut can take
	CachedBytes int64          `json:"cached_bytes"` // their bytes
	Faults      []faults.Fault `json:"faults"`
	Stats       Stats          `json:"stats"`
	Broken      string         `json:"broken,omitempty"` // the host's failure under the disk
}

// Report returns the disk's state.
func (d *Disk) Report() Report {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.advance(d.clock.Now())
	report := Report{
		Model: d.params, Size: d.size, On: d.on, Cached: d.cache.Count(), CachedBytes: d.cache.Bytes(),
		Faults: d.faults.List(), Stats: d.stats,
	}
	if d.broken != nil {
		report.Broken = d.broken.Error()
	}
	return report
}

// Close writes everything that is cached, drops the requests under way and closes
// the backing file. No other method may be called afterwards.
func (d *Disk) Close() error {
	d.switchOff()
	d.drain.Lock()
	defer d.drain.Unlock()
	err := d.store(block.Range{Len: d.size}, ^uint64(0))
	return errors.Join(err, d.backing.Sync(), d.backing.Close())
}

// RealTime is the clock of disks that somebody really uses.
type RealTime struct{ start time.Time }

// NewRealTime returns a clock that begins now.
func NewRealTime() RealTime { return RealTime{start: time.Now()} }

// Now returns the time since the clock was made.
func (c RealTime) Now() time.Duration { return time.Since(c.start) }

// tooShort is what waking up costs: a shorter wait would only be longer.
const tooShort = 50 * time.Microsecond

// Wait returns at a time, or when broken is closed if that is earlier.
func (c RealTime) Wait(until time.Duration, broken <-chan struct{}) {
	left := until - c.Now()
	if left < tooShort {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-broken:
	}
}
