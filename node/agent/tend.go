package agent

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gemel/node/api"
	"gemel/node/replicator/control"
	"gemel/node/schedule"
)

// What keeps the two copies of a volume equal, at a person's word or by the
// calendar: verify and resync. The Primary does both.

// verify starts, holds or ends a verify of a volume.
func (a *Agent) verify(ctx context.Context, req control.VerifyRequest, forwarded bool) error {
	o, err := a.owner(req.Volume)
	if err != nil {
		return err
	}
	err = o.tend(ctx, forwarded, func() error { return o.replica.Verify(ctx, req) },
		func(p Peer) error { return p.Verify(ctx, req) })
	if err != nil {
		return fmt.Errorf("%s a verify of volume %s: %w", req.Action, req.Volume, err)
	}
	if o.primaryHere() {
		o.note("verify."+req.Action, verifyOrder(&req), "an operator asked for it")
	}
	return nil
}

func verifyOrder(req *control.VerifyRequest) string {
	switch req.Action {
	case control.ActionPause:
		return "The verify is paused."
	case control.ActionResume:
		return "The verify goes on."
	case control.ActionStop:
		return "The verify is stopped before its end."
	}
	if req.Repair {
		return "Both nodes' disks are compared; what differs is copied from the Primary."
	}
	return "Both nodes' disks are compared."
}

// resync pauses or resumes a volume's resync, or changes its limits.
func (a *Agent) resync(ctx context.Context, req control.ResyncRequest, forwarded bool) error {
	o, err := a.owner(req.Volume)
	if err != nil {
		return err
	}
	err = o.tend(ctx, forwarded, func() error { return o.replica.Resync(ctx, req) },
		func(p Peer) error { return p.Resync(ctx, req) })
	if err != nil {
		return fmt.Errorf("resync of volume %s: %w", req.Volume, err)
	}
	if o.primaryHere() && req.Action != "" {
		o.note("resync."+req.Action, map[string]string{control.ActionPause: "The resync is paused.",
			control.ActionResume: "The resync goes on."}[req.Action], "an operator asked for it")
	}
	return nil
}

// tend has the Primary do something: here, or there unless the order came from
// there.
func (o *owner) tend(ctx context.Context, forwarded bool, here func() error, there func(Peer) error) error {
	if o.primaryHere() {
		return here()
	}
	heard, view := o.heard.Load(), o.view.Load()
	if forwarded || heard == nil || heard.Role != rolePrimary || view == nil || !view.Peer.Alive {
		return &api.Error{Code: api.CodeRefused, Message: "no node that answers is Primary, and only a Primary knows which data is right; " +
			"`gemel status` says what it waits for"}
	}
	best := o.links.best()
	if len(best) == 0 {
		return errNoLink
	}
	if err := there(best[0].peer); err != nil {
		return fmt.Errorf("the Primary was asked: %w", err)
	}
	return nil
}

// noteVerify tells what became of a verify, on the Primary only.
func (o *owner) noteVerify(old, now *control.VolumeState) {
	v := now.Verify
	if old == nil || v == nil || now.Role != control.Primary {
		return
	}
	was := old.Verify
	if was == nil || was.Run != v.Run {
		was = &control.Verify{}
	}
	if was.Found == 0 && v.Found > 0 && v.State != control.VerifyFinished {
		o.note("verify.difference", "The two nodes hold different data.", verifyFound(v), "ranges", rangesOf(v.Ranges))
	}
	if was.State == control.VerifyFinished || v.State != control.VerifyFinished {
		return
	}
	if v.Found == 0 && v.Unreadable == 0 {
		o.note("verify.finished", "The verify found both nodes equal.", verifySkipped(v))
		return
	}
	o.note("verify.finished", "The verify found differences.", verifyFound(v)+verifySkipped(v), "ranges", rangesOf(v.Ranges))
}

func verifyFound(v *control.Verify) string {
	text := fmt.Sprintf("%d bytes differ", v.Found)
	if v.Repair {
		text += fmt.Sprintf(", %d of them are repaired", v.Repaired)
	} else if v.Found > 0 {
		text += "; `gemel volume verify --repair` copies them from the Primary"
	}
	if v.Problem != "" {
		text += "; " + v.Problem
	}
	return text
}

func verifySkipped(v *control.Verify) string {
	if v.Skipped == 0 {
		return ""
	}
	return fmt.Sprintf("; %d bytes were being written at every look and could not be compared", v.Skipped)
}

// rangesShown bounds the ranges named in one event.
const rangesShown = 16

// rangesOf names what was found as OFFSET+LENGTH.
func rangesOf(ranges []control.Range) string {
	var text []string
	for i, r := range ranges {
		if i == rangesShown {
			return strings.Join(append(text, "…"), " ")
		}
		text = append(text, fmt.Sprintf("%d+%d", r.Offset, r.Length))
	}
	return strings.Join(text, " ")
}

// calendarEvery is how often the calendar is looked at.
const calendarEvery = 20 * time.Second

// keepCalendar starts the volume's verifies that are due, until ctx ends.
func (o *owner) keepCalendar(ctx context.Context) {
	c := calendar{when: o.vol.Schedule(), next: o.vol.Schedule().Next(time.Now())}
	for ctx.Err() == nil && !c.next.IsZero() {
		if c.due(time.Now()) && o.primaryHere() {
			o.scheduledVerify(ctx)
		}
		pause(ctx, calendarEvery)
	}
}

// calendar knows when a verify is due.
type calendar struct {
	when schedule.Schedule
	next time.Time
}

// due reports whether a time of the schedule has come since the last call. Ones
// that were slept over count as one.
func (c *calendar) due(now time.Time) bool {
	if c.next.IsZero() || now.Before(c.next) {
		return false
	}
	c.next = c.when.Next(now)
	return true
}

func (o *owner) scheduledVerify(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, watchWait)
	defer cancel()
	err := o.replica.Verify(ctx, control.VerifyRequest{Volume: o.name, Action: control.ActionStart})
	if err != nil {
		o.note("verify.not-started", "The verify that was due did not start.", err.Error())
		return
	}
	o.note("verify.start", "Both nodes' disks are compared.", "it was due by verify-schedule")
}
