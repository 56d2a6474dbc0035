package extent

import (
	"math/rand/v2"
	"testing"
)

// TestAgainstAnArray compares with the plainest of all implementations.
func TestAgainstAnArray(t *testing.T) {
	const size = 64
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		var m Map[int]
		var array [size]int // 0: nothing there
		for step := 1; step <= 100; step++ {
			off := random.IntN(size - 1)
			n := 1 + random.IntN(size-off)
			if random.IntN(3) == 0 {
				m.Remove(int64(off), int64(n))
				clear(array[off : off+n])
			} else {
				m.Put(int64(off), int64(n), step)
				for i := off; i < off+n; i++ {
					array[i] = step
				}
			}
			compare(t, seed, &m, array[:])
		}
	}
}

func compare(t *testing.T, seed uint64, m *Map[int], array []int) {
	t.Helper()
	var found [64]int
	var bytes, last int64
	for i := range m.Count() {
		e := m.At(i)
		if e.Len < 1 || e.Off < last {
			t.Fatalf("seed %d: extent %+v follows one that ends at %d", seed, e, last)
		}
		for at := e.Off; at < e.End(); at++ {
			found[at] = e.Value
		}
		last, bytes = e.End(), bytes+e.Len
	}
	for i, want := range array {
		if found[i] != want {
			t.Fatalf("seed %d: byte %d has value %d, want %d", seed, i, found[i], want)
		}
		if m.Covers(int64(i), 1) != (want != 0) {
			t.Fatalf("seed %d: Covers(%d) is wrong", seed, i)
		}
	}
	if bytes != m.Bytes() {
		t.Fatalf("seed %d: Bytes is %d, want %d", seed, m.Bytes(), bytes)
	}
}

func TestWithinClips(t *testing.T) {
	var m Map[string]
	m.Put(0, 10, "a")
	m.Put(20, 10, "b")
	var got []Extent[string]
	m.Within(5, 20, func(e Extent[string]) { got = append(got, e) })
	if len(got) != 2 || got[0] != (Extent[string]{5, 5, "a"}) || got[1] != (Extent[string]{20, 5, "b"}) {
		t.Errorf("Within(5, 20) is %v", got)
	}
	m.Clear()
	if m.Count() != 0 || m.Bytes() != 0 || m.Covers(0, 1) {
		t.Error("something is left after Clear")
	}
}
