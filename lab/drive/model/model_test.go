package model

import (
	"math/rand/v2"
	"testing"
	"time"
)

func named(t *testing.T, name string) Params {
	t.Helper()
	params, err := Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return params
}

// near fails when got is more than 5 % from want.
func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if got < want*0.95 || got > want*1.05 {
		t.Errorf("%s: %.4g, want %.4g within 5 %%", what, got, want)
	}
}

// writer writes in a row, one request after the other, and notes when each ended.
type writer struct {
	m     *Model
	now   time.Duration
	off   int64
	ended []time.Duration
}

func (w *writer) write(total, each int64) {
	for end := w.off + total; w.off < end; w.off += each {
		w.now = w.m.Write(w.now, w.off, each)
		w.ended = append(w.ended, w.now)
	}
}

func rate(bytes int64, took time.Duration) float64 { return float64(bytes) / took.Seconds() }

func TestBurstCliffAndSustained(t *testing.T) {
	const each = 256 << 10
	for _, name := range []string{"platter-2004", "sata-ssd", "nvme"} {
		params := named(t, name)
		w := &writer{m: New(params)}
		half := int64(params.Cache) / 2
		w.write(half, each)
		latency := float64(params.Latency) / float64(time.Second)
		burst := each / (each/float64(params.BurstRate) + latency)
		near(t, name+": burst", rate(half, w.now), burst)
		// The cache fills with what comes in less what goes out meanwhile.
		cliff := float64(params.Cache)
		if drain := float64(params.PlatterRate); drain < burst {
			cliff /= 1 - drain/burst
		}
		before := w.now
		w.write(int64(cliff)-half-2*each, each)
		near(t, name+": up to the cliff", rate(int64(cliff)-half-2*each, w.now-before), burst)
		w.write(2*int64(params.Cache), each)
		before = w.now
		w.write(8*int64(params.Cache), each)
		sustained := min(float64(params.PlatterRate), burst)
		near(t, name+": sustained", rate(8*int64(params.Cache), w.now-before), sustained)
		near(t, name+": cliff", float64(firstSlow(w.ended, each, (burst+sustained)/2)), cliff)
	}
}

// firstSlow returns how much was written before four requests in a row were slower than a rate.
func firstSlow(ended []time.Duration, each int64, slower float64) int64 {
	const window = 4
	for i := window; i < len(ended); i++ {
		if rate(window*each, ended[i]-ended[i-window]) < slower {
			return int64(i) * each
		}
	}
	return 0
}

func TestStripeIsBoundByPlattersOrBus(t *testing.T) {
	params := named(t, "2004")
	for _, c := range []struct {
		platters int
		bus      Rate
		want     float64
	}{{2, 133e6, 130e6}, {4, 133e6, 133e6}, {4, 0, 260e6}, {2, 50e6, 50e6}} {
		p := params
		p.Platters, p.BusRate = c.platters, c.bus
		w := &writer{m: New(p)}
		w.write(64<<20, 1<<20) // past the caches
		before := w.now
		w.write(256<<20, 1<<20)
		near(t, "stripe", rate(256<<20, w.now-before), c.want)
	}
}

func TestReadInARow(t *testing.T) {
	params := named(t, "platter-2004")
	m := New(params)
	var now time.Duration
	const total, each = 64 << 20, 128 << 10
	for off := int64(0); off < total; off += each {
		now = m.Read(now, off, each)
	}
	near(t, "reads", rate(total, now), 65e6)
	// Eight at a time and out of order within the window, as a kernel sends them.
	m, now = New(params), 0
	for off := int64(0); off < total; off += 8 * each {
		end := now
		for _, i := range []int64{1, 0, 3, 2, 5, 4, 7, 6} {
			end = max(end, m.Read(now, off+i*each, each))
		}
		now = end
	}
	near(t, "reads out of order", rate(total, now), 65e6)
}

func TestSeeks(t *testing.T) {
	params := named(t, "platter-2004")
	random := rand.New(rand.NewPCG(1, 2))
	m := New(params)
	var now time.Duration
	const count = 200
	for range count {
		now = m.Read(now, random.Int64N(1<<28)*4096, 4096)
	}
	near(t, "one random read", now.Seconds()/count, 0.009+4096/65e6)
	// Cached random writes are swept: cheaper than a seek each when they lie close.
	m, now = New(params), 0
	for range 1000 {
		now = m.Write(now, random.Int64N(64<<20/4096)*4096, 4096)
	}
	if done := m.Flush(now); done.Seconds() >= 1000*0.009 {
		t.Errorf("1000 random writes in 64 MiB take %v: they were not sorted", done)
	}
}

func TestFlush(t *testing.T) {
	params := named(t, "platter-2004")
	m := New(params)
	written := m.Write(0, 0, 4<<20)
	done := m.Flush(written)
	near(t, "flush after 4 MiB", done.Seconds(), (4<<20)/65e6)
	if m.Advance(done); m.Cached() != 0 {
		t.Errorf("%d bytes are cached when the flush is answered", m.Cached())
	}
	if again := m.Flush(done); again != done {
		t.Errorf("a flush of nothing takes %v", again-done)
	}
	m.SetFlush(Lying)
	written = m.Write(done, 0, 4<<20)
	if done = m.Flush(written); done != written {
		t.Errorf("a lying flush takes %v", done-written)
	}
	if m.Advance(done); m.Cached() == 0 {
		t.Error("a lying flush emptied the cache")
	}
}

func TestHoldBack(t *testing.T) {
	params := named(t, "unthrottled")
	m := New(params)
	m.Write(0, 0, 1<<20)
	if m.Advance(time.Hour); m.Cached() != 1<<20 {
		t.Errorf("%d bytes are cached after an hour, want all", m.Cached())
	}
	m.Write(time.Hour, 1<<20, int64(params.Cache))
	if m.Advance(2 * time.Hour); m.Cached() > int64(params.Cache) {
		t.Errorf("%d bytes are in a cache of %d", m.Cached(), params.Cache)
	}
	done := m.Flush(2 * time.Hour)
	if m.Advance(done); m.Cached() != 0 {
		t.Errorf("%d bytes are cached after a flush", m.Cached())
	}
}

func TestSlowAndFull(t *testing.T) {
	params := named(t, "platter-2004")
	for _, c := range []struct {
		name string
		set  func(*Model)
		want float64 // rate of the first half cache
	}{
		{"slow", func(m *Model) { m.SetSlow(10) }, 32e6},
		{"full", func(m *Model) { m.SetFull(true) }, 65e6},
	} {
		w := &writer{m: New(params)}
		c.set(w.m)
		w.write(4<<20, 1<<20)
		got := rate(4<<20, w.now)
		if got < c.want*0.8 || got > c.want*1.05 { // a full cache does not overlap link and platter
			t.Errorf("%s: %.4g bytes/s, want about %.4g", c.name, got, c.want)
		}
	}
}

// TestEverythingLandsOnce: whatever is written lands, exactly once, not before its
// turn, and never quicker than the platters write.
func TestEverythingLandsOnce(t *testing.T) {
	for _, name := range Names() {
		for seed := range uint64(20) {
			landsOnce(t, named(t, name), seed)
		}
	}
}

func landsOnce(t *testing.T, params Params, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 3))
	m := New(params)
	landed := map[int64]bool{}
	var now time.Duration
	var bytes int64
	note := func() {
		for _, r := range m.Advance(now) {
			for off := r.Off; off < r.End(); off += 4096 {
				if landed[off] {
					t.Fatalf("%s, seed %d: block %d landed twice", params.Name, seed, off/4096)
				}
				landed[off] = true
			}
			bytes += r.Len
		}
	}
	const blocks, each = 300, 16
	for _, n := range random.Perm(blocks) {
		done := m.Write(now, int64(n*each)*4096, each*4096)
		if random.IntN(2) == 0 {
			now = done
		}
		if random.IntN(10) == 0 {
			m.Read(now, random.Int64N(1<<20)*4096, 4096)
		}
	}
	now = max(now, m.Flush(now))
	for range 100 { // what waits behind reads
		now += time.Second
		note()
	}
	limit := float64(params.PlatterRate) * float64(params.Platters)
	if limit > 0 && float64(bytes) > limit*now.Seconds() {
		t.Errorf("%s, seed %d: %d bytes in %v", params.Name, seed, bytes, now)
	}
	if len(landed) != blocks*each || m.Cached() != 0 {
		t.Errorf("%s, seed %d: %d blocks landed, %d bytes cached; want all of %d", params.Name, seed,
			len(landed), m.Cached(), blocks*each)
	}
}

func TestForget(t *testing.T) {
	m := New(named(t, "2004"))
	m.Write(0, 0, 1<<20)
	m.Forget(time.Millisecond)
	if landed := m.Advance(time.Hour); m.Cached() != 0 || len(landed) != 0 {
		t.Errorf("after the power cut %d bytes are cached, %v landed", m.Cached(), landed)
	}
}
