package arbiter_test

import (
	"testing"
	"time"

	"gemel/node/arbiter"
)

const (
	now  = 100 * time.Second
	term = 8 * time.Second
)

// taking is a register that took part: it promised 4 and recorded set.
func taking(set arbiter.Accepted) arbiter.Register {
	return arbiter.Register{Record: arbiter.Record{Promised: 4, Accepted: set}}
}

var both = arbiter.Accepted{Epoch: 4, Version: 2, Set: arbiter.Both}

func TestPrepare(t *testing.T) {
	leased := taking(both)
	leased.Renew(now, 4, term)
	alone := taking(arbiter.Accepted{Epoch: 4, Version: 1, Set: arbiter.Only(0)})
	cases := []struct {
		name     string
		register arbiter.Register
		at       time.Duration
		epoch    arbiter.Epoch
		refusal  string
		persist  bool
		wait     time.Duration
	}{
		{"higher", taking(both), now, 5, "", true, 0},
		{"again", taking(both), now, 4, "", false, 0},
		{"lower", taking(both), now, 3, arbiter.RefusedHigherPromise, false, 0},
		{"no epoch", taking(both), now, 1, arbiter.RefusedMalformed, false, 0},
		{"outside the set", alone, now, 5, arbiter.RefusedOutdated, false, 0},
		{"leased to the other", leased, now + time.Second, 5, arbiter.RefusedLeaseHeld, false, 7 * time.Second},
		{"leased to the asker", leased, now + time.Second, 6, "", true, 0},
		{"lease over", leased, now + term, 5, "", true, 0},
		{"booted", arbiter.Boot(taking(both).Record, now, term), now, 5, arbiter.RefusedLeaseHeld, false, term},
		{"booted, the owner asks", arbiter.Boot(taking(both).Record, now, term), now, 6, "", true, 0},
		{"booted long ago", arbiter.Boot(taking(both).Record, now, term), now + term, 5, "", true, 0},
		{"fresh", arbiter.Boot(arbiter.Record{Fresh: true}, now, term), now, 5, "", true, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := c.register
			reply, persist := c.register.Prepare(c.at, c.epoch, arbiter.Accepted{})
			if reply.Refusal != c.refusal || reply.OK != (c.refusal == "") || persist != c.persist || reply.Wait != c.wait {
				t.Errorf("reply %+v, persist %v", reply, persist)
			}
			if persist != (before.Record != c.register.Record) {
				t.Error("persist does not tell whether the record changed")
			}
			if reply.Record != c.register.Record {
				t.Error("the reply does not show the record")
			}
		})
	}
}

func TestAccept(t *testing.T) {
	fresh := arbiter.Register{Record: arbiter.Record{Fresh: true, Promised: 4}}
	set := func(epoch arbiter.Epoch, version uint32, s arbiter.Set) arbiter.Accepted {
		return arbiter.Accepted{Epoch: epoch, Version: version, Set: s}
	}
	cases := []struct {
		name     string
		register arbiter.Register
		proposal arbiter.Accepted
		refusal  string
		persist  bool
	}{
		{"next version", taking(both), set(4, 3, 1), "", true},
		{"higher epoch", taking(both), set(5, 1, 2), "", true},
		{"again", taking(both), both, "", false},
		{"older version", taking(both), set(4, 1, 1), arbiter.RefusedOlder, false},
		{"old epoch", taking(both), set(3, 9, 2), arbiter.RefusedHigherPromise, false},
		{"two sets under one version", taking(both), set(4, 2, 1), arbiter.RefusedConflict, false},
		{"set without its owner, whose disk failed", taking(both), set(4, 3, 2), "", true},
		{"set of nobody", taking(both), set(4, 3, 0), arbiter.RefusedMalformed, false},
		{"set with a stranger", taking(both), set(4, 3, 7), arbiter.RefusedMalformed, false},
		{"no version", taking(both), set(5, 0, 2), arbiter.RefusedMalformed, false},
		{"fresh, promised", fresh, set(4, 1, 1), "", true},
		{"fresh, unprepared", fresh, set(6, 1, 1), arbiter.RefusedFresh, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := c.register
			reply, persist := c.register.Accept(now, c.proposal)
			if reply.Refusal != c.refusal || reply.OK != (c.refusal == "") || persist != c.persist {
				t.Fatalf("reply %+v, persist %v", reply, persist)
			}
			if !reply.OK && before != c.register {
				t.Error("a refusal changed the register")
			}
			if r := c.register.Record; reply.OK && (r.Accepted != c.proposal || r.Fresh || r.Promised < c.proposal.Epoch) {
				t.Errorf("record is %+v", r)
			}
		})
	}
}

func TestRenewAndRelease(t *testing.T) {
	fresh := arbiter.Register{Record: arbiter.Record{Fresh: true, Promised: 4}}
	cases := []struct {
		register arbiter.Register
		epoch    arbiter.Epoch
		term     time.Duration
		refusal  string
	}{
		{taking(both), 4, term, ""},
		{taking(both), 2, term, arbiter.RefusedHigherPromise},
		{taking(both), 6, term, arbiter.RefusedUnknownEpoch},
		{taking(both), 4, 0, arbiter.RefusedMalformed},
		{taking(both), 4, arbiter.MaxTerm + 1, arbiter.RefusedMalformed},
		{fresh, 4, term, arbiter.RefusedFresh},
	}
	for _, c := range cases {
		if reply := c.register.Renew(now, c.epoch, c.term); reply.Refusal != c.refusal || reply.OK != (c.refusal == "") {
			t.Errorf("renew epoch %d for %v: %+v, want refusal %q", c.epoch, c.term, reply, c.refusal)
		}
	}
	r := arbiter.Boot(taking(both).Record, now, term)
	r.Renew(now, 4, term)
	r.Release(2)
	if reply, _ := r.Prepare(now, 5, arbiter.Accepted{}); reply.OK {
		t.Error("the release of an older reign freed the lease")
	}
	r.Release(4)
	if reply, _ := r.Prepare(now, 5, arbiter.Accepted{}); !reply.OK {
		t.Errorf("after the release: %+v", reply)
	}
}

func TestRaise(t *testing.T) {
	r := taking(both)
	if r.Raise(4) || !r.Raise(7) || r.Record.Promised != 7 || r.Record.Accepted != both {
		t.Errorf("register is %+v", r)
	}
}

func TestEveryRefusalHasWords(t *testing.T) {
	for _, refusal := range []string{
		arbiter.RefusedMalformed, arbiter.RefusedHigherPromise, arbiter.RefusedLeaseHeld, arbiter.RefusedFresh,
		arbiter.RefusedUnknownEpoch, arbiter.RefusedOlder, arbiter.RefusedConflict, arbiter.RefusedOutdated,
	} {
		if arbiter.Words(refusal) == refusal {
			t.Errorf("%q has no words", refusal)
		}
	}
	if arbiter.Words("brand-new") != "brand-new" {
		t.Error("an unknown refusal is not passed on")
	}
}
