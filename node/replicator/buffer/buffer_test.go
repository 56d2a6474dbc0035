package buffer

import "testing"

func TestGet(t *testing.T) {
	for n, want := range map[int]int{0: 4096, 1: 4096, 4096: 4096, 4097: 8192, 65536: 65536, 1 << 20: 1 << 20, 1<<20 + 1: 1<<20 + 1} {
		b := Get(n)
		if len(b) != n || cap(b) != want || !IsAligned(b) {
			t.Errorf("Get(%d): len %d, cap %d, aligned %v", n, len(b), cap(b), IsAligned(b))
		}
		Put(b)
	}
}

func TestPutTakesOnlyItsOwn(t *testing.T) {
	Put(nil)
	Put(make([]byte, 100))
	Put(Aligned(8192)[512:])
	Put(Aligned(3 * 4096))
	for range 10 {
		if b := Get(8192); !IsAligned(b) || cap(b) != 8192 {
			t.Fatal("a foreign buffer came back")
		}
	}
}

func TestNoAllocation(t *testing.T) {
	Put(Get(65536))
	if n := testing.AllocsPerRun(1000, func() { Put(Get(65536)) }); n > 0.1 {
		t.Errorf("%.1f allocations per request", n)
	}
}
