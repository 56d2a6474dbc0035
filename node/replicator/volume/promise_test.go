package volume

import (
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/replicator/control"
)

// A peer that promised more than the reign refuses the Primary. The Primary
// says so, and a new reign in place ends it without touching the application.
func TestAPeerOfANewerPromiseIsMetInANewReign(t *testing.T) {
	p := newPair(t, 16<<20)
	p.promote(0, 2, true)
	p.until(0, "ready to grow", ready)
	p.choose(0, 2, 2, arbiter.Both)
	p.pull(true)
	p.until(0, "shrink", func(s control.VolumeState) bool { return s.WantShrink })
	p.choose(0, 2, 3, arbiter.Only(0))
	if r, err := p.v[1].Prepare(arbiter.PrepareRequest{Epoch: 1003}); err != nil || !r.OK {
		t.Fatalf("prepare: %+v %v", r, err)
	}
	p.pull(false)
	s := p.until(0, "newer promise", func(s control.VolumeState) bool { return s.NewerPromise != 0 })
	if s.NewerPromise != 1003 || s.Connection == control.Connected {
		t.Fatalf("newer promise %d, %s", s.NewerPromise, s.Connection)
	}
	write(t, p.v[0], 1, 20, 64<<10)
	p.promote(0, 1004, false)
	write(t, p.v[0], 2, 20, 64<<10)
	s = p.until(0, "ready to grow again", ready)
	if s.NewerPromise != 0 || s.Epoch != 1004 {
		t.Fatalf("epoch %d, newer promise %d", s.Epoch, s.NewerPromise)
	}
	p.choose(0, 1004, 2, arbiter.Both)
	if err := p.v[0].Flush(); err != nil {
		t.Fatal(err)
	}
	p.identical()
}

// What State says of the register is on stable storage: an agent that restarts
// builds on it.
func TestStateTellsTheStableRegister(t *testing.T) {
	p := newPair(t, 16<<20)
	v := p.v[0]
	v.mu.Lock()
	v.register.Raise(8) // as a vote does, before its record is stored
	v.mu.Unlock()
	if got := v.State().Record.Promised; got != 0 {
		t.Fatalf("promise of %d told before it is stable", got)
	}
	if r, err := v.Prepare(arbiter.PrepareRequest{Epoch: 10}); err != nil || !r.OK {
		t.Fatalf("prepare: %+v %v", r, err)
	}
	if s := v.State(); s.Record.Promised != 10 || s.Record != v.o.Store.Super().Register {
		t.Fatalf("%+v is told, %+v stored", s.Record, v.o.Store.Super().Register)
	}
	if r, err := v.Renew(arbiter.RenewRequest{Epoch: 10, Term: time.Second}); err != nil || r.Record.Promised != 10 {
		t.Fatalf("renew: %+v %v", r, err)
	}
}
