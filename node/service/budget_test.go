package service

import (
	"testing"
	"time"
)

func TestBudget(t *testing.T) {
	b := Budget{Restarts: 2, Within: time.Minute}
	begin := time.Unix(1000, 0)
	for i, c := range []struct {
		at   time.Duration
		ends int
		over bool
	}{{0, 1, false}, {10 * time.Second, 2, false}, {65 * time.Second, 2, false}, {68 * time.Second, 3, true}, {time.Hour, 1, false}} {
		if ends, over := b.Spend(begin.Add(c.at)); ends != c.ends || over != c.over {
			t.Errorf("end %d: %d within the time, over %v; want %d, %v", i, ends, over, c.ends, c.over)
		}
	}
}
