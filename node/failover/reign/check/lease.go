package check

import (
	"fmt"
	"time"

	"gemel/node/arbiter"
	"gemel/node/failover/reign"
)

// LeaseMutant is a rule of the lease that is broken on purpose.
type LeaseMutant uint8

// Lease mutants.
const (
	LeaseAsDesigned   LeaseMutant = iota
	CountFromReceipt              // the holder counts from the grant's arrival
	GrantorForgets                // a restarted grantor does not wait
	NoDriftAllowance              // the holder uses the whole term
	OneGrantIsEnough              // the holder takes the newest grant alone
	RenewAfterPromise             // a voter grants a lease of an epoch it promised to refuse
)

// Real time passes in steps of tick; clocks run up to one percent fast or slow.
const (
	term    = 10_000 * time.Millisecond
	tick    = 50 * time.Millisecond
	horizon = 26_000 * time.Millisecond
	never   = horizon
)

// leaseCase is one course of events around a lease: node 0 reigns and renews
// twice, node 1 campaigns. All times but the clocks' are real.
type leaseCase struct {
	second  time.Duration       // when the second renewal leaves; the first leaves at start
	delay   [2][2]time.Duration // one way, by renewal and voter (1, 2); never: lost
	fast    [3]bool             // the box's clock: one percent fast, else slow
	restart time.Duration       // of voter restarted
	voter   arbiter.NodeID
	asks    time.Duration // when node 1 begins to ask for promises, at every tick from then on
}

const start = time.Second

// local is what voter's clock shows at real time t.
func (c *leaseCase) local(voter arbiter.NodeID, t time.Duration) time.Duration {
	if c.fast[voter] {
		return t + t/100
	}
	return t - t/100
}

// Leases tries all cases and returns how many there were, and the first in
// which node 1 was elected while node 0 still held its lease.
func Leases(mutant LeaseMutant) (cases int, violation string) {
	delays := []time.Duration{0, 4 * time.Second, never}
	for _, second := range []time.Duration{4 * time.Second, 9 * time.Second} {
		for d := range 81 {
			for clocks := range 8 {
				for other := range 12 {
					c := leaseCase{second: second}
					for i := range 4 {
						c.delay[i/2][i%2] = delays[d/[4]int{1, 3, 9, 27}[i]%3]
					}
					for i := range c.fast {
						c.fast[i] = clocks&(1<<i) != 0
					}
					c.disturb(other)
					cases++
					if at := c.run(mutant); at != 0 {
						return cases, fmt.Sprintf("elected at %v before the holder's deadline: %+v", at, c)
					}
				}
			}
		}
	}
	return cases, ""
}

// disturb sets when node 1 asks, and which voter restarts when.
func (c *leaseCase) disturb(i int) {
	c.asks = []time.Duration{500 * time.Millisecond, 6 * time.Second, 12 * time.Second}[i%3]
	c.voter, c.restart = arbiter.Witness, []time.Duration{never, 3 * time.Second, 8 * time.Second, 11 * time.Second}[i/3]
	if i == 11 {
		c.voter = 1
	}
}

// contest is the state of one case under way.
type contest struct {
	*leaseCase
	mutant LeaseMutant
	regs   [3]arbiter.Register
	lease  reign.Lease
	sole   time.Duration // OneGrantIsEnough: the deadline by the newest grant
	won    [3]bool
}

// run returns when node 1 was elected in spite of the lease; zero: never.
func (c *leaseCase) run(mutant LeaseMutant) time.Duration {
	k := contest{leaseCase: c, mutant: mutant, lease: reign.NewLease(0, true, term)}
	set := arbiter.Accepted{Epoch: 2, Version: 2, Set: arbiter.Both}
	for v := range k.regs {
		k.regs[v].Record = arbiter.Record{Promised: 2, Accepted: set}
	}
	for t := time.Duration(0); t < horizon; t += tick {
		k.renewals(t)
		if t == c.restart {
			k.reboot(t)
		}
		if t >= c.asks && k.elected(t) {
			if k.held(t) {
				return t
			}
			return 0
		}
	}
	return 0
}

func (k *contest) renewals(t time.Duration) {
	for i, sent := range []time.Duration{start, k.second} {
		for v := range arbiter.NodeID(3) {
			delay := time.Duration(0)
			if v != 0 {
				delay = k.delay[i][v-1]
			}
			if delay != never && t == sent+delay {
				k.renew(v, t, sent)
			}
		}
	}
}

func (k *contest) renew(v arbiter.NodeID, t, sent time.Duration) {
	reg := k.regs[v]
	if k.mutant == RenewAfterPromise {
		reg.Record.Promised = 2
	}
	if !reg.Renew(k.local(v, t), 2, term).OK {
		return
	}
	if k.mutant != RenewAfterPromise {
		k.regs[v] = reg
	}
	if k.mutant == CountFromReceipt {
		sent = t + (t - sent) // the answer took as long as the question
	}
	k.lease.Granted(v, k.local(0, sent))
	k.sole = max(k.sole, k.local(0, sent)+term-term/50)
}

func (k *contest) reboot(t time.Duration) {
	k.regs[k.voter] = arbiter.Boot(k.regs[k.voter].Record, k.local(k.voter, t), term)
	if k.mutant == GrantorForgets {
		k.regs[k.voter].Guard = 0
	}
}

// elected lets node 1 ask every voter and reports whether it has 2 promises.
func (k *contest) elected(t time.Duration) bool {
	votes := 0
	for v := range arbiter.NodeID(3) {
		reply, _ := k.regs[v].Prepare(k.local(v, t), 3, arbiter.Accepted{})
		k.won[v] = k.won[v] || reply.OK
		if k.won[v] {
			votes++
		}
	}
	return votes >= 2
}

// held reports whether node 0 acts as Primary at real time t. Grants that come
// in later cannot help it: their voters have promised by then or will refuse.
func (k *contest) held(t time.Duration) bool {
	now := k.local(0, t)
	switch k.mutant {
	case OneGrantIsEnough:
		return now < k.sole
	case NoDriftAllowance:
		return k.lease.Until() != 0 && now < k.lease.Until()+term/50
	}
	return k.lease.Held(now)
}
