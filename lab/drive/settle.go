package drive

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gemel/lab/drive/extent"
	"gemel/node/block"
)

const (
	scratchSize = 1 << 20 // most bytes written to the backing file at once
	// mostDue bounds the ranges that have landed by the model's word and still are in
	// memory: then a writer helps.
	mostDue = 256
	// tending is how often a disk that is left alone looks what has landed.
	tending = 10 * time.Millisecond
)

// keepUp lets a writer help when the backing file is slower than the model, and
// leaves the rest to Tend.
func (d *Disk) keepUp(backlog int) {
	if backlog > mostDue {
		_ = d.settle(nil, 0) // a failure breaks the disk: the next request tells
		return
	}
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// Tend writes what lands while nobody asks, until ctx ends.
func (d *Disk) Tend(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.kick:
		}
		for d.moving() && ctx.Err() == nil {
			_ = d.settle(nil, 0)
			d.clock.Wait(d.clock.Now()+tending, ctx.Done())
		}
	}
}

// moving reports whether anything lands without a request.
func (d *Disk) moving() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cache.Count() > 0 && (len(d.due) > 0 || !d.params.HoldBack) && d.on && d.broken == nil
}

// settle writes to the backing file what has landed, and all writes up to a number;
// the life is that of the flush that asks for them, nil if none does.
func (d *Disk) settle(l *life, upTo uint64) error {
	d.drain.Lock()
	defer d.drain.Unlock()
	if err := d.storeDue(); err != nil {
		return err
	}
	if l == nil {
		return nil
	}
	select {
	case <-l.ended: // the cache this flush was for is gone
		return l.why
	default:
	}
	return d.store(block.Range{Len: d.size}, upTo)
}

// storeDue writes what has landed; with d.drain held.
func (d *Disk) storeDue() error {
	d.mu.Lock()
	if d.on {
		d.advance(d.clock.Now())
	}
	due := d.due
	d.due = nil
	d.mu.Unlock()
	for _, r := range joined(due) {
		if err := d.store(r, ^uint64(0)); err != nil {
			return err
		}
	}
	return nil
}

// joined sorts ranges and makes one of those that touch.
func joined(ranges []block.Range) []block.Range {
	slices.SortFunc(ranges, func(a, b block.Range) int { return int(min(1, max(-1, a.Off-b.Off))) })
	var out []block.Range
	for _, r := range ranges {
		if last := len(out) - 1; last >= 0 && out[last].End() >= r.Off {
			out[last].Len = max(out[last].Len, r.End()-out[last].Off)
			continue
		}
		out = append(out, r)
	}
	return out
}

// store writes the cached parts of a range, of writes up to a number, and forgets
// them; with d.drain held.
func (d *Disk) store(r block.Range, upTo uint64) error {
	for at := r.Off; at < r.End(); {
		run := d.run(at, r.End(), upTo)
		if len(run) == 0 {
			return nil
		}
		end := run[len(run)-1].End()
		if err := d.writeRun(run, end); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// run returns the first cached parts from an offset on that lie in a row.
func (d *Disk) run(from, to int64, upTo uint64) []extent.Extent[*write] {
	d.mu.Lock()
	defer d.mu.Unlock()
	var run []extent.Extent[*write]
	for i := d.cache.From(from); i < d.cache.Count(); i++ {
		e := d.cache.At(i)
		if e.Off >= to {
			break
		}
		if e.Value.number > upTo {
			if len(run) > 0 {
				break
			}
			continue
		}
		low, start := max(e.Off, from), max(e.Off, from)
		if len(run) > 0 {
			start = run[0].Off
		}
		if len(run) > 0 && (low != run[len(run)-1].End() || low-start >= scratchSize) {
			break
		}
		e.Len = min(e.End(), to, start+scratchSize) - low
		e.Off = low
		run = append(run, e)
	}
	return run
}

func (d *Disk) writeRun(run []extent.Extent[*write], end int64) error {
	off := run[0].Off
	data := d.scratch[:end-off]
	for _, e := range run {
		copy(data[e.Off-off:], e.Value.part(e.Off, e.Len))
	}
	if err := d.backing.WriteAt(data, off); err != nil {
		return d.breakDown(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range run {
		d.forget(e)
	}
	return nil
}

// forget takes a stored part out of the cache, unless it was written anew meanwhile.
func (d *Disk) forget(stored extent.Extent[*write]) {
	var same []extent.Extent[*write]
	d.cache.Within(stored.Off, stored.Len, func(e extent.Extent[*write]) {
		if e.Value == stored.Value {
			same = append(same, e)
		}
	})
	for _, e := range same {
		d.cache.Remove(e.Off, e.Len)
	}
}

// breakDown ends the simulation: the host failed under it, which is no fault of the
// list and must not look like one.
func (d *Disk) breakDown(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken == nil {
		d.broken = fmt.Errorf("the host failed under the simulated disk: %w", err)
	}
	return d.broken
}
