package resync

import (
	"math/rand"
	"testing"
	"time"

	"gemel/node/block"
)

func TestBitmapAgainstAModel(t *testing.T) {
	const blocks = 1000
	rng := rand.New(rand.NewSource(1))
	b, model := NewBitmap(blocks*block.Size, nil), map[int64]bool{}
	for range 5000 {
		r := block.Range{Off: rng.Int63n(blocks) * block.Size, Len: rng.Int63n(200) * block.Size}
		mark := rng.Intn(2) == 0
		if mark {
			b.Set(r)
		} else {
			b.Clear(r)
		}
		all := r.Len > 0
		for i := r.Off / block.Size; i < r.End()/block.Size && i < blocks; i++ {
			if mark {
				model[i] = true
			} else {
				delete(model, i)
			}
			all = all && model[i]
		}
		if b.Bytes() != int64(len(model))*block.Size {
			t.Fatalf("count %d, model %d", b.Bytes(), len(model)*block.Size)
		}
		if all && !b.All(r) {
			t.Fatalf("All(%v) is false", r)
		}
	}
	b.Runs(func(r block.Range) {
		for i := r.Off / block.Size; i < r.End()/block.Size; i++ {
			if !model[i] {
				t.Fatalf("block %d is in a run and not marked", i)
			}
			delete(model, i)
		}
	})
	if len(model) != 0 {
		t.Fatalf("%d marked blocks in no run", len(model))
	}
}

func TestTakeReturnsEveryBlockOnce(t *testing.T) {
	b := NewBitmap(1001*block.Size, nil)
	b.SetAll()
	b.Clear(block.Range{Off: 70 * block.Size, Len: 3 * block.Size})
	seen := int64(0)
	for {
		r, ok := b.Take(16 * block.Size)
		if !ok {
			break
		}
		if r.Len > 16*block.Size || r.Empty() {
			t.Fatalf("took %v", r)
		}
		seen += r.Len
	}
	if seen != 998*block.Size || b.Bytes() != 0 {
		t.Fatalf("took %d bytes, %d left", seen, b.Bytes())
	}
}

func TestNewBitmapDropsWhatLiesBehindTheVolume(t *testing.T) {
	b := NewBitmap(65*block.Size, []uint64{^uint64(0), ^uint64(0), ^uint64(0)})
	if b.Bytes() != 65*block.Size {
		t.Fatalf("%d bytes", b.Bytes())
	}
}

func TestPaceFillsAFastLinkAndStaysShortOnASlowOne(t *testing.T) {
	for _, tc := range []struct {
		name     string
		rate     int64
		low, top int64
	}{
		{"gigabit", 110 << 20, 10 << 20, 32 << 20},
		{"slow", 5 << 20, minWindow, minWindow},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, now := NewPace(0, 1<<40, Limits{}), time.Duration(0)
			inFlight := int64(0)
			for range 1000 {
				inFlight += p.Allow(now, inFlight, false)
				now += 10 * time.Millisecond
				n := min(inFlight, tc.rate/100)
				inFlight -= n
				p.Delivered(now, n)
			}
			if p.window < tc.low || p.window > tc.top {
				t.Errorf("window is %d, want %d … %d", p.window, tc.low, tc.top)
			}
		})
	}
}

func TestPaceYieldsButNeverStops(t *testing.T) {
	p := NewPace(0, 1<<30, Limits{})
	if got := p.Allow(0, 0, true); got != busyWindow {
		t.Errorf("under load %d bytes are allowed, want %d", got, busyWindow)
	}
}

func TestPaceKeepsItsRateLimit(t *testing.T) {
	p := NewPace(0, 1<<30, Limits{MaxRate: 10 << 20})
	sent := int64(0)
	for now := time.Duration(0); now < 10*time.Second; now += 10 * time.Millisecond {
		n := p.Allow(now, 0, false)
		p.Started(n)
		p.Delivered(now, n)
		p.Tick(now)
		sent += n
	}
	if sent > 105<<20 || sent < 95<<20 {
		t.Errorf("sent %d bytes in 10 s at 10 MiB/s", sent)
	}
	if _, done, rate, eta := p.Progress(10 * time.Second); done != sent || rate < 9<<20 || rate > 11<<20 || eta == 0 {
		t.Errorf("progress: done %d rate %d eta %v", done, rate, eta)
	}
}

// TestPaceReachesTheLineRateSoon has a gigabit in front of a disk that answers
// late: the window must grow before it carries the rate.
func TestPaceReachesTheLineRateSoon(t *testing.T) {
	const (
		step    = 5 * time.Millisecond
		perStep = 118 << 20 / 200 // bytes the line carries per step
		late    = 24              // steps until a block is answered
	)
	p, now := NewPace(0, 1<<40, Limits{}), time.Duration(0)
	var onDisk [late]int64
	var queued, inFlight, delivered int64
	from := (late + 60) // steps: the first answer and 300 ms
	for n := range from + 60 {
		now += step
		room := p.Allow(now, inFlight, false)
		inFlight, queued = inFlight+room, queued+room
		if done := onDisk[n%late]; done > 0 {
			inFlight -= done
			p.Delivered(now, done)
			if n >= from {
				delivered += done
			}
		}
		onDisk[n%late] = min(queued, perStep)
		queued -= onDisk[n%late]
	}
	if want := int64(60 * perStep * 9 / 10); delivered < want {
		t.Errorf("after 300 ms of answers %d MB/s are delivered, want %d", delivered/300/1000, want/300/1000)
	}
}

// TestBusyOutlastsOneWrite: a client that writes one record after the other must
// not find a full window queued before each of them.
func TestBusyOutlastsOneWrite(t *testing.T) {
	p := NewPace(0, 1<<30, Limits{})
	p.Allow(time.Second, 0, true)
	if room := p.Allow(time.Second+busySpan/2, 0, false); room > busyWindow {
		t.Errorf("room %d between two writes of the application, want at most %d", room, busyWindow)
	}
	if room := p.Allow(time.Second+busySpan, 0, false); room <= busyWindow {
		t.Errorf("room %d long after the last write, want the whole window", room)
	}
}

// A volume that shares memory with many others keeps to its share, whatever the
// link could take, and whatever rates are set later.
func TestWindowIsTheShare(t *testing.T) {
	const share = 4 << 20
	p := NewPace(0, 1<<40, Limits{Window: share})
	var now time.Duration
	for range 200 {
		now += adjustEvery
		room := p.Allow(now, 0, false)
		if room > share {
			t.Fatalf("%d bytes may be under way", room)
		}
		p.Started(room)
		p.Delivered(now, room)
	}
	p.SetLimits(Limits{Window: share / 2})
	if room := p.Allow(now, 0, false); room > share/2 {
		t.Errorf("%d bytes may be under way", room)
	}
}
