package tour

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gemel/node/replicator/control"
)

// article is the first sync of the article, in bytes per second.
const article = 38_000_000

// createAll makes the volume where it does not exist yet, and says whether it had to.
func (t *tour) createAll(ctx context.Context) (bool, error) {
	made := false
	for _, node := range servers {
		v, err := t.lookPatiently(ctx, node)
		if err != nil {
			return made, err
		}
		if v.volume.Problem == "" && v.volume.Size > 0 {
			continue
		}
		if _, err := t.command(ctx, 20*time.Second, node, "gemel", "volume", "create", volume); err != nil {
			if v.volume.Problem != "" {
				err = fmt.Errorf("%w (its volume before: %s)", err, v.volume.Problem)
			}
			return made, err
		}
		t.screen.Line(fmt.Sprintf("%s: gemel volume create %s", node, volume))
		made = true
	}
	if !made {
		t.screen.Line("The volume exists since an earlier visit; nothing is made anew.")
	}
	return made, nil
}

// lookPatiently gives a box that was just switched on time for its daemons.
func (t *tour) lookPatiently(ctx context.Context, node string) (view, error) {
	until := time.Now().Add(patience)
	for {
		v, err := t.look(ctx, node)
		if err == nil && v.status.ReplicatorProblem != "" {
			err = errors.New(v.status.ReplicatorProblem)
		}
		if err == nil {
			return v, nil
		}
		if time.Now().After(until) || !sleep(ctx, 300*time.Millisecond) {
			return view{}, fmt.Errorf("%s does not answer `gemel status`: %w", node, err)
		}
	}
}

// meter measures a resync from what was seen of it.
type meter struct {
	label         string
	before, after time.Time // last look in front of it, first look behind it
	from, to      time.Time // first and last look at it
	start, done   int64     // bytes
	total         int64
	seen, halted  bool
}

// add takes one look at a volume into account.
func (m *meter) add(at time.Time, r *control.Resync) {
	switch {
	case r == nil && m.seen && !m.halted:
		m.after, m.halted = at, true
		return
	case r == nil:
		if !m.seen {
			m.before = at
		}
		return
	case !m.seen || r.Done < m.done:
		// A resync that began again is another one.
		*m = meter{label: m.label, before: m.before, from: at, start: r.Done, seen: true}
	}
	m.to, m.done, m.total, m.halted = at, r.Done, r.Total, false
}

// short reports that too little of the resync was seen between two looks to tell its
// rate from: it was over before the next one.
func (m *meter) short() bool { return (m.done-m.start)*4 < m.total }

// rate is the mean between the first and the last look, in bytes per second; of a
// short resync that ended the least that it can have been, and 0 when nothing is known.
func (m *meter) rate() int64 {
	bytes, took := m.done-m.start, m.to.Sub(m.from).Seconds()
	if m.short() {
		if !m.halted {
			return 0
		}
		bytes, took = m.total, m.bound().Seconds()
	}
	if took <= 0 {
		return 0
	}
	return int64(float64(bytes) / took)
}

// bound is the time that a resync that ended cannot have exceeded.
func (m *meter) bound() time.Duration {
	if m.before.IsZero() {
		return m.after.Sub(m.from)
	}
	return m.after.Sub(m.before)
}

// words are the whole resync in a sentence; "" when too little was seen to tell.
func (m *meter) words() string {
	rate := m.rate()
	if rate == 0 {
		return ""
	}
	if m.short() {
		return fmt.Sprintf("%d MB in less than %.1f s, over %d MB/s", m.total/1e6, m.bound().Seconds(), rate/1e6)
	}
	return fmt.Sprintf("%d MB in %.1f s, %d MB/s", m.total/1e6, float64(m.total)/float64(rate), rate/1e6)
}

func (m *meter) finished() Progress {
	return Progress{Label: m.label, Done: m.total, Total: m.total, Rate: m.rate()}
}

func (m *meter) progress(r *control.Resync) Progress {
	return Progress{Label: m.label, Done: r.Done, Total: r.Total, Rate: r.Rate, Left: r.ETA}
}

// waitHealthy shows the sync until both disks are equal and one server serves. The
// meter is that of the first sync, or nil when that was at an earlier visit.
func (t *tour) waitHealthy(ctx context.Context, created bool) (*meter, error) {
	m, why := &meter{label: "resync"}, "nobody was asked yet"
	if created {
		m.label = "first sync"
	}
	until := time.Now().Add(patience)
	for {
		v, err := t.lookAny(ctx)
		if err == nil {
			m.add(v.status.Time, v.volume.Resync)
		}
		switch {
		case err != nil:
			why = err.Error()
		case v.missing() == "":
			t.sayHealthy(m, created, v)
			if !created {
				m = nil
			}
			return m, nil
		case v.volume.Resync != nil:
			t.screen.Bar(m.progress(v.volume.Resync))
			until = time.Now().Add(patience)
		default:
			why = v.missing()
		}
		if time.Now().After(until) {
			return nil, fmt.Errorf("the pair is not healthy after %v: %s", patience, why)
		}
		if !sleep(ctx, 300*time.Millisecond) {
			return nil, ctx.Err()
		}
	}
}

// lookAny prefers the Primary's view: it knows more than its peer.
func (t *tour) lookAny(ctx context.Context) (view, error) {
	var errs []error
	for _, node := range servers {
		v, err := t.look(ctx, node)
		if err == nil && v.primary() == otherOf(node) {
			v, err = t.look(ctx, otherOf(node))
		}
		if err == nil {
			return v, nil
		}
		errs = append(errs, err)
	}
	return view{}, errors.Join(errs...)
}

func (t *tour) sayHealthy(m *meter, created bool, v view) {
	if m.seen {
		t.screen.Bar(m.finished())
	}
	t.screen.EndBar()
	if created && m.words() != "" {
		t.screen.Line(fmt.Sprintf("First sync: %s, zeroes not sent; the article of 2004 had %d MB/s.", m.words(), article/1_000_000))
	}
	names := slices.Clone(v.volume.InSyncBy)
	slices.Sort(names)
	t.screen.Line(t.screen.paint(green, "HEALTHY") + fmt.Sprintf(": %s is Primary; in sync: %s.", v.primary(), strings.Join(names, " and ")))
}

// waitExport waits until the file service answers the client on the cluster's address.
func (t *tour) waitExport(ctx context.Context) error {
	vip := clusterAddress()
	until := time.Now().Add(patience)
	for {
		_, err := t.command(ctx, 5*time.Second, "client", "timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/"+vip+"/2049")
		if err == nil {
			t.screen.Line(fmt.Sprintf("NFS answers the client on %s, the address of the pair.", vip))
			return nil
		}
		if time.Now().After(until) || !sleep(ctx, 300*time.Millisecond) {
			return fmt.Errorf("NFS does not answer the client on %s: %w", vip, err)
		}
	}
}
