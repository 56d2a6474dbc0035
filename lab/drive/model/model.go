package model

import (
	"time"

	"gemel/node/block"
)

// piece is the most a platter writes before it looks again what is nearest.
const piece = 64 << 10

// Model is a disk in time. Times are since any one moment; the time given to its
// methods must not run backwards. It is not safe for several goroutines.
type Model struct {
	params   Params
	slow     float64 // every duration is multiplied with it; 1 when well
	full     bool    // the cache absorbs nothing
	platters []*platter
	bus      time.Duration // busy until
	landed   []block.Range // since the last Advance
	told     []block.Range // what it returned
}

// New returns a disk at rest at time 0. The parameters must come from Parse or Named.
func New(params Params) *Model {
	m := &Model{params: params, slow: 1}
	for range params.Platters {
		m.platters = append(m.platters, &platter{model: m})
	}
	return m
}

// SetSlow makes everything take factor times as long; 1 is well.
func (m *Model) SetSlow(factor float64) { m.slow = factor }

// SetFull makes the cache absorb nothing more: a write ends on the platter.
func (m *Model) SetFull(full bool) { m.full = full }

// SetFlush changes what a flush does.
func (m *Model) SetFlush(flush Flush) { m.params.Flush = flush }

// Params returns the parameters with what was set since.
func (m *Model) Params() Params { return m.params }

// Forget empties the caches: the disk lost its power.
func (m *Model) Forget(now time.Duration) {
	for _, p := range m.platters {
		*p = platter{model: m, clock: now}
	}
	m.bus, m.landed = now, nil
}

// Advance returns the ranges that have reached a platter since the last call. The
// slice is valid until the next call.
func (m *Model) Advance(now time.Duration) []block.Range {
	m.advance(now)
	landed := m.landed
	m.landed, m.told = m.told[:0], landed
	return landed
}

func (m *Model) advance(now time.Duration) {
	for i, p := range m.platters {
		p.advance(now, func(off, n int64) { m.land(i, off, n) })
	}
}

// Write says when a write that arrives now is complete; it is cached from now on.
func (m *Model) Write(now time.Duration, off, n int64) time.Duration {
	m.advance(now)
	done := m.transfer(now, n)
	m.stripe(off, n, func(p *platter, off, n int64) { done = max(done, p.write(now, off, n)) })
	return done + m.scaled(m.params.Latency)
}

// Read says when a read that arrives now is complete.
func (m *Model) Read(now time.Duration, off, n int64) time.Duration {
	m.advance(now)
	done := m.transfer(now, n)
	m.stripe(off, n, func(p *platter, off, n int64) { done = max(done, p.read(now, off, n)) })
	return done + m.scaled(m.params.Latency)
}

// Flush says when a flush that arrives now is answered.
func (m *Model) Flush(now time.Duration) time.Duration {
	m.advance(now)
	done := now
	if m.params.Flush == Honoured {
		for _, p := range m.platters {
			done = max(done, p.flush())
		}
	}
	return done + m.scaled(m.params.Latency)
}

// Cached returns how many bytes wait in the caches.
func (m *Model) Cached() int64 {
	var bytes int64
	for _, p := range m.platters {
		bytes += p.cached()
	}
	return bytes
}

// transfer takes the bus for n bytes.
func (m *Model) transfer(now time.Duration, n int64) time.Duration {
	m.bus = max(m.bus, now) + m.span(n, m.params.BusRate)
	return m.bus
}

// cacheSize returns how much one platter's cache absorbs now.
func (m *Model) cacheSize() int64 {
	if m.full {
		return 0
	}
	return int64(m.params.Cache)
}

// span returns how long n bytes take at a rate.
func (m *Model) span(n int64, rate Rate) time.Duration {
	if rate == 0 {
		return 0
	}
	return m.scaled(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
}

func (m *Model) scaled(d time.Duration) time.Duration {
	if m.slow == 1 {
		return d
	}
	return time.Duration(float64(d) * m.slow)
}

// stripe calls do with each part of a range that lies on one platter, in the
// platter's own offsets.
func (m *Model) stripe(off, n int64, do func(p *platter, off, n int64)) {
	chunk, count := int64(m.params.Chunk), int64(m.params.Platters)
	if count == 1 {
		do(m.platters[0], off, n)
		return
	}
	for n > 0 {
		number, within := off/chunk, off%chunk
		part := min(n, chunk-within)
		do(m.platters[number%count], number/count*chunk+within, part)
		off, n = off+part, n-part
	}
}

// land notes that a range of a platter has been written, in the disk's offsets.
func (m *Model) land(index int, off, n int64) {
	chunk, count := int64(m.params.Chunk), int64(m.params.Platters)
	if count == 1 {
		m.landed = append(m.landed, block.Range{Off: off, Len: n})
		return
	}
	for n > 0 {
		number, within := off/chunk, off%chunk
		part := min(n, chunk-within)
		m.landed = append(m.landed, block.Range{Off: (number*count+int64(index))*chunk + within, Len: part})
		off, n = off+part, n-part
	}
}
