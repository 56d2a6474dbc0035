package meta

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/block"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew; only for a new format version")

// sample has a different value in every field.
func sample() Superblock {
	s := Superblock{
		Sequence: 0x1112131415161718, Cluster: "lab", Volume: "data", Node: 1,
		DeviceSize: 64 << 20, DataSize: 62 << 20, AgreedSize: 60 << 20,
		Flags: PrimaryActive | Inconsistent | BitmapValid, ResyncTarget: 0x2122232425262728,
		MayLack: block.ProtocolA,
		Register: arbiter.Record{Promised: 0x31, Fresh: true,
			Accepted: arbiter.Accepted{Epoch: 0x21, Version: 0x41424344, Set: arbiter.Both,
				Rule: arbiter.Rule{Change: 0x45464748, Third: 0x494a4b4c}}},
		Verify: Verify{Running: true, Paused: true, Pos: 0x71727374, MaxRate: 0x75767778, Found: 0x79},
	}
	for i := range s.ID {
		s.ID[i] = byte(0xa0 + i)
	}
	s.Past = Past{ReignStart: 0x71, ReignEnd: 0x72, Apart: 0x73, PeerSequence: 0x74, Said: 0x75, Ending: true}
	for i := range s.Past.Peer {
		s.Past.Peer[i] = byte(0x80 + i)
	}
	s.Room, s.Moved = 61<<20, 17<<20
	copy(s.Backing[:], "its own name, if")
	s.Generation.Current, s.Generation.Bitmap = 0x51, 0x52
	for i := range s.Generation.History {
		s.Generation.History[i] = block.Generation(0x60 + i)
	}
	return s
}

// TestGolden freezes the bytes of format version 1. If it fails, disks in the
// field would no longer be read: make a new format version instead.
func TestGolden(t *testing.T) {
	s := sample()
	b := make([]byte, SlotSize)
	s.encode(b, 1)
	got := []byte(hex.Dump(b[:512]))
	const file = "testdata/superblock-v1.hex"
	if *rewrite {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("bytes on disk changed:\n%s", got)
	}
	if back, err := decode(b, 1); err != nil || back != s {
		t.Errorf("read back %+v, %v", back, err)
	}
	if _, err := decode(b, 0); err == nil {
		t.Error("a slot in the other one's place was accepted")
	}
}

// TestEveryByteIsCovered flips each byte that matters.
func TestEveryByteIsCovered(t *testing.T) {
	s := sample()
	b := make([]byte, SlotSize)
	s.encode(b, 0)
	for i := range b {
		b[i] ^= 0x10
		if _, err := decode(b, 0); err == nil {
			t.Fatalf("byte %d changed unseen", i)
		}
		b[i] ^= 0x10
	}
}

// FuzzDecode repairs the checksum of what comes, so that the fields are reached:
// whatever is accepted must obey the rules and survive a round trip.
func FuzzDecode(f *testing.F) {
	s := sample()
	b := make([]byte, SlotSize)
	s.encode(b, 0)
	f.Add(b[:offNamesEnd])
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, offNamesEnd))
	f.Fuzz(func(t *testing.T, in []byte) {
		slot := make([]byte, SlotSize)
		copy(slot, in)
		copy(slot, magic[:])
		le.PutUint32(slot[offCRC:], checksumSlot(slot))
		got, err := decode(slot, 0)
		if err != nil {
			return
		}
		again := make([]byte, SlotSize)
		got.encode(again, 0)
		if back, err := decode(again, 0); err != nil || back != got {
			t.Fatalf("%+v became %+v, %v", got, back, err)
		}
	})
}
