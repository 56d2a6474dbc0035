package reign_test

import (
	"strings"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/failover/reign"
)

// court is three real registers that answer at once unless they are down.
type court struct {
	t      *testing.T
	regs   [3]arbiter.Register
	down   [3]bool
	failed bool // the disk of node 0
	now    time.Duration
}

func newCourt(t *testing.T) *court {
	t.Helper()
	c := &court{t: t}
	for v := range c.regs {
		c.regs[v].Record.Fresh = true
	}
	return c
}

// ask delivers messages and everything that follows from the answers.
func (c *court) ask(p *reign.Proposer, messages []reign.Message) {
	c.t.Helper()
	for rounds := 0; len(messages) > 0; rounds++ {
		if rounds > 100 {
			c.t.Fatal("the proposer never rests")
		}
		m := messages[0]
		messages = append(messages[1:], c.answer(p, m)...)
	}
}

func (c *court) answer(p *reign.Proposer, m reign.Message) []reign.Message {
	if c.down[m.Voter] {
		p.Unreachable(m.Voter, m.Epoch)
		return nil
	}
	if m.Kind == reign.SendPrepare {
		reply, _ := c.regs[m.Voter].Prepare(c.now, m.Epoch, m.Known)
		return p.Promise(m.Voter, m.Epoch, reply)
	}
	reply, _ := c.regs[m.Voter].Accept(c.now, m.Proposal)
	reply.Volatile = c.failed && m.Voter == 0
	return p.Accepted(m.Voter, m.Proposal, reply)
}

func (c *court) campaign(p *reign.Proposer, epoch arbiter.Epoch) {
	c.t.Helper()
	c.ask(p, p.Campaign(epoch, c.regs[epoch.Owner()].Record.Accepted))
}

// pair is a court in which node 0 reigns in epoch 2 and both nodes are in sync.
func pair(t *testing.T) (*court, reign.Proposer) {
	t.Helper()
	c, p := newCourt(t), reign.New(0, 0)
	c.campaign(&p, 2)
	c.ask(&p, p.Grow())
	if p.State() != reign.Reigning || p.Chosen().Set != arbiter.Both {
		t.Fatalf("state %v, chosen %+v", p.State(), p.Chosen())
	}
	return c, p
}

func TestBirthNeedsEveryVoter(t *testing.T) {
	c, p := newCourt(t), reign.New(0, 0)
	c.down[1] = true
	c.campaign(&p, 2)
	if r := p.Refusal(); p.State() != reign.Preparing || r.Kind != reign.NoMajority || !r.Missing[1] {
		t.Errorf("state %v, refusal %+v", p.State(), r)
	}
	c.down[1] = false
	c.ask(&p, p.Retry())
	if p.State() != reign.Reigning || !p.Birth() || p.NeedsLease() {
		t.Errorf("state %v, birth %v, needs a lease %v", p.State(), p.Birth(), p.NeedsLease())
	}
}

func TestABirthThatBrokeOffIsFinished(t *testing.T) {
	c := newCourt(t)
	for v := range c.regs {
		c.regs[v].Prepare(0, 2, arbiter.Accepted{})
	}
	c.regs[0].Accept(0, arbiter.Accepted{Epoch: 2, Version: 1, Set: arbiter.Only(0)})
	again := reign.New(0, 0)
	c.campaign(&again, 4)
	if again.State() != reign.Reigning || !again.Birth() {
		t.Errorf("state %v, refusal %+v", again.State(), again.Refusal())
	}
}

func TestShrinkAndGrow(t *testing.T) {
	c, p := pair(t)
	if !p.NeedsLease() || p.Birth() && p.Chosen().Version != 2 {
		t.Error("a pair needs a lease")
	}
	if p.Grow() != nil {
		t.Error("the pair grows again")
	}
	c.down[1] = true
	c.ask(&p, p.Shrink())
	if p.NeedsLease() || p.Chosen().Set != arbiter.Only(0) || p.Shrink() != nil {
		t.Errorf("chosen %+v, lease %v", p.Chosen(), p.NeedsLease())
	}
	c.down[1] = false
	c.ask(&p, p.Retry())
	if c.regs[1].Record.Accepted != p.Chosen() {
		t.Error("a voter that lagged behind was not told")
	}
}

func TestShrinkOverAnUndecidedGrowth(t *testing.T) {
	c, p := newCourt(t), reign.New(0, 0)
	c.campaign(&p, 2)
	c.down[1], c.down[2] = true, true
	c.ask(&p, p.Grow())
	c.ask(&p, p.Shrink())
	if set, pending := p.Pending(); !pending || set.Version != 3 || set.Set != arbiter.Only(0) || !p.NeedsLease() {
		t.Errorf("pending %+v %v; the growth is in force until the shrink is chosen", set, pending)
	}
	c.down[2] = false
	c.ask(&p, p.Retry())
	if p.NeedsLease() || p.Chosen().Version != 3 {
		t.Errorf("chosen %+v", p.Chosen())
	}
}

func TestOwnRegisterRecordsFirst(t *testing.T) {
	c, p := pair(t)
	m := p.Shrink()
	if len(m) != 1 || m[0].Voter != 0 {
		t.Errorf("shrink asks %+v", m)
	}
	c.ask(&p, m)
}

func TestACampaignInVainDoesNotRaiseTheOwnPromise(t *testing.T) {
	c, p := pair(t)
	c.down[1] = true
	c.ask(&p, p.Shrink())
	c.down[0], c.down[1] = true, false
	before := c.regs
	other := reign.New(1, 0)
	c.campaign(&other, 3)
	if c.regs != before || other.Refusal().Kind != reign.Outdated {
		t.Errorf("registers %+v, refusal %+v", c.regs, other.Refusal())
	}
}

func TestTheOutdatedNodeIsRefused(t *testing.T) {
	c, p := pair(t)
	c.down[1] = true
	c.ask(&p, p.Shrink())
	c.down[0], c.down[1] = true, false
	other := reign.New(1, 0)
	c.campaign(&other, 3)
	r := other.Refusal()
	if r.Kind != reign.Outdated || r.Newest != p.Chosen() {
		t.Errorf("refusal %+v", r)
	}
	if words := r.Words("data", [3]string{"server1", "server2", "witness"}); !strings.Contains(words, "server1") || !strings.Contains(words, "`gemel grab data --stale`") {
		t.Errorf("words %q", words)
	}
	if m := other.ByHand(1003, c.regs[1].Record.Accepted, false); m == nil {
		t.Error("a campaign by hand asks nobody")
	}
}

func TestAnUndecidedReignOfTheOtherDoesNotBar(t *testing.T) {
	c, p := pair(t)
	p.Abandon()
	other := reign.New(1, 0)
	for _, m := range other.Campaign(3, c.regs[1].Record.Accepted) {
		c.answer(&other, m)
	}
	c.regs[1].Accept(0, arbiter.Accepted{Epoch: 3, Version: 1, Set: arbiter.Only(1)}) // and dies before it asks the others
	first := reign.New(0, 0)
	c.campaign(&first, 4)
	if first.State() != reign.Reigning {
		t.Errorf("state %v, refusal %+v", first.State(), first.Refusal())
	}
}

func TestOvertakenBetweenElectionAndRecord(t *testing.T) {
	c, _ := pair(t)
	p := reign.New(1, 0)
	messages := p.Campaign(3, arbiter.Accepted{})
	for p.State() == reign.Preparing {
		messages = append(messages[1:], c.answer(&p, messages[0])...)
	}
	c.regs[0].Raise(8)
	c.regs[2].Raise(8)
	c.ask(&p, messages)
	if r := p.Refusal(); p.State() != reign.Accepting || r.Kind != reign.HigherPromise || r.Epoch != 8 {
		t.Errorf("state %v, refusal %+v", p.State(), r)
	}
}

func TestLeaseDelaysAndDoesNotLose(t *testing.T) {
	c, _ := pair(t)
	for v := range c.regs {
		c.regs[v].Renew(c.now, 2, 8*time.Second)
	}
	c.down[0] = true
	other := reign.New(1, 0)
	c.campaign(&other, 3)
	if r := other.Refusal(); r.Kind != reign.LeaseHeld || other.Wait() != 8*time.Second {
		t.Errorf("refusal %+v", r)
	}
	c.now = 8 * time.Second
	c.ask(&other, other.Retry())
	if other.State() != reign.Reigning {
		t.Errorf("after the lease: %v, %+v", other.State(), other.Refusal())
	}
}

func TestTheLoserLearnsIt(t *testing.T) {
	c, p := pair(t)
	other := reign.New(1, 0)
	c.campaign(&other, 3)
	c.ask(&p, p.Shrink())
	if !p.Superseded() || p.Highest() != 3 {
		t.Errorf("superseded %v, highest %d", p.Superseded(), p.Highest())
	}
	p.Abandon()
	if p.State() != reign.Idle || p.Highest() != 3 || p.Retry() != nil {
		t.Errorf("abandoned: %+v", p)
	}
}

func TestResumeGoesOnWithTheNewestOwnSet(t *testing.T) {
	c, p := pair(t)
	c.down[1], c.down[2] = true, true
	c.ask(&p, p.Shrink())
	again := reign.New(0, 0)
	c.down[2] = false
	c.ask(&again, again.Resume(c.regs[0].Record))
	if again.State() != reign.Reigning || again.Chosen().Set != arbiter.Only(0) || again.Chosen().Version != 3 {
		t.Errorf("state %v, chosen %+v", again.State(), again.Chosen())
	}
	c.regs[0].Raise(9)
	lost := reign.New(0, 0)
	if m := lost.Resume(c.regs[0].Record); m != nil || !lost.Superseded() || lost.State() != reign.Idle {
		t.Errorf("a lost reign was resumed: %+v", m)
	}
}

func TestAWitnessThatLostItsMemoryIsTakenBack(t *testing.T) {
	c, p := pair(t)
	before := p.Chosen()
	c.regs[2] = arbiter.Register{Record: arbiter.Record{Fresh: true}}
	c.ask(&p, p.Heard(2, c.regs[2].Record))
	if p.Chosen().Version != before.Version+1 || c.regs[2].Record.Fresh || c.regs[2].Record.Accepted != p.Chosen() {
		t.Errorf("chosen %+v, the witness has %+v", p.Chosen(), c.regs[2].Record)
	}
	c.regs[2] = arbiter.Register{Record: arbiter.Record{Fresh: true}}
	c.down[1] = true
	c.ask(&p, p.Heard(2, c.regs[2].Record))
	c.ask(&p, p.Shrink())
	if set, pending := p.Pending(); !pending || set.Set != arbiter.Only(0) {
		t.Errorf("without the peer the new witness must not count: pending %+v %v", set, pending)
	}
}

func TestByHand(t *testing.T) {
	cases := []struct {
		name   string
		shrunk bool
		stale  bool
		leased bool
		want   reign.RefusalKind
	}{
		{"peer and witness are gone", false, false, false, reign.None},
		{"a lease is held", false, false, true, reign.LeaseHeld},
		{"own data is known to be old", true, false, false, reign.Outdated},
		{"and that is accepted", true, true, false, reign.None},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			k, p := pair(t)
			if c.shrunk {
				k.ask(&p, p.Shrink())
			}
			if c.leased {
				k.regs[1].Renew(0, 2, time.Minute)
			}
			k.down[0], k.down[2] = true, true
			other := reign.New(1, 0)
			k.ask(&other, other.ByHand(1003, k.regs[1].Record.Accepted, c.stale))
			refusal := other.Refusal().Kind
			k.ask(&other, other.Decide())
			if won := other.State() == reign.Reigning; refusal != c.want || won != (c.want == reign.None) {
				t.Errorf("refusal %v, state %v", refusal, other.State())
			}
		})
	}
}

// TestByHandWithoutAMemory: a replica was filled, and its register was never
// asked. Its data is whole, and only a human can know.
func TestByHandWithoutAMemory(t *testing.T) {
	for _, stale := range []bool{false, true} {
		k, _ := pair(t)
		k.regs[1] = arbiter.Register{Record: arbiter.Record{Fresh: true}}
		k.down[0], k.down[2] = true, true
		p := reign.New(1, 0)
		k.ask(&p, p.ByHand(1003, k.regs[1].Record.Accepted, stale))
		k.ask(&p, p.Decide())
		if won := p.State() == reign.Reigning; won != stale {
			t.Errorf("stale %v: state %v, refusal %v", stale, p.State(), p.Refusal().Kind)
		}
	}
}

func TestTwoVoters(t *testing.T) {
	c, p := newCourt(t), reign.New(0, arbiter.NoThird)
	c.campaign(&p, 2)
	c.ask(&p, p.Grow())
	c.down[1] = true
	c.ask(&p, p.Shrink())
	if set, pending := p.Pending(); !pending || set.Set != arbiter.Only(0) {
		t.Error("without a witness one node decided alone")
	}
	c.down[1] = false
	c.ask(&p, p.Retry())
	if p.Chosen().Set != arbiter.Only(0) {
		t.Errorf("chosen %+v", p.Chosen())
	}
}

func TestLeaseDeadlineIsTheSecondNewestGrant(t *testing.T) {
	const term = 8 * time.Second
	l := reign.NewLease(0, true, term)
	for _, c := range []struct {
		voter arbiter.NodeID
		sent  time.Duration
		want  time.Duration
	}{
		{0, 10 * time.Second, 0},
		{0, 11 * time.Second, 0},
		{1, 10 * time.Second, 17840 * time.Millisecond},
		{2, 12 * time.Second, 18840 * time.Millisecond},
		{2, 9 * time.Second, 18840 * time.Millisecond},
		{3, 99 * time.Second, 18840 * time.Millisecond},
	} {
		l.Granted(c.voter, c.sent)
		if l.Until() != c.want {
			t.Errorf("after voter %d, %v: until %v, want %v", c.voter, c.sent, l.Until(), c.want)
		}
	}
	if l.Held(18840*time.Millisecond) || !l.Held(18*time.Second) {
		t.Error("held is not what until says")
	}
}

// TestBrokenOffBirthGoesAboveAHigherPromise: a birth needs every voter, so one
// that promised a higher epoch to the other node must make the candidate
// campaign anew, above it.
func TestBrokenOffBirthGoesAboveAHigherPromise(t *testing.T) {
	c := newCourt(t)
	p := reign.New(1, 0)
	c.down[0], c.down[2] = true, true
	c.regs[1].Prepare(0, 3, arbiter.Accepted{})
	c.regs[1].Accept(0, arbiter.Accepted{Epoch: 3, Version: 1, Set: arbiter.Only(1)}) // where the birth broke off
	c.down = [3]bool{}
	c.regs[2].Prepare(0, 8, arbiter.Accepted{}) // the other node asked meanwhile
	c.campaign(&p, 5)
	if r := p.Refusal(); r.Kind != reign.HigherPromise || r.Epoch != 8 {
		t.Fatalf("refusal %+v", r)
	}
	c.campaign(&p, 9)
	if p.State() != reign.Reigning || !p.Birth() {
		t.Fatalf("%v, refusal %+v", p.State(), p.Refusal())
	}
}

// TestYield: a node whose disk failed leaves the set to its peer. Its own
// register does not count in that, and it does not come back in the same reign.
func TestYield(t *testing.T) {
	c, p := pair(t)
	c.failed = true
	c.down[arbiter.Witness] = true
	c.ask(&p, p.Yield())
	if p.Chosen().Set != arbiter.Both {
		t.Fatalf("chosen by the peer alone: %+v", p.Chosen())
	}
	c.down[arbiter.Witness] = false
	c.ask(&p, p.Retry())
	if p.Chosen().Set != arbiter.Only(1) || !p.NeedsLease() {
		t.Fatalf("chosen %+v", p.Chosen())
	}
	if p.Yield() != nil || p.Shrink() != nil || p.Grow() != nil {
		t.Error("it comes back")
	}
	again := reign.New(0, 0)
	messages := again.Resume(c.regs[0].Record)
	again.Mute()
	c.down[arbiter.Witness] = true
	c.ask(&again, messages)
	if again.Chosen().Version != 0 || again.Shrink() != nil {
		t.Errorf("after a restart of the agent: chosen %+v by two of which one cannot keep it", again.Chosen())
	}
	other := reign.New(1, 0)
	c.campaign(&other, 3)
	if other.State() != reign.Reigning && other.Refusal().Kind == reign.Outdated {
		t.Errorf("the peer cannot be elected: %v", other.Refusal())
	}
}

func TestYieldNeedsBoth(t *testing.T) {
	c, p := pair(t)
	c.down[1] = true
	c.ask(&p, p.Shrink())
	if p.Yield() != nil {
		t.Error("a set without the peer was left to it")
	}
}
