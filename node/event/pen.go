package event

import (
	"fmt"
	"sync"
	"time"
)

const (
	// unwrittenMax bounds the events that wait for a disk, some 2 MiB of them.
	unwrittenMax = 4096
	// slowAfter is how long the disk may take over one event before that is a problem.
	slowAfter = 5 * time.Second
	// flushWait bounds how long a reader waits for the newest events to be on it.
	flushWait = 500 * time.Millisecond
	// closeWait bounds the wait for the disk in the end.
	closeWait = 2 * time.Second
)

// appender is a File, or what a test puts in its place.
type appender interface {
	Append(e Event) error
	Close() error
}

// pen writes events to a file in a goroutine of its own. Whoever decides who is Primary
// also tells why, and must not stand still because the disk under the history does.
type pen struct {
	path string
	file appender // the goroutine's
	done chan struct{}

	mu      sync.Mutex
	wake    *sync.Cond
	waiting []entry
	begun   time.Time // when the disk was given the event that it has not taken yet; zero: none
	closed  bool
	lost    int
	err     error // of the newest attempt
}

// entry is an event to write, or a mark that somebody waits for.
type entry struct {
	event   Event
	reached chan struct{} // nil: an event
}

func newPen(path string, file appender) *pen {
	p := &pen{path: path, file: file, done: make(chan struct{})}
	p.wake = sync.NewCond(&p.mu)
	go p.run()
	return p
}

// write leaves e for the goroutine; it does not wait.
func (p *pen) write(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.waiting) >= unwrittenMax {
		p.lost++
		return
	}
	p.waiting = append(p.waiting, entry{event: e})
	p.wake.Signal()
}

// flush waits until what was written before is in the file, but not for longer than limit.
func (p *pen) flush(limit time.Duration) {
	mark := make(chan struct{})
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.waiting = append(p.waiting, entry{reached: mark})
	p.wake.Signal()
	p.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-mark:
	case <-timer.C:
	}
}

// run writes until close was called and nothing waits.
func (p *pen) run() {
	defer close(p.done)
	for {
		e, more := p.next()
		if !more {
			break
		}
		err := p.file.Append(e)
		p.mu.Lock()
		p.begun, p.err = time.Time{}, err
		if err != nil {
			p.lost++
		}
		p.mu.Unlock()
	}
	err := p.file.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.err = fmt.Errorf("close event file: %w", err)
	}
}

// next waits for an event; false: there will be none.
func (p *pen) next() (Event, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(p.waiting) == 0 {
			if p.closed {
				return Event{}, false
			}
			p.wake.Wait()
		}
		e := p.waiting[0]
		p.waiting = p.waiting[1:]
		if e.reached == nil {
			p.begun = time.Now()
			return e.event, true
		}
		close(e.reached)
	}
}

func (p *pen) problem() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if took := time.Since(p.begun); !p.begun.IsZero() && took > slowAfter {
		return fmt.Errorf("%s: the disk has not taken an event for %v; %d more wait, %d are lost",
			p.path, took.Round(time.Second), len(p.waiting), p.lost)
	}
	return p.err
}

func (p *pen) missing() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// complete says that all events are in the file.
func (p *pen) complete() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost == 0 && len(p.waiting) == 0 && p.begun.IsZero()
}

// close waits until all is written, but not for longer than limit.
func (p *pen) close(limit time.Duration) error {
	p.mu.Lock()
	p.closed = true
	p.wake.Signal()
	p.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.err
	case <-timer.C:
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Errorf("close %s: the disk does not answer; %d events are not on it", p.path, len(p.waiting)+1)
	}
}
