package volume

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestCrewDoesEverythingWithinItsLimit(t *testing.T) {
	var running, done sync.WaitGroup
	var now, most, count atomic.Int64
	c := newCrew(4, &running)
	for range 1000 {
		done.Add(1)
		c.do(func() {
			defer done.Done()
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			count.Add(1)
			now.Add(-1)
		})
	}
	done.Wait()
	if count.Load() != 1000 || most.Load() > 4 {
		t.Errorf("%d done, %d at once", count.Load(), most.Load())
	}
	c.leave()
	running.Wait()
	if c.busy() || c.hands != 0 {
		t.Errorf("%d goroutines left, busy %v", c.hands, c.busy())
	}
}

// TestCrewRunsSideBySide: each function needs all the others to be running.
func TestCrewRunsSideBySide(t *testing.T) {
	const n = 12
	var running sync.WaitGroup
	c := newCrew(n, &running)
	for range 3 {
		var met sync.WaitGroup
		met.Add(n)
		for range n {
			c.do(func() { met.Done(); met.Wait() })
		}
		met.Wait()
	}
	c.leave()
	c.do(func() {}) // what comes late is still done
	running.Wait()
	if c.busy() {
		t.Error("the late function was not done")
	}
}
