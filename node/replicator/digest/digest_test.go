package digest

import (
	"bytes"
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"gemel/node/block"
)

func TestDifferNamesExactlyTheBlocksThatDiffer(t *testing.T) {
	const blocks = 9
	r := block.Range{Off: 40 * block.Size, Len: blocks * block.Size}
	data := make([]byte, r.Len)
	rand.New(rand.NewSource(1)).Read(data)
	at := func(first, n int64) block.Range {
		return block.Range{Off: r.Off + first*block.Size, Len: n * block.Size}
	}
	for _, c := range []struct {
		name    string
		changed []int
		want    []block.Range
	}{
		{"nothing", nil, nil},
		{"the first", []int{0}, []block.Range{at(0, 1)}},
		{"the last", []int{8}, []block.Range{at(8, 1)}},
		{"neighbours are one run", []int{3, 4, 5, 7}, []block.Range{at(3, 3), at(7, 1)}},
		{"all", []int{0, 1, 2, 3, 4, 5, 6, 7, 8}, []block.Range{at(0, 9)}},
	} {
		other := bytes.Clone(data)
		for _, i := range c.changed {
			other[i*block.Size+i*400] ^= 1 // one bit
		}
		if got := Differ(Append(nil, data, &Key{}), Append(nil, other, &Key{}), r); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestDifferTakesAMissingSumForADifference(t *testing.T) {
	r := block.Range{Len: 3 * block.Size}
	sums := Append(nil, make([]byte, r.Len), &Key{})
	if len(sums) != Len(r.Len) {
		t.Fatalf("%d bytes of sums", len(sums))
	}
	if got := Differ(sums, sums[:2*Size], r); !slices.Equal(got, []block.Range{{Off: 2 * block.Size, Len: block.Size}}) {
		t.Errorf("got %v", got)
	}
}

func BenchmarkAppend(b *testing.B) {
	data := make([]byte, 512<<10)
	sums := make([]byte, 0, Len(int64(len(data))))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		sums = Append(sums[:0], data, &Key{})
	}
}

func TestAnotherKeyGivesOtherSums(t *testing.T) {
	data := make([]byte, block.Size)
	if a, b := Append(nil, data, &Key{1}), Append(nil, data, &Key{2}); bytes.Equal(a, b) || len(a) != Size {
		t.Errorf("%x under one key, %x under another", a, b)
	}
}

// TestGolden freezes the sums: both replicas must agree on them, whatever version they run.
func TestGolden(t *testing.T) {
	data := make([]byte, block.Size)
	for i := range data {
		data[i] = byte(i * 7)
	}
	const want = "ee1bb45ce93f6fa6d382a3afd8d6b6a5"
	if got := fmt.Sprintf("%x", Append(nil, data, &Key{1, 2, 3})); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
