// Package faults is the list of what is wrong with a simulated disk: which requests
// it refuses, which bytes it returns wrong, how slow it is. It does no I/O and waits
// for nothing; the disk asks it and acts. Every fault can be healed.
package faults

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"gemel/lab/drive/extent"
)

// SectorSize is the unit of bad and corrupt places, in bytes.
const SectorSize = 512

// Kind is what can be wrong.
type Kind string

// Kinds of faults.
const (
	BadSector   Kind = "bad-sector"   // requests that touch the range fail; of reads alone: until it is written
	Corrupt     Kind = "corrupt"      // reads return one wrong bit in each sector of the range, until it is written
	Misdirected Kind = "misdirected"  // writes into the range land elsewhere; what they hit there stays hit
	Slow        Kind = "slow"         // everything takes longer
	Stuck       Kind = "stuck"        // no request is answered until it is healed
	Gone        Kind = "gone"         // every request fails at once
	FullCache   Kind = "full-cache"   // the cache absorbs nothing: a write ends on the platter
	LyingFlush  Kind = "lying-flush"  // a flush is answered at once and does nothing
	BadFlush    Kind = "failed-flush" // a flush fails; what was to be flushed stays in the cache
)

// Kinds returns all of them.
func Kinds() []Kind {
	return []Kind{BadSector, Corrupt, Misdirected, Slow, Stuck, Gone, FullCache, LyingFlush, BadFlush}
}

// Access says which requests a bad sector hits.
type Access string

// Accesses.
const (
	Reads  Access = "read"
	Writes Access = "write"
	Both   Access = "both"
)

// What callers decide on.
var (
	ErrBadSector = errors.New("bad sector")
	ErrGone      = errors.New("the disk is gone")
	ErrBadFlush  = errors.New("the cache could not be written")
	ErrInvalid   = errors.New("no such fault")
)

// Fault is one thing that is wrong.
type Fault struct {
	ID   int  `json:"id"` // given by Add
	Kind Kind `json:"kind"`
	// Off and Len are the range in bytes, multiples of SectorSize; of bad-sector,
	// corrupt and misdirected.
	Off int64  `json:"off,omitempty"`
	Len int64  `json:"len,omitempty"`
	On  Access `json:"on,omitempty"` // of bad-sector; empty: both
	// Factor multiplies every duration, Latency is added to every request; of slow.
	Factor  float64       `json:"factor,omitempty"`
	Latency time.Duration `json:"latency_ns,omitempty"`
	By      int64         `json:"by,omitempty"`   // bytes; of misdirected
	Seed    uint64        `json:"seed,omitempty"` // chooses the wrong bits; of corrupt
}

func (f Fault) ranged() bool {
	return f.Kind == BadSector || f.Kind == Corrupt || f.Kind == Misdirected
}

func (f Fault) touches(off, n int64) bool { return off < f.Off+f.Len && f.Off < off+n }

func (f Fault) String() string {
	switch f.Kind {
	case BadSector:
		return fmt.Sprintf("%s at %d+%d (%s)", f.Kind, f.Off, f.Len, f.On)
	case Corrupt:
		return fmt.Sprintf("%s at %d+%d", f.Kind, f.Off, f.Len)
	case Misdirected:
		return fmt.Sprintf("%s at %d+%d by %d", f.Kind, f.Off, f.Len, f.By)
	case Slow:
		return fmt.Sprintf("%s: %g times as long, and %v", f.Kind, f.Factor, f.Latency)
	}
	return string(f.Kind)
}

// Set is the faults of one disk. It is safe for several goroutines.
type Set struct {
	size int64 // of the disk in bytes

	mu      sync.Mutex
	last    int
	list    []Fault
	corrupt extent.Map[Fault]
	// unreadable is what a write makes good again: a disk takes a spare sector then.
	unreadable extent.Map[Fault]
}

// New returns the faults of a disk of size bytes that is well.
func New(size int64) *Set { return &Set{size: size} }

// Add makes the disk worse and returns the fault with its number; ErrInvalid with
// the reason when there is no such fault.
func (s *Set) Add(f Fault) (Fault, error) {
	if err := s.check(&f); err != nil {
		return Fault{}, fmt.Errorf("%q: %w", f.Kind, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	f.ID = s.last
	s.list = append(s.list, f)
	switch {
	case f.Kind == Corrupt:
		s.corrupt.Put(f.Off, f.Len, f)
	case f.Kind == BadSector && f.On == Reads:
		s.unreadable.Put(f.Off, f.Len, f)
	}
	return f, nil
}

// check refuses what is no fault, and fills in what may be left out.
func (s *Set) check(f *Fault) error {
	if !slices.Contains(Kinds(), f.Kind) {
		return fmt.Errorf("%w; there are %v", ErrInvalid, Kinds())
	}
	if f.ranged() && !s.holds(f.Off, f.Len) {
		return fmt.Errorf("%w: it needs a range of whole sectors of %d bytes within the disk's %d",
			ErrInvalid, SectorSize, s.size)
	}
	switch f.Kind {
	case BadSector:
		f.On = cmp.Or(f.On, Both)
		if f.On != Reads && f.On != Writes && f.On != Both {
			return fmt.Errorf("%w: on: read, write or both", ErrInvalid)
		}
	case Slow:
		f.Factor = cmp.Or(f.Factor, 1)
		if !f.slows() {
			return fmt.Errorf("%w: it needs a factor from 1 to 1000000 or a latency up to 1h", ErrInvalid)
		}
	case Misdirected:
		if f.By == 0 || f.By%4096 != 0 || !s.holds(f.Off+f.By, f.Len) {
			return fmt.Errorf("%w: by: a multiple of 4096 that stays within the disk", ErrInvalid)
		}
	}
	return nil
}

// holds reports whether a range is of whole sectors of the disk, at least one.
func (s *Set) holds(off, n int64) bool {
	return off >= 0 && n >= SectorSize && off%SectorSize == 0 && n%SectorSize == 0 && off <= s.size-n
}

// slows reports whether a slow disk is slow, and not beyond all measure.
func (f Fault) slows() bool {
	if f.Factor < 1 || f.Factor > 1e6 || f.Latency < 0 || f.Latency > time.Hour {
		return false
	}
	return f.Factor > 1 || f.Latency > 0
}

// Heal takes one fault away; false when there is none with this number.
func (s *Set) Heal(id int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.list, func(f Fault) bool { return f.ID == id })
	if at < 0 {
		return false
	}
	s.list = slices.Delete(s.list, at, at+1)
	s.corrupt, s.unreadable = s.kept(&s.corrupt), s.kept(&s.unreadable)
	return true
}

// HealAll takes every fault away and returns what there was.
func (s *Set) HealAll() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	healed := s.list
	s.list = nil
	s.corrupt.Clear()
	s.unreadable.Clear()
	return healed
}

// kept returns of the places those whose fault is still there.
func (s *Set) kept(places *extent.Map[Fault]) extent.Map[Fault] {
	var kept extent.Map[Fault]
	for i := range places.Count() {
		e := places.At(i)
		if slices.ContainsFunc(s.list, func(f Fault) bool { return f.ID == e.Value.ID }) {
			kept.Put(e.Off, e.Len, e.Value)
		}
	}
	return kept
}

// List returns the faults in the order they came.
func (s *Set) List() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// Has reports whether the disk has a fault of a kind that concerns all of it.
func (s *Set) Has(kind Kind) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.list, func(f Fault) bool { return f.Kind == kind })
}

// Slowness returns by what every duration is multiplied and what is added: the
// factors of all faults multiplied, their latencies added.
func (s *Set) Slowness() (factor float64, latency time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	factor = 1
	for _, f := range s.list {
		if f.Kind == Slow {
			factor *= f.Factor
			latency += f.Latency
		}
	}
	return factor, latency
}

// Refusal returns why a request on a range fails; nil when it does not.
func (s *Set) Refusal(access Access, off, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.list {
		if f.Kind == Gone {
			return ErrGone
		}
		if f.Kind == BadSector && (f.On == Both || f.On == access && access == Writes) && f.touches(off, n) {
			return fmt.Errorf("%s of %d+%d: %w at %d+%d", access, off, n, ErrBadSector, f.Off, f.Len)
		}
	}
	var err error
	if access == Reads {
		s.unreadable.Within(off, n, func(e extent.Extent[Fault]) {
			err = fmt.Errorf("read of %d+%d: %w at %d+%d", off, n, ErrBadSector, e.Off, e.Len)
		})
	}
	return err
}

// Target returns where a write at off really lands.
func (s *Set) Target(off, n int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.list {
		if f.Kind == Misdirected && off >= f.Off && off+n <= f.Off+f.Len {
			return off + f.By
		}
	}
	return off
}

// Spoil turns bits of what was read from off where it is corrupt.
func (s *Set) Spoil(p []byte, off int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.corrupt.Within(off, int64(len(p)), func(e extent.Extent[Fault]) {
		for sector := e.Off / SectorSize; sector < e.End()/SectorSize; sector++ {
			bit := mix(e.Value.Seed, uint64(sector)) % (SectorSize * 8)
			p[sector*SectorSize-off+int64(bit/8)] ^= 1 << (bit % 8)
		}
	})
}

// Written says that a range holds what was written to it: it can be read, and is
// corrupt no more. The fault stays in the list until it is healed.
func (s *Set) Written(off, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.corrupt.Count() > 0 {
		s.corrupt.Remove(off, n)
	}
	if s.unreadable.Count() > 0 {
		s.unreadable.Remove(off, n)
	}
}

// mix is splitmix64: the same wrong bit of a sector for the same seed.
func mix(seed, n uint64) uint64 {
	x := seed + (n+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
