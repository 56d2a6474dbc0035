package sim

import (
	"context"
	"sync"
)

// Many plays seeds in order of their numbers, jobs of them at once, until ctx
// ends, count of them are played, or one breaks a promise. told is called after
// each, one call at a time. It returns what all came to, and the result with
// the lowest seed that broke a promise, nil when none did.
func Many(ctx context.Context, first, count uint64, jobs int, told func(total *Stats)) (Stats, *Result) {
	m := many{next: first, end: first + count, told: told}
	var wg sync.WaitGroup
	for range max(jobs, 1) {
		wg.Go(func() {
			for ctx.Err() == nil {
				seed, ok := m.take()
				if !ok {
					return
				}
				r := Run(Draw(seed), Options{})
				m.done(&r)
			}
		})
	}
	wg.Wait()
	return m.total, m.bad
}

type many struct {
	mu        sync.Mutex
	next, end uint64
	total     Stats
	bad       *Result
	told      func(*Stats)
}

func (m *many) take() (seed uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.next >= m.end || m.bad != nil {
		return 0, false
	}
	m.next++
	return m.next - 1, true
}

func (m *many) done(r *Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total.Add(&r.Stats)
	if r.Violation != nil && (m.bad == nil || r.Plan.Seed < m.bad.Plan.Seed) {
		m.bad = r
	}
	if m.told != nil {
		m.told(&m.total)
	}
}
