package core

import (
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/activity"
)

// written has a Primary alone, of 512 extents, of which all are discarded, as mkfs
// does, and then 20 written now and then for a minute. It returns what a crash
// would have to resync because of the log.
func written(t *testing.T, idle time.Duration) (named int, transactions uint64) {
	const extents, perExtent = 512, 8
	a := arbiter.Accepted{Epoch: 2, Version: 1, Set: 1}
	c := New(Config{Usable: extents * perExtent * block.Size, Seed: 1, LogExtent: perExtent * block.Size, LogIdle: idle, PageWords: 8},
		Meta{Created: true, Inconsistent: true}, nil, arbiter.Record{Promised: 2, Accepted: a})
	r := &rig{t: t, c: c, done: map[ID]error{}, persist: true}
	r.run()
	if _, err := c.Promote(0, a, true); err != nil {
		t.Fatal(err)
	}
	r.run()
	write := func(off, blocks int64) {
		id := r.write(off, blocks)
		r.localDone(id)
		if !r.completed(id) {
			t.Fatalf("the write at %d does not complete", off)
		}
	}
	for e := range int64(extents) {
		write(e*perExtent, perExtent)
	}
	for tick := range 600 {
		r.now += 100 * time.Millisecond
		write(int64(tick%20)*perExtent+int64(tick%perExtent), 1)
		c.Tick(r.now)
		r.run()
	}
	return c.hot.log.Held(), c.hot.log.Number()
}

func TestIdleExtentsLeaveTheLog(t *testing.T) {
	before, _ := written(t, 24*time.Hour)
	after, transactions := written(t, 0)
	t.Logf("a minute after a discard of all: the log names %d extents of 512, %d when they stay; %d transactions", after, before, transactions)
	if before != 512 || after != 20 {
		t.Errorf("%d extents are named, %d when they stay", after, before)
	}
	if most := uint64(512 + 512/activity.UpdatesMost + 32); transactions > most {
		t.Errorf("%d transactions, at most %d are expected", transactions, most)
	}
}
