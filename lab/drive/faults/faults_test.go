package faults

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

const size = 1 << 20

func add(t *testing.T, s *Set, f Fault) Fault {
	t.Helper()
	f, err := s.Add(f)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestBadSectors(t *testing.T) {
	s := New(size)
	read := add(t, s, Fault{Kind: BadSector, Off: 4096, Len: 512, On: Reads})
	add(t, s, Fault{Kind: BadSector, Off: 8192, Len: 512, On: Writes})
	add(t, s, Fault{Kind: BadSector, Off: 16384, Len: 512})
	for _, c := range []struct {
		access Access
		off, n int64
		bad    bool
	}{
		{Reads, 4096, 4096, true}, {Writes, 4096, 4096, false}, {Reads, 0, 4096, false}, {Reads, 0, 8192, true},
		{Writes, 8192, 4096, true}, {Reads, 8192, 4096, false}, {Reads, 16384, 4096, true}, {Writes, 16384, 4096, true},
		{Reads, 20480, 4096, false},
	} {
		if err := s.Refusal(c.access, c.off, c.n); errors.Is(err, ErrBadSector) != c.bad {
			t.Errorf("%s of %d+%d: %v, want bad: %v", c.access, c.off, c.n, err, c.bad)
		}
	}
	s.Written(0, 4096)
	if s.Refusal(Reads, 4096, 4096) == nil {
		t.Error("a write beside the unreadable sector made it good")
	}
	s.Written(4096, 4096)
	if err := s.Refusal(Reads, 4096, 4096); err != nil {
		t.Errorf("an unreadable sector that was written anew: %v", err)
	}
	again := add(t, s, Fault{Kind: BadSector, Off: 4096, Len: 512, On: Reads})
	if s.Refusal(Reads, 4096, 4096) == nil || !s.Heal(again.ID) {
		t.Error("the second fault at the same place does nothing")
	}
	if !s.Heal(read.ID) || s.Heal(read.ID) || s.Refusal(Reads, 4096, 4096) != nil {
		t.Error("the healed sector is still bad, or was healed twice")
	}
}

func TestCorruptUntilWrittenOrHealed(t *testing.T) {
	s := New(size)
	f := add(t, s, Fault{Kind: Corrupt, Off: 4096, Len: 8192, Seed: 7})
	clean := make([]byte, 16384)
	first, again := spoiled(s), spoiled(s)
	if !bytes.Equal(first, again) {
		t.Error("the same place is wrong in another way at the second look")
	}
	for sector := range len(first) / SectorSize {
		got := bits(first[sector*SectorSize : (sector+1)*SectorSize])
		want := 0
		if sector >= 8 && sector < 24 {
			want = 1
		}
		if got != want {
			t.Errorf("sector %d has %d wrong bits, want %d", sector, got, want)
		}
	}
	s.Written(4096, 4096)
	if got := bits(spoiled(s)); got != 8 {
		t.Errorf("%d wrong bits after half was written, want 8", got)
	}
	add(t, s, Fault{Kind: Corrupt, Off: 0, Len: 512})
	s.Heal(f.ID)
	if got := bits(spoiled(s)); got != 1 {
		t.Errorf("%d wrong bits after healing one fault of two, want 1", got)
	}
	if healed := s.HealAll(); len(healed) != 1 || !bytes.Equal(spoiled(s), clean) {
		t.Errorf("healed %v, and bits are still wrong", healed)
	}
}

func spoiled(s *Set) []byte {
	p := make([]byte, 16384)
	s.Spoil(p, 0)
	return p
}

func bits(p []byte) int {
	count := 0
	for _, b := range p {
		for ; b != 0; b &= b - 1 {
			count++
		}
	}
	return count
}

func TestWholeDisk(t *testing.T) {
	s := New(size)
	add(t, s, Fault{Kind: Slow, Factor: 3, Latency: time.Millisecond})
	add(t, s, Fault{Kind: Slow, Latency: time.Millisecond})
	if factor, latency := s.Slowness(); factor != 3 || latency != 2*time.Millisecond {
		t.Errorf("slowness is %v and %v", factor, latency)
	}
	add(t, s, Fault{Kind: Gone})
	if err := s.Refusal(Reads, 0, 4096); !errors.Is(err, ErrGone) {
		t.Errorf("a read of a disk that is gone: %v", err)
	}
	add(t, s, Fault{Kind: Misdirected, Off: 4096, Len: 4096, By: 8192})
	if got := s.Target(4096, 4096); got != 12288 {
		t.Errorf("the write lands at %d", got)
	}
	if len(s.List()) != 4 || len(s.HealAll()) != 4 || s.Has(Gone) || s.Target(4096, 4096) != 4096 {
		t.Error("the healed disk is not well")
	}
}

func TestNoSuchFault(t *testing.T) {
	for _, f := range []Fault{
		{Kind: "loud"}, {Kind: BadSector}, {Kind: BadSector, Off: 1, Len: 512}, {Kind: BadSector, Off: size, Len: 512},
		{Kind: BadSector, Len: 512, On: "never"}, {Kind: Slow}, {Kind: Slow, Factor: 0.5},
		{Kind: Misdirected, Len: 4096}, {Kind: Misdirected, Len: 4096, By: -4096},
	} {
		if _, err := New(size).Add(f); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", f, err)
		}
	}
}
