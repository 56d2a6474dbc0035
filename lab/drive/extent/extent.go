// Package extent is a sorted set of byte ranges with a value each, in which what
// is put later replaces what it covers. The simulated drive keeps the content of
// its cache in one. It is not safe for several goroutines, and no interval tree:
// it is a sorted slice, made for some thousand ranges.
package extent

import "sort"

// Extent is one range. A part of an extent keeps the whole's value, so a value that
// depends on the offset must remember the offset it was put at.
type Extent[V any] struct {
	Off   int64 // bytes
	Len   int64 // bytes, at least 1
	Value V
}

// End returns the first byte behind the extent.
func (e Extent[V]) End() int64 { return e.Off + e.Len }

// Map holds extents that do not overlap, in order of their offsets.
type Map[V any] struct {
	list  []Extent[V]
	bytes int64
}

// Count returns the number of extents.
func (m *Map[V]) Count() int { return len(m.list) }

// Bytes returns how many bytes the extents cover.
func (m *Map[V]) Bytes() int64 { return m.bytes }

// At returns the extent at a position from 0 to Count()-1, in order of offsets.
func (m *Map[V]) At(i int) Extent[V] { return m.list[i] }

// From returns the position of the first extent that ends behind off, or Count().
func (m *Map[V]) From(off int64) int {
	return sort.Search(len(m.list), func(i int) bool { return m.list[i].End() > off })
}

// Put makes [off, off+n) one extent with the given value; n is at least 1.
func (m *Map[V]) Put(off, n int64, value V) {
	m.Remove(off, n)
	at := m.From(off)
	m.list = append(m.list, Extent[V]{})
	copy(m.list[at+1:], m.list[at:])
	m.list[at] = Extent[V]{Off: off, Len: n, Value: value}
	m.bytes += n
}

// Remove takes [off, off+n) out; extents that reach over an end keep what is outside.
func (m *Map[V]) Remove(off, n int64) {
	first, end := m.From(off), off+n
	last := first
	var kept [2]Extent[V]
	count := 0
	for ; last < len(m.list) && m.list[last].Off < end; last++ {
		e := m.list[last]
		m.bytes -= e.Len
		if e.Off < off {
			kept[count] = Extent[V]{Off: e.Off, Len: off - e.Off, Value: e.Value}
			m.bytes += kept[count].Len
			count++
		}
		if e.End() > end {
			kept[count] = Extent[V]{Off: end, Len: e.End() - end, Value: e.Value}
			m.bytes += kept[count].Len
			count++
		}
	}
	m.replace(first, last, kept[:count])
}

// replace puts the kept ends in the place of the extents [first, last).
func (m *Map[V]) replace(first, last int, kept []Extent[V]) {
	grow := len(kept) - (last - first)
	if grow > 0 { // a hole in the middle of one extent
		m.list = append(m.list, Extent[V]{})
		copy(m.list[last+grow:], m.list[last:])
	} else if grow < 0 {
		tail := len(m.list) + grow
		copy(m.list[last+grow:], m.list[last:])
		clear(m.list[tail:]) // so that the values can go
		m.list = m.list[:tail]
	}
	copy(m.list[first:], kept)
}

// Within calls do with the parts of extents that lie in [off, off+n), in order.
func (m *Map[V]) Within(off, n int64, do func(Extent[V])) {
	end := off + n
	for i := m.From(off); i < len(m.list) && m.list[i].Off < end; i++ {
		e := m.list[i]
		from, to := max(e.Off, off), min(e.End(), end)
		do(Extent[V]{Off: from, Len: to - from, Value: e.Value})
	}
}

// Covers reports whether every byte of [off, off+n) is in some extent.
func (m *Map[V]) Covers(off, n int64) bool {
	var covered int64
	m.Within(off, n, func(e Extent[V]) { covered += e.Len })
	return covered == n
}

// Clear takes everything out.
func (m *Map[V]) Clear() {
	clear(m.list)
	m.list, m.bytes = m.list[:0], 0
}
