package model

import (
	"time"

	"gemel/lab/drive/extent"
)

// track is how far behind the head its buffer still knows what it read.
const track = 2 << 20

// platter is one disk of the stripe: a head that is somewhere, a cache in front of
// it, a link to the cache. Reads go before cached writes, but not before all of
// them: above half full, a piece of the cache goes first.
type platter struct {
	model   *Model
	queue   extent.Map[struct{}] // cached, not yet begun
	current struct{ off, n int64 }
	finish  time.Duration // when current is written
	clock   time.Duration // up to where the medium's time is used
	reading time.Duration // the medium reads until then
	link    time.Duration // the link is busy until then
	head    int64         // where the head is when all begun work is done
	passed  int64         // where the head began to read in a row: [passed, head) is buffered
	owed    int64         // bytes a disk that holds back must write for a flush
}

func (p *platter) cached() int64 { return p.queue.Bytes() + p.current.n }

// advance writes cached pieces until now.
func (p *platter) advance(now time.Duration, landed func(off, n int64)) {
	for {
		if p.current.n == 0 && !p.begin(now) {
			p.clock = max(p.clock, now)
			return
		}
		if p.finish > now {
			return
		}
		p.clock = p.finish
		landed(p.current.off, p.current.n)
		p.owed = max(0, p.owed-p.current.n)
		p.current.n = 0
	}
}

// begin takes up the next piece; false when there is none to write before now ends.
func (p *platter) begin(now time.Duration) bool {
	p.clock = max(p.clock, p.reading)
	if p.queue.Count() == 0 || p.clock > now || !p.due() {
		return false
	}
	p.takeUp()
	return true
}

// due reports whether anything has to be written: always, unless the disk holds back.
func (p *platter) due() bool {
	return !p.model.params.HoldBack || p.owed > 0 || p.queue.Bytes() > p.model.cacheSize()
}

// takeUp begins the piece that is next in the head's direction.
func (p *platter) takeUp() {
	at := p.next(p.head)
	e := p.queue.At(at)
	p.current.off, p.current.n = e.Off, min(e.Len, piece)
	p.finish = p.clock + p.cost(p.head, e.Off, p.current.n)
	p.queue.Remove(p.current.off, p.current.n)
	p.head = p.current.off + p.current.n
	p.passed = p.head
}

// next returns the position of the first extent at or behind the head, or of the
// first of all: the head sweeps in one direction.
func (p *platter) next(head int64) int {
	at := p.queue.From(head)
	if at == p.queue.Count() {
		return 0
	}
	return at
}

// cost is the time to go from one place to another and to write or read n bytes
// there. What lies a little ahead is not sought: it comes by.
func (p *platter) cost(from, to, n int64) time.Duration {
	return p.position(from, to) + p.model.span(n, p.model.params.PlatterRate)
}

func (p *platter) position(from, to int64) time.Duration {
	if from == to {
		return 0
	}
	seek := p.model.scaled(p.model.params.Seek)
	if to > from && p.model.params.PlatterRate > 0 {
		return min(seek, p.model.span(to-from, p.model.params.PlatterRate))
	}
	return seek
}

// write caches a range and says when there was room for it.
func (p *platter) write(now time.Duration, off, n int64) time.Duration {
	p.link = max(p.link, now) + p.model.span(n, p.model.params.BurstRate)
	p.queue.Put(off, n, struct{}{})
	excess := p.cached() - p.model.cacheSize()
	if excess <= 0 {
		return p.link
	}
	return max(p.link, p.drained(excess))
}

// drained says when the first n cached bytes will be on the platter.
func (p *platter) drained(n int64) time.Duration {
	at := max(p.clock, p.reading)
	if p.current.n > 0 {
		at, n = max(at, p.finish), n-p.current.n
	}
	if p.queue.Count() == 0 {
		return at
	}
	head := p.head
	index := p.next(head)
	for range p.queue.Count() {
		if n <= 0 {
			break
		}
		e := p.queue.At(index)
		part := min(n, e.Len)
		at += p.cost(head, e.Off, part)
		head, n = e.End(), n-part
		index = (index + 1) % p.queue.Count()
	}
	return at
}

// flush says when everything cached now will be on the platter.
func (p *platter) flush() time.Duration {
	p.owed = p.cached()
	if p.owed == 0 {
		return 0
	}
	return p.drained(p.owed)
}

func (p *platter) read(now time.Duration, off, n int64) time.Duration {
	p.link = max(p.link, now) + p.model.span(n, p.model.params.BurstRate)
	buffered := off >= p.passed && off+n <= p.head
	if buffered || p.queue.Covers(off, n) {
		// What the head is still on its way to is there when it has been.
		if buffered {
			return max(p.link, min(p.reading, now+p.model.span(p.head-off, p.model.params.PlatterRate)))
		}
		return p.link
	}
	if p.current.n == 0 && p.queue.Bytes() > p.model.cacheSize()/2 && p.due() {
		p.clock = max(p.clock, p.reading)
		p.takeUp()
	}
	start := max(now, p.reading)
	if p.current.n > 0 {
		start = max(start, p.finish)
	}
	p.reading = start + p.cost(p.head, off, n)
	p.remember(off, n)
	return max(p.link, p.reading)
}

// remember moves the head behind what it read, and keeps what came by on the way.
func (p *platter) remember(off, n int64) {
	if ahead := off - p.head; ahead < 0 || ahead > track {
		p.passed = off
	}
	p.head = off + n
	p.passed = max(p.passed, p.head-track)
}
