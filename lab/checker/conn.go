package checker

import (
	"context"
	"time"

	"gemel/lab/checker/nfs3"
)

// steady keeps one connection to a server that may die: it dials when needed, drops
// the connection after a transport failure, and keeps the patience for the next call.
// Not safe for concurrent use.
type steady struct {
	addr    string
	timeout time.Duration // first patience, and the bound for connecting
	longest time.Duration // a live but slow server is given up to this
	patient time.Duration
	client  *nfs3.Client
}

func newSteady(addr string, timeout, longest time.Duration) *steady {
	return &steady{addr: addr, timeout: timeout, longest: longest, patient: timeout}
}

// try runs one call. On a transport failure the connection is gone afterwards, and
// the next call gets twice the patience: without that, a server that needs longer
// than the first timeout for each write would be asked for ever and never heard. A
// dead host costs no more for it, since the kernel gives up unacknowledged data
// after the first timeout, and connecting has that bound too.
func (s *steady) try(ctx context.Context, call func(*nfs3.Client) error) error {
	if s.client == nil {
		c, err := nfs3.Dial(ctx, s.addr, s.timeout)
		if err != nil {
			s.patient = s.timeout
			return err
		}
		s.client = c
	}
	s.client.SetTimeout(s.patient)
	err := call(s.client)
	if _, answered := nfs3.Refusal(err); err == nil || answered {
		s.patient = s.timeout
		return err
	}
	s.close()
	s.patient = min(2*s.patient, s.longest)
	return err
}

func (s *steady) close() {
	if s.client != nil {
		_ = s.client.Close() // it failed already, or is not needed any more
		s.client = nil
	}
}

// until repeats a call through transport failures and "try again later" until it
// succeeds, is refused, or ctx ends. each hears of every repeated failure.
func (s *steady) until(ctx context.Context, every time.Duration, each func(error),
	call func(*nfs3.Client) error) error {
	for {
		err := s.try(ctx, call)
		_, answered := nfs3.Refusal(err)
		if err == nil || (answered && !nfs3.Temporary(err)) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		each(err)
		if !sleep(ctx, every) {
			return context.Cause(ctx)
		}
	}
}

// sleep waits d and reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
