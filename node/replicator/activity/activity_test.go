package activity

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew; only for a new format version")

var id = [16]byte{0xa0, 0xa1, 0xa2}

func always(int) bool { return true }

// TestGolden freezes the bytes of a transaction.
func TestGolden(t *testing.T) {
	tr := Transaction{Number: 0x1112131415161718, Fresh: true, Slots: 0x4d5, First: 0x398, Context: []uint32{0x51, None, 0x53},
		Updates: []Update{{Slot: 0x21, Extent: 0x31323334}, {Slot: 0x22, Extent: 0x41424344}}}
	b := make([]byte, BlockSize)
	tr.Encode(b, id)
	got := []byte(hex.Dump(b[:448]))
	const file = "testdata/transaction-v1.hex"
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
	for i := range b {
		b[i] ^= 4
		if _, err := Decode(b, id); err == nil {
			t.Fatalf("byte %d changed unseen", i)
		}
		b[i] ^= 4
	}
	if _, err := Decode(b, [16]byte{1}); !errors.Is(err, ErrBroken) {
		t.Errorf("another replica's transaction: %v", err)
	}
}

func TestTheOldestIdleExtentLeaves(t *testing.T) {
	l := New(3, 10, 0)
	for e := range uint32(3) {
		s, o := l.Admit(e, always)
		if o != Admitted || l.Hot(e) != -1 {
			t.Fatalf("extent %d: %v, hot before it is stable: %d", e, o, l.Hot(e))
		}
		l.Use(s)
	}
	if _, o := l.Admit(7, always); o != NoRoom {
		t.Fatalf("with every extent in use: %v", o)
	}
	l.Make()
	l.Done()
	for e := range uint32(3) {
		l.Leave(l.Hot(e))
	}
	l.Use(l.Hot(0))
	l.Leave(l.Hot(0)) // 1 is the oldest now
	if _, o := l.Admit(7, func(s int) bool { e, _ := l.Extent(s); return e != 1 }); o != Admitted || l.Hot(2) != -1 || l.Hot(1) == -1 {
		t.Fatalf("%v, hot: 1 %d, 2 %d", o, l.Hot(1), l.Hot(2))
	}
	if l.Hot(7) != -1 || l.Slot(7) < 0 {
		t.Fatal("7 must be in the log and not hot yet")
	}
}

func TestATransactionHoldsSoMany(t *testing.T) {
	l := New(200, 200, 0)
	for e := range uint32(UpdatesMost) {
		l.Admit(e, always)
	}
	if _, o := l.Admit(100, always); o != Full {
		t.Fatal(o)
	}
	if tr := l.Make(); len(tr.Updates) != UpdatesMost || !tr.Fresh || l.Pending() != 0 {
		t.Fatalf("%+v", tr)
	}
}

// TestRecovery drives logs of several sizes over rings of the least size, tears
// the transaction under way, and compares what comes back with the truth.
func TestRecovery(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		slots := []int{1, 2, 67, 919, 920, 921, 2000}[r.IntN(7)]
		blocks := RingFor(slots) + r.IntN(3)
		ring := make([]byte, blocks*BlockSize)
		l, extents := New(slots, slots*3+5, 0), slots*3+5
		stable := map[uint32]bool{}
		for range 40 + r.IntN(80) {
			for range r.IntN(20) { // what nobody used for long
				if slot := r.IntN(slots); slot < l.filled && l.slots[slot].extent != None {
					l.Drop(slot)
				}
			}
			for range 1 + r.IntN(UpdatesMost) {
				if e := uint32(r.IntN(extents)); l.Slot(e) < 0 {
					l.Admit(e, always)
				}
			}
			tr := l.Make()
			b := make([]byte, BlockSize)
			tr.Encode(b, id)
			at := ring[Position(tr.Number, blocks)*BlockSize:][:BlockSize]
			if r.IntN(30) == 0 { // the power goes
				for s := 0; s < BlockSize; s += 512 {
					if r.IntN(2) == 0 {
						copy(at[s:s+512], b[s:s+512])
					}
				}
				break
			}
			copy(at, b)
			l.Done()
			clear(stable)
			for _, s := range l.slots[:l.filled] {
				if s.extent != None {
					stable[s.extent] = true
				}
			}
		}
		checkRecovered(t, seed, Recover(ring, id), stable, l.number)
	}
}

func checkRecovered(t *testing.T, seed uint64, s Set, stable map[uint32]bool, number uint64) {
	t.Helper()
	if !s.Known || s.Number > number {
		t.Fatalf("seed %d: %+v", seed, s)
	}
	for e := range stable {
		if _, ok := slices.BinarySearch(s.Extents, e); !ok && s.Number < number {
			t.Fatalf("seed %d: extent %d was hot and is not known", seed, e)
		}
	}
	if s.Number < number && len(s.Extents) != len(stable) {
		t.Fatalf("seed %d: %d extents, %d were hot", seed, len(s.Extents), len(stable))
	}
}

// filled is a ring after n transactions of one update each.
func filled(n, slots, blocks int) []byte {
	ring := make([]byte, blocks*BlockSize)
	l := New(slots, 5000, 0)
	for i := range n {
		l.Admit(uint32(i), always)
		tr := l.Make()
		tr.Encode(ring[Position(tr.Number, blocks)*BlockSize:], id)
		l.Done()
	}
	return ring
}

func TestDamage(t *testing.T) {
	for _, tc := range []struct {
		name  string
		n     int
		spoil []int // blocks
		known bool
		hot   int
	}{
		{"unused", 0, nil, true, 0},
		{"torn first", 0, []int{1}, true, 0},
		{"all garbage", 0, []int{0, 1, 2, 3, 4}, false, 0},
		{"garbage far from the first", 0, []int{3}, false, 0},
		{"few", 3, nil, true, 3},
		{"torn last", 3, []int{4}, true, 3},
		{"around", 23, nil, true, 4},
		{"around, torn last", 23, []int{4}, true, 4},
		{"damage that is not needed", 23, []int{0}, true, 4},
		{"the newest two", 23, []int{3, 4}, false, 0},
		{"one in the middle that is not needed", 3, []int{2}, true, 3},
	} {
		ring := filled(tc.n, 4, 5)
		for _, b := range tc.spoil {
			ring[b*BlockSize+9] ^= 0xff
		}
		s := Recover(ring, id)
		if s.Known != tc.known || len(s.Extents) != tc.hot || s.Known == (s.Why != "") {
			t.Errorf("%s: %+v", tc.name, s)
		}
	}
	wide := filled(1900, 1000, 5) // the set takes two transactions
	wide[Position(1899, 5)*BlockSize+100] ^= 1
	if s := Recover(wide, id); s.Known {
		t.Errorf("a needed transaction is damaged, and still %d extents", len(s.Extents))
	}
}

func TestANewLogForgetsTheOld(t *testing.T) {
	ring := filled(23, 4, 5)
	l := New(67, 1000, 23)
	l.Admit(500, always)
	l.Make().Encode(ring[Position(24, 5)*BlockSize:], id)
	if s := Recover(ring, id); !s.Known || !slices.Equal(s.Extents, []uint32{500}) || s.Slots != 67 {
		t.Errorf("%+v", s)
	}
}

func FuzzDecode(f *testing.F) {
	b := make([]byte, BlockSize)
	(&Transaction{Number: 7, Slots: 5, Updates: []Update{{1, 2}}, Context: []uint32{1, 2}}).Encode(b, id)
	f.Add(b[:64])
	f.Add(bytes.Repeat([]byte{0xff}, BlockSize))
	f.Fuzz(func(t *testing.T, in []byte) {
		b := make([]byte, BlockSize)
		copy(b, in)
		copy(b, magic[:])
		le.PutUint32(b[offCRC:], checksum(b, id))
		got, err := Decode(b, id)
		Recover(b, id)
		if err != nil {
			return
		}
		again := make([]byte, BlockSize)
		got.Encode(again, id)
		if back, err := Decode(again, id); err != nil || back.Number != got.Number || !slices.Equal(back.Context, got.Context) ||
			!slices.Equal(back.Updates, got.Updates) {
			t.Fatalf("%+v became %+v, %v", got, back, err)
		}
	})
}

func BenchmarkHot(b *testing.B) {
	l := New(SlotsDefault, 100000, 0)
	for e := range uint32(1000) {
		l.Admit(e, always)
		if l.Pending() == UpdatesMost {
			l.Make()
			l.Done()
		}
	}
	l.Make()
	l.Done()
	b.ReportAllocs()
	for i := range b.N {
		s := l.Hot(uint32(i) % 1000)
		l.Use(s)
		l.Leave(s)
	}
}
