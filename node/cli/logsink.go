package cli

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// logWaiting is how many lines may wait for whoever takes the log.
	logWaiting = 2048
	// logEndWait bounds the wait for them in the end.
	logEndWait = time.Second
)

// logSink passes lines on from a goroutine of its own. A log that nobody takes (a
// journal that hangs, a full pipe, a stuck disk) must not stop what is logged about:
// lines that find no room are lost, and counted.
type logSink struct {
	out   io.Writer
	lines chan []byte
	done  chan struct{}

	mu     sync.Mutex
	closed bool
	lost   int
}

func newLogSink(out io.Writer) *logSink {
	s := &logSink{out: out, lines: make(chan []byte, logWaiting), done: make(chan struct{})}
	go s.run()
	return s
}

// Write takes one line; it never waits and never fails.
func (s *logSink) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.lost++
		return len(line), nil
	}
	select {
	case s.lines <- append([]byte(nil), line...):
	default:
		s.lost++
	}
	return len(line), nil
}

func (s *logSink) run() {
	defer close(s.done)
	for line := range s.lines {
		_, _ = s.out.Write(line) // there is nobody to tell
		if n := s.takeLost(); n > 0 {
			_, _ = fmt.Fprintf(s.out, "level=WARN msg=\"%d lines of the log are lost: nobody took them in time\"\n", n)
		}
	}
}

func (s *logSink) takeLost() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.lost
	s.lost = 0
	return n
}

// close waits until the lines are out, but not for longer than limit.
func (s *logSink) close(limit time.Duration) {
	s.mu.Lock()
	s.closed = true
	close(s.lines)
	s.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-s.done:
	case <-timer.C:
	}
}
