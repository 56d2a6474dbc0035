package vigil

import "testing"

// TestVigilLastsAsLongAsRequests: it sleeps while requests come, once more after the
// last one, and again when they begin anew.
func TestVigilLastsAsLongAsRequests(t *testing.T) {
	naps := make(chan struct{})
	v := start(func() { naps <- struct{}{} })
	for range 3 {
		v.Request()
		v.Request()
		<-naps
		for v.awake.Load() { // until it has seen that nothing came, at most one nap more
			select {
			case <-naps:
			default:
			}
		}
	}
	v.Close()
	v.Request() // late ones do no harm
	v.Request()
}

func TestVigilOfNobody(t *testing.T) {
	var v *Vigil
	v.Request()
}

func TestRequestDoesNotAllocate(t *testing.T) {
	v := start(sleep)
	defer v.Close()
	if n := testing.AllocsPerRun(1000, v.Request); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	v := start(sleep)
	defer v.Close()
	for b.Loop() {
		v.Request()
	}
}
