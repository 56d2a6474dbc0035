package meta

import (
	"errors"
	"testing"
)

// TestMigration reads a slot of a made-up version 0, which kept the agreed size
// in blocks, through two steps.
func TestMigration(t *testing.T) {
	s := sample()
	b := make([]byte, SlotSize)
	s.encode(b, 1)
	le.PutUint64(b[offAgreed:], uint64(s.AgreedSize/4096))
	le.PutUint16(b[offVersion:], 0)
	steps := map[uint16]func([]byte){
		0: func(b []byte) { le.PutUint64(b[offAgreed:], le.Uint64(b[offAgreed:])*4096) },
		1: func(b []byte) { b[offNode] ^= 1 },
	}
	before := string(b)
	got, err := migrate(b, steps, 2)
	if err != nil || le.Uint16(got[offVersion:]) != 2 || int64(le.Uint64(got[offAgreed:])) != s.AgreedSize || got[offNode] != byte(s.Node)^1 {
		t.Errorf("version %d, agreed %d, %v", le.Uint16(got[offVersion:]), le.Uint64(got[offAgreed:]), err)
	}
	if string(b) != before {
		t.Error("what was read was changed")
	}
	delete(steps, 0)
	if _, err := migrate(b, steps, 2); err == nil || errors.Is(err, ErrNewer) {
		t.Errorf("a version without a way: %v", err)
	}
	le.PutUint16(b[offVersion:], 3)
	if _, err := migrate(b, steps, 2); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer version: %v", err)
	}
}

// TestEveryOlderVersionHasItsStep fails when a version is added without one.
func TestEveryOlderVersionHasItsStep(t *testing.T) {
	for v := uint16(1); v < FormatVersion; v++ {
		if migrations[v] == nil {
			t.Errorf("version %d cannot be read", v)
		}
	}
}
