package sim

import (
	"encoding/binary"
	"time"

	"gemel/node/block"
	"gemel/node/replicator/volume/core"
)

// application uses the volume of one box: services that read, write and flush.
type application struct {
	b       *box
	running bool
	life    int // counts starts
	pace    time.Duration
	idle    []func()
}

// most is how many requests the application has open at once.
const most = 12

func (a *application) start() {
	if a.running {
		return
	}
	a.running = true
	a.life++
	a.change(a.life)
	a.next(a.life)
}

func (a *application) stop() { a.running = false }

// die is the box's power cut.
func (a *application) die() { a.running, a.idle = false, nil }

// abandon: the device is gone, every open request ends with an error.
func (a *application) abandon() { a.idle = nil }

// change draws how busy the application is for the next while.
func (a *application) change(life int) {
	dice := a.b.w.chance.load
	a.pace = []time.Duration{2 * time.Millisecond, 10 * time.Millisecond, 40 * time.Millisecond, time.Second}[dice.IntN(4)]
	a.b.after(dice.span(300*time.Millisecond, 3*time.Second), func() {
		if a.running && a.life == life {
			a.change(life)
		}
	})
}

func (a *application) next(life int) {
	a.b.after(a.b.w.chance.load.span(0, 2*a.pace), func() {
		if !a.running || a.life != life {
			return
		}
		if r := a.b.repl; r != nil && a.b.device && len(r.requests) < most && !a.b.w.resting {
			a.submit(r)
			r.run()
		}
		a.next(life)
	})
}

// whenIdle waits until no request is open, as an unmount does.
func (a *application) whenIdle(limit time.Duration, f func(ok bool)) {
	r := a.b.repl
	if r == nil {
		f(true)
		return
	}
	r.when(limit, func() bool { return len(r.requests) == 0 }, f)
	r.run()
}

// region draws which blocks a request is about; half of them crowd together.
func region(dice dice, size int) (first, count int) {
	if dice.one(2) {
		return dice.IntN(6), 1 + dice.IntN(4)
	}
	first = dice.IntN(size)
	return first, 1 + dice.IntN(min(7, size-first))
}

func (a *application) submit(r *replicator) {
	dice := a.b.w.chance.load
	first, count := region(dice, int(a.b.size()))
	at := block.Range{Off: int64(first) * blockSize, Len: int64(count) * blockSize}
	switch k := dice.IntN(100); {
	case k < 55:
		a.write(r, at, core.OpBytes, false)
	case k < 62:
		a.write(r, at, core.OpBytes, true)
	case k < 70:
		a.write(r, at, core.OpDiscard+core.Op(dice.IntN(3)), false)
	case k < 92:
		a.read(r, at)
	default:
		q := a.b.truth.flush(a.b)
		if id, err := r.core.Flush(a.b.clock()); err == nil {
			r.requests[id] = q
		}
	}
}

func (a *application) write(r *replicator, at block.Range, op core.Op, fua bool) {
	now := a.b.clock()
	q := a.b.truth.write(a.b, at, op)
	var id core.ID
	var err error
	switch q.fua = fua; {
	case op != core.OpBytes:
		id, err = r.core.Erase(now, at, op)
	case fua:
		id, err = r.core.WriteFUA(now, at)
	default:
		id, err = r.core.Write(now, at)
	}
	if err != nil {
		q.refused = true
		return
	}
	r.requests[id] = q
	r.payloads[id] = nil
	if op == core.OpBytes {
		r.payloads[id] = stamp(at, q.number)
	}
}

// restore writes what an undo file held; it is no write of the application.
func (a *application) restore(r *replicator, at block.Range, data []byte) {
	if id, err := r.core.Write(a.b.clock(), at); err == nil {
		r.requests[id] = &request{box: a.b.id, at: at, restores: true, submitted: r.w.now}
		r.payloads[id] = data
	}
}

// read asks the disk first; the answer counts only while the lease is held.
func (a *application) read(r *replicator, at block.Range) {
	q := a.b.truth.read(a.b, at)
	if r.core.Remote() {
		r.w.stats.Remote++
		a.readElsewhere(r, q)
		return
	}
	r.atDisk(r.latency(at.Len), &diskOp{}, func(error) {
		if r.b.badReads > 0 {
			r.b.badReads--
			a.readElsewhere(r, q)
			return
		}
		q.data = make([]byte, at.Len)
		if err := r.b.disk.ReadAt(q.data, at.Off); err != nil {
			a.readElsewhere(r, q)
			return
		}
		now := r.b.clock()
		if r.core.MayRead(now) {
			r.b.truth.answered(r, q, nil)
			return
		}
		r.w.stats.Held++
		if id, err := r.core.Read(now); err == nil {
			r.requests[id] = q
		}
		r.run()
	})
}

// readElsewhere asks the peer for what the disk could not read.
func (a *application) readElsewhere(r *replicator, q *request) {
	q.mend = true
	if id, err := r.core.ReadFailed(a.b.clock(), q.at, errDisk); err == nil {
		r.requests[id] = q
		r.payloads[id] = nil
	}
	r.run()
}

// completed is the answer to a request of the application.
func (r *replicator) completed(id core.ID, err error) {
	q := r.requests[id]
	if q == nil {
		r.w.broken("every request is answered once", "%s answers %x", names[r.b.id], id)
	}
	delete(r.requests, id)
	if q.mend {
		q.data = r.payloads[id]
	}
	delete(r.payloads, id)
	r.b.truth.answered(r, q, err)
}

// stamp is the content that write number puts at a range: every sector names
// the write and the block.
func stamp(at block.Range, number uint64) []byte {
	p := make([]byte, at.Len)
	for off := int64(0); off < at.Len; off += 512 {
		binary.LittleEndian.PutUint64(p[off:], number)
		binary.LittleEndian.PutUint64(p[off+8:], uint64((at.Off+off)/blockSize))
		binary.LittleEndian.PutUint64(p[off+504:], number)
	}
	return p
}
