package service

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	for _, c := range []struct{ waited, look, want time.Duration }{
		{0, 0, 20 * time.Millisecond},
		{150 * time.Millisecond, time.Millisecond, 20 * time.Millisecond},
		{time.Second, time.Millisecond, 100 * time.Millisecond},
		{time.Second, 200 * time.Millisecond, 200 * time.Millisecond},
		{time.Minute, 5 * time.Second, 500 * time.Millisecond},
	} {
		if got := Pace(c.waited, c.look); got != c.want {
			t.Errorf("after %v with looks of %v: %v, want %v", c.waited, c.look, got, c.want)
		}
	}
}
