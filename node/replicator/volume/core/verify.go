package core

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"gemel/node/block"
	"gemel/node/replicator/resync"
)

// A verify compares the replicas while both are in sync and the application goes
// on. It holds no range: a block that is written while its piece is compared
// proves nothing and is looked at again. A block that differs without that was
// changed by neither core: by a disk, a cable inside the box, or a hand.
//
// A repair copies such a block from Primary to Secondary like a piece of a
// resync, holding its range. The in-sync set and the Secondary's state stay as
// they are meanwhile. The set says who may be elected: without the Secondary in
// it the loss of the Primary would stop the service, for a block that was wrong
// for who knows how long and that is right in milliseconds. And no mixture of
// two times comes into being: what is written is the block as the Primary serves
// it now, ordered with the application's writes by its range, so the Secondary
// is at every moment at least as right as before. When the connection ends
// before the copy is acknowledged, the block is marked out of sync and the
// resync brings it.

// Sentinel refusals of Verify.
var (
	ErrNotInSync = errors.New("the nodes are not in sync")
	ErrVerifying = errors.New("a verify is under way")
	ErrNoVerify  = errors.New("no verify is under way")
)

// VerifyState is what of a verify outlives a restart and follows the Primary.
type VerifyState struct {
	Running, Repair, Paused bool
	Pos                     int64 // bytes; what lies in front was looked at
	MaxRate                 int64 // bytes per second, 0: no limit
	Found                   int64 // bytes that differed
}

// Limits of a verify.
const (
	checksMost  = 128 // pieces compared at once
	againMost   = 4096
	triesMost   = 50
	againAfter  = 100 * time.Millisecond
	foundMost   = 256 // ranges remembered
	noteEvery   = 10 * time.Second
	checkBlocks = maxExtent / block.Size
)

// verify is the Primary's work on the verify that c.meta.Verify tells of.
type verify struct {
	pace     *resync.Pace // nil until begun on this connection
	next     int64        // byte behind the last piece that was started
	checks   []check
	again    []recheck
	inFlight int64
	repairs  int // ranges being copied
	noted    time.Duration

	found                         []block.Range // in order, apart from each other
	more                          bool          // found is not complete
	repaired, skipped, unreadable int64
	problem                       string
}

// check is one piece being compared.
type check struct {
	q     *request
	r     block.Range
	tries int
	moved [checkBlocks / 64]uint64 // blocks that were written meanwhile
}

// recheck is a range whose comparison was disturbed.
type recheck struct {
	r     block.Range
	tries int
	due   time.Duration
}

// disturb notes that r is written while k compares.
func (k *check) disturb(r block.Range) {
	first := max((r.Off-k.r.Off)/block.Size, 0)
	end := min((r.End()-k.r.Off+block.Size-1)/block.Size, k.r.Len/block.Size)
	for i := first; i < end; i++ {
		k.moved[i/64] |= 1 << (i % 64)
	}
}

func (k *check) disturbed(off int64) bool {
	i := (off - k.r.Off) / block.Size
	return k.moved[i/64]&(1<<(i%64)) != 0
}

// disturb tells every check of a write that starts.
func (v *verify) disturb(r block.Range) {
	for i := range v.checks {
		if v.checks[i].r.Overlaps(r) {
			v.checks[i].disturb(r)
		}
	}
}

// VerifyStart begins a verify at byte from of the volume.
func (c *Core) VerifyStart(now time.Duration, from, maxRate int64, repair bool) error {
	if err := c.mayVerify(); err != nil {
		return err
	}
	s := &c.meta.Verify
	switch {
	case s.Running:
		return fmt.Errorf("%w at %d of %d bytes; stop it first", ErrVerifying, c.verifyPos(), c.meta.Size)
	case from < 0 || from >= c.meta.Size:
		return fmt.Errorf("byte %d is outside the volume of %d bytes", from, c.meta.Size)
	}
	c.dropChecks()
	c.verify = verify{noted: now, repairs: c.verify.repairs}
	*s = VerifyState{Running: true, Repair: repair, Pos: from / block.Size * block.Size, MaxRate: max(maxRate, 0)}
	c.noteVerify(now)
	c.pumpVerify(now)
	return nil
}

func (c *Core) mayVerify() error {
	switch {
	case !c.primary:
		return ErrNotPrimary
	case c.problem != nil:
		return c.problem
	case c.phase != inSync:
		return ErrNotInSync
	}
	return nil
}

// VerifyPause holds the verify.
func (c *Core) VerifyPause(now time.Duration) error {
	return c.changeVerify(now, func(s *VerifyState) { s.Paused = true })
}

// VerifyResume lets a held verify go on, with a new limit in bytes per second
// unless maxRate is 0; below 0 means no limit.
func (c *Core) VerifyResume(now time.Duration, maxRate int64) error {
	return c.changeVerify(now, func(s *VerifyState) {
		if s.Paused = false; maxRate != 0 {
			s.MaxRate = max(maxRate, 0)
		}
		if c.verify.pace != nil {
			c.verify.pace.SetLimits(resync.Limits{MaxRate: s.MaxRate, Window: c.cfg.Resync.Window})
		}
	})
}

// VerifyStop ends the verify where it is; what it found stays known.
func (c *Core) VerifyStop(now time.Duration) error {
	err := c.changeVerify(now, func(s *VerifyState) { s.Running, s.Paused = false, false })
	if err == nil {
		c.dropChecks()
	}
	return err
}

func (c *Core) changeVerify(now time.Duration, f func(*VerifyState)) error {
	switch {
	case !c.primary:
		return ErrNotPrimary
	case !c.meta.Verify.Running:
		return ErrNoVerify
	}
	c.meta.Verify.Pos = c.verifyPos()
	f(&c.meta.Verify)
	c.noteVerify(now)
	c.pumpVerify(now)
	return nil
}

// noteVerify puts the state on stable storage, here and at the peer, which may
// be the one that goes on.
func (c *Core) noteVerify(now time.Duration) {
	c.verify.noted = now
	c.persist()
	c.tellVerify()
	c.changed()
}

// showVerify tells a peer that has just come in sync.
func (c *Core) showVerify() {
	if c.meta.Verify != (VerifyState{}) {
		c.tellVerify()
	}
}

func (c *Core) tellVerify() {
	if c.phase == inSync {
		c.send(Msg{Kind: VerifyNote, Words: c.meta.Verify.Words()})
	}
}

// Words are the state as it travels.
func (s VerifyState) Words() []uint64 {
	flags := uint64(0)
	for i, set := range []bool{s.Running, s.Repair, s.Paused} {
		if set {
			flags |= 1 << i
		}
	}
	return []uint64{flags, uint64(s.Pos), uint64(s.MaxRate), uint64(s.Found)}
}

// verifyNoted takes the Primary's word at the Secondary.
func (c *Core) verifyNoted(now time.Duration, w []uint64) {
	if c.phase != inSync || len(w) != len(VerifyState{}.Words()) || w[0] > 7 || int64(w[1]) < 0 || int64(w[2]) < 0 || int64(w[3]) < 0 {
		c.disconnect(now, errors.New("the Primary's word of its verify does not belong here"))
		return
	}
	// Who ordered a repair took the blocks of that Primary for right. This replica,
	// should it be the one that goes on, only looks.
	s := VerifyState{Running: w[0]&1 != 0, Paused: w[0]&4 != 0,
		Pos: int64(w[1]), MaxRate: int64(w[2]), Found: int64(w[3])}
	if s != c.meta.Verify {
		c.meta.Verify = s
		c.persist()
		c.changed()
	}
}

// verifyPos is the byte in front of which everything was looked at.
func (c *Core) verifyPos() int64 {
	v := &c.verify
	if v.pace == nil || c.phase != inSync {
		return c.meta.Verify.Pos
	}
	pos := v.next
	for i := range v.checks {
		pos = min(pos, v.checks[i].r.Off)
	}
	for i := range v.again {
		pos = min(pos, v.again[i].r.Off)
	}
	return pos
}

// pumpVerify keeps the verify going.
func (c *Core) pumpVerify(now time.Duration) {
	s, v := &c.meta.Verify, &c.verify
	if !s.Running || s.Paused || !c.primary || c.phase != inSync || c.problem != nil {
		return
	}
	if v.pace == nil {
		s.Pos = min(s.Pos, c.meta.Size)
		v.next, v.noted = s.Pos, now
		v.pace = resync.NewPace(now, c.meta.Size-s.Pos, resync.Limits{MaxRate: s.MaxRate, Window: c.cfg.Resync.Window})
	}
	for len(v.checks) < checksMost {
		room := v.pace.Allow(now, v.inFlight, c.appBusy > 0)
		if room < block.Size || room < minExtent && v.inFlight > 0 {
			return
		}
		r, tries, ok := v.piece(now, min(room, c.cfg.Extent), c.meta.Size)
		if !ok {
			break
		}
		c.check(now, r, tries)
	}
	if len(v.checks)+len(v.again)+v.repairs == 0 && v.next >= c.meta.Size {
		s.Running, s.Pos = false, c.meta.Size
		c.noteVerify(now)
	} else if now-v.noted >= noteEvery {
		s.Pos = c.verifyPos()
		c.noteVerify(now)
	}
}

// piece returns what to compare next, at most limit bytes of a volume of size,
// and how often it was looked at before.
func (v *verify) piece(now time.Duration, limit, size int64) (block.Range, int, bool) {
	for i := range v.again {
		if a := v.again[i]; a.due <= now {
			v.again = slices.Delete(v.again, i, i+1)
			return a.r, a.tries, true
		}
	}
	if v.next >= size || len(v.again) >= againMost {
		return block.Range{}, 0, false
	}
	r := block.Range{Off: v.next, Len: min(limit/block.Size*block.Size, size-v.next)}
	v.next = r.End()
	return r, 0, true
}

// check begins to compare r.
func (c *Core) check(now time.Duration, r block.Range, tries int) {
	v := &c.verify
	q := c.alloc(checking, r)
	q.sums, q.inLocal, q.asking, q.pending, q.since = true, true, true, true, now
	c.local++
	k := check{q: q, r: r, tries: tries}
	for _, a := range c.active {
		k.disturb(a.r)
	}
	if c.dirty.Bytes() > 0 { // the peer may lack what is marked
		for off := r.Off; off < r.End(); off += block.Size {
			if b := (block.Range{Off: off, Len: block.Size}); c.dirty.All(b) {
				k.disturb(b)
			}
		}
	}
	v.checks = append(v.checks, k)
	v.inFlight += r.Len
	v.pace.Started(r.Len)
	c.send(Msg{Kind: Ask, ID: uint64(q.id), Range: r})
	c.emit(Action{Kind: Digest, ID: q.id, Range: r})
}

// checked takes what differs in a piece. Only blocks that nobody wrote since it
// was begun say anything.
func (c *Core) checked(now time.Duration, q *request, differ []block.Range) {
	k := c.endCheck(now, q)
	for _, r := range differ {
		for off := r.Off; off < r.End(); {
			run := block.Range{Off: off}
			for ; off < r.End() && !k.disturbed(off); off += block.Size {
				run.Len += block.Size
			}
			if run.Len > 0 {
				c.different(now, run)
			} else {
				off += block.Size
			}
		}
	}
	c.recheck(now, &k)
}

// endCheck takes q off the list.
func (c *Core) endCheck(now time.Duration, q *request) check {
	v := &c.verify
	i := slices.IndexFunc(v.checks, func(k check) bool { return k.q == q })
	k := v.checks[i]
	last := len(v.checks) - 1
	v.checks[i] = v.checks[last]
	v.checks[last] = check{}
	v.checks = v.checks[:last]
	v.inFlight -= q.r.Len
	v.pace.Delivered(now, q.r.Len)
	q.completed = true
	c.finish(q)
	return k
}

// recheck lines up what was written meanwhile, to be looked at again.
func (c *Core) recheck(now time.Duration, k *check) {
	r := k.r
	for off := r.Off; off < r.End(); {
		run := block.Range{Off: off}
		for ; off < r.End() && k.disturbed(off); off += block.Size {
			run.Len += block.Size
		}
		switch {
		case run.Len == 0:
			off += block.Size
		case k.tries+1 >= triesMost:
			c.verify.skipped += run.Len
		default:
			c.verify.again = append(c.verify.again, recheck{r: run, tries: k.tries + 1, due: now + againAfter})
		}
	}
}

// different records that the replicas differ in r.
func (c *Core) different(now time.Duration, r block.Range) {
	c.meta.Verify.Found += c.verify.list(r)
	if c.meta.Verify.Repair {
		c.repair(now, r)
	}
	c.changed()
}

// list adds r to what was found and returns how many bytes of it are new: a
// piece is looked at twice when the connection was lost meanwhile.
func (v *verify) list(r block.Range) int64 {
	i := 0
	for i < len(v.found) && v.found[i].End() < r.Off {
		i++
	}
	j, known, joined := i, int64(0), r
	for ; j < len(v.found) && v.found[j].Off <= r.End(); j++ {
		f := v.found[j]
		known += max(min(f.End(), r.End())-max(f.Off, r.Off), 0)
		off := min(joined.Off, f.Off)
		joined = block.Range{Off: off, Len: max(joined.End(), f.End()) - off}
	}
	if i == j && len(v.found) >= foundMost {
		v.more = true
		return r.Len
	}
	v.found = slices.Replace(v.found, i, j, joined)
	return r.Len - known
}

// repair copies r to the Secondary.
func (c *Core) repair(now time.Duration, r block.Range) {
	q := c.alloc(copying, r)
	q.repair = true
	c.verify.repairs++
	c.submit(now, q)
}

func (c *Core) repaired(q *request) {
	c.verify.repairs--
	if !q.again {
		c.verify.repaired += q.r.Len
	}
	c.changed()
}

// repairFailed: the Primary cannot read the block now; nothing was changed.
func (c *Core) repairFailed(now time.Duration, q *request) {
	c.verify.repairs--
	c.verify.unreadable += q.r.Len
	c.verify.problem = fmt.Sprintf("%d bytes at %d cannot be read on the Primary, so they were not repaired: %v", q.r.Len, q.r.Off, q.err)
	c.settle(now, q)
	c.finish(q)
	c.changed()
}

// checkFailed: one side cannot read its blocks. The Secondary's are written anew
// by a repair; the Primary's have no better copy that is known to be right.
func (c *Core) checkFailed(now time.Duration, q *request) {
	v, own := &c.verify, q.err
	if own != nil {
		v.problem = fmt.Sprintf("%d bytes at %d cannot be read on the Primary: %v; its next read of them is answered by the peer and mends them", q.r.Len, q.r.Off, own)
	} else {
		v.problem = fmt.Sprintf("%d bytes at %d cannot be read on the Secondary; a verify with repair writes them anew", q.r.Len, q.r.Off)
	}
	v.unreadable += q.r.Len
	r := q.r
	c.endCheck(now, q)
	if own == nil && c.meta.Verify.Repair {
		c.repair(now, r)
	}
	c.changed()
	c.pumpVerify(now)
}

// dropChecks gives up what is being compared.
func (c *Core) dropChecks() {
	v := &c.verify
	for i := range v.checks {
		q := v.checks[i].q
		q.asking, q.pending, q.completed = false, false, true
		c.finish(q)
	}
	clear(v.checks)
	v.checks, v.again, v.inFlight, v.pace = v.checks[:0], v.again[:0], 0, nil
}

// pauseChecks remembers how far the verify came, when the connection ends.
func (c *Core) pauseChecks() {
	if c.primary && c.meta.Verify.Running {
		c.meta.Verify.Pos = c.verifyPos()
	}
	c.dropChecks()
	c.verify.repairs = 0 // given up with everything that was under way
}

// impatient reports whether the peer keeps an answer too long.
func (c *Core) impatient(now time.Duration) bool {
	for i := range c.verify.checks {
		if q := c.verify.checks[i].q; q.asking && now-q.since > c.cfg.WriteTimeout {
			return true
		}
	}
	return false
}

// Verification is what the core shows of a verify; ranges are a copy.
type Verification struct {
	VerifyState
	Total, Rate                   int64
	ETA                           time.Duration
	Waiting                       string // why it does not go on; empty when it does, or is over
	Repaired, Skipped, Unreadable int64
	Ranges                        []block.Range // what was found, in order; the Primary's only
	More                          bool          // Ranges is not complete
	Problem                       string
}

// Verification returns the last verify; false when there was none.
func (c *Core) Verification(now time.Duration) (Verification, bool) {
	v := &c.verify
	o := Verification{VerifyState: c.meta.Verify, Total: c.meta.Size, Repaired: v.repaired, Skipped: v.skipped,
		Unreadable: v.unreadable, Ranges: slices.Clone(v.found), More: v.more, Problem: v.problem}
	if o.VerifyState == (VerifyState{}) {
		return o, false
	}
	if c.primary && o.Running {
		o.Pos = c.verifyPos()
		if v.pace != nil && !o.Paused {
			_, _, o.Rate, o.ETA = v.pace.Progress(now)
		}
	}
	switch {
	case !o.Running:
	case o.Paused:
		o.Waiting = "paused by an operator"
	case c.primary && c.phase != inSync:
		o.Waiting = "the nodes are not in sync"
	case !c.primary && c.phase != inSync:
		o.Waiting = "the Primary is not connected"
	}
	return o, true
}
