package control

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// ledger gives every change of a volume a version, so that a watcher is told of what
// changed and not of everything.
type ledger struct {
	run uint64

	mu      sync.Mutex
	version uint64
	seen    map[string]entry
}

// entry is the newest state of a volume that was seen.
type entry struct{ seq, version uint64 }

func newLedger() *ledger { return &ledger{run: rand.Uint64()>>1 + 1, seen: map[string]entry{}} }

// since enters states and returns those that changed after a version of a run; of
// another run all did. With moving it adds those in which something goes on
// that is not a change by itself, such as a resync.
func (l *ledger) since(states []VolumeState, run, version uint64, moving bool) (Changes, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if run != l.run {
		version = 0
	}
	c := Changes{Run: l.run}
	news := run != l.run
	for i := range states {
		s := &states[i]
		e, known := l.seen[s.Name]
		if !known || e.seq != s.Seq {
			l.version++
			e = entry{s.Seq, l.version}
			l.seen[s.Name] = e
		}
		changed := e.version > version
		news = news || changed
		if changed || moving && s.moves() {
			c.Volumes = append(c.Volumes, *s)
		}
	}
	c.Version = l.version
	return c, news
}

// moves reports whether something goes on that a watcher wants to follow.
func (s *VolumeState) moves() bool {
	return s.Resync != nil || s.Keeping || s.Frozen != "" || s.Verify != nil && s.Verify.State != VerifyFinished
}

// watch replies as soon as a volume changed after the client's version.
func watch(w http.ResponseWriter, r *http.Request, h Handler, book *ledger) {
	run, err1 := strconv.ParseUint(r.FormValue("run"), 10, 64)
	since, err2 := strconv.ParseUint(r.FormValue("since"), 10, 64)
	wait, err3 := strconv.ParseInt(r.FormValue("wait"), 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		refuse(w, &Error{Code: CodeBadRequest, Message: "watch needs run=RUN, since=VERSION and wait=MILLISECONDS: " + err.Error()})
		return
	}
	timer := time.NewTimer(min(max(time.Duration(wait)*time.Millisecond, 0), maxWait))
	defer timer.Stop()
	for over := false; ; {
		states, changed := h.State()
		if c, news := book.since(states, run, since, over); news || over {
			reply(w, c)
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			over = true
		case <-r.Context().Done():
			return
		}
	}
}

// only returns the volume called name; all when it is empty.
func only(states []VolumeState, name string) []VolumeState {
	if name == "" {
		return states
	}
	for i := range states {
		if states[i].Name == name {
			return states[i : i+1]
		}
	}
	return []VolumeState{}
}
