package event

import (
	"testing"
	"time"
)

// stuck is a file on a disk that does not answer until it is let go.
type stuck struct {
	asked chan struct{}
	free  chan struct{}
	got   []Event
}

func (s *stuck) Append(e Event) error {
	select {
	case s.asked <- struct{}{}:
	default:
	}
	<-s.free
	s.got = append(s.got, e)
	return nil
}

func (s *stuck) Close() error { return nil }

// TestAStuckDiskHoldsNobodyUp: the agent's decisions are told through Add.
func TestAStuckDiskHoldsNobodyUp(t *testing.T) {
	h, err := NewHistory(10, nil)
	if err != nil {
		t.Fatal(err)
	}
	disk := &stuck{asked: make(chan struct{}, 1), free: make(chan struct{})}
	h.pen = newPen("a disk", disk)
	h.Add(numbered(1))
	<-disk.asked
	for n := 2; n <= unwrittenMax+3; n++ {
		h.Add(numbered(n))
	}
	if h.Lost() != 2 {
		t.Errorf("%d events count as lost, want the 2 that found no room", h.Lost())
	}
	if events, err := h.From(time.Time{}); err != nil || len(events) != 10 {
		t.Errorf("%d events from memory, %v", len(events), err)
	}
	h.pen.mu.Lock()
	h.pen.begun = h.pen.begun.Add(-2 * slowAfter)
	h.pen.mu.Unlock()
	if h.Problem() == nil {
		t.Error("nobody is told of the disk")
	}
	p := h.pen
	if err := p.close(time.Millisecond); err == nil {
		t.Error("closed without a word of the events that are not on disk")
	}
	close(disk.free)
	<-p.done
	if len(disk.got) != 1+unwrittenMax {
		t.Errorf("%d events were written once the disk answered, want %d", len(disk.got), 1+unwrittenMax)
	}
	if h.Add(numbered(0)); h.Lost() != 3 || h.Close() != nil {
		t.Errorf("after the end: %d lost", h.Lost())
	}
}
