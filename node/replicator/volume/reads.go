package volume

import (
	"sync"

	"gemel/node/block"
)

var _ block.ReadStarter = (*Volume)(nil)

// begun is a read that the disk does by itself. Its end is looked at as ReadAt
// looks at it.
type begun struct {
	v    *Volume
	read block.Read
}

// begunMost is how many reads go to the disk at once.
const begunMost = 64

// batch is the memory of one StartReads.
type batch struct {
	ends  [begunMost]*begun
	reads [begunMost]block.Read
}

var (
	begunPool = sync.Pool{New: func() any { return new(begun) }}
	batchPool = sync.Pool{New: func() any { return new(batch) }}
)

// StartReads hands reads to the local disk together, as far as it can begin
// them; see block.ReadStarter.
func (v *Volume) StartReads(reads []block.Read) int {
	disk, ok := v.o.Disk.(block.ReadStarter)
	if !ok {
		return 0
	}
	n := v.mayStart(reads[:min(len(reads), begunMost)])
	b := batchPool.Get().(*batch)
	for i, r := range reads[:n] {
		e := begunPool.Get().(*begun)
		e.v, e.read = v, r
		b.ends[i], b.reads[i] = e, block.Read{P: r.P, Off: r.Off, Done: e}
	}
	began := disk.StartReads(b.reads[:n])
	for _, e := range b.ends[began:n] {
		e.recycle()
	}
	clear(b.ends[:n])
	clear(b.reads[:n])
	batchPool.Put(b)
	return began
}

// mayStart returns how many of the reads, from the first on, ReadAt would do.
func (v *Volume) mayStart(reads []block.Read) (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.o.Vigil.Request()
	w := v.core.View(0)
	for n < len(reads) && w.Primary && reads[n].Off >= 0 && reads[n].Off <= w.Size-int64(len(reads[n].P)) {
		n++
	}
	return n
}

// ReadDone is the disk's answer. What has to wait, for the peer or the lease,
// waits in a goroutine of its own.
func (e *begun) ReadDone(err error) {
	if err == nil && e.v.readCounts(len(e.read.P)) {
		e.end(nil)
		return
	}
	go func() {
		if err != nil {
			err = e.v.readElsewhere(e.read.P, e.read.Off, err)
		} else {
			err = e.v.holdRead()
		}
		e.end(err)
	}()
}

func (e *begun) end(err error) {
	done := e.read.Done
	e.recycle()
	done.ReadDone(err)
}

func (e *begun) recycle() {
	*e = begun{}
	begunPool.Put(e)
}

// readCounts counts what was read and reports whether it may be answered now.
func (v *Volume) readCounts(n int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counters.read += int64(n)
	return v.core.MayRead(Now())
}

// holdRead waits until what was read may be answered.
func (v *Volume) holdRead() error {
	v.mu.Lock()
	id, err := v.core.Read(Now())
	return v.await("read", id, nil, err)
}
