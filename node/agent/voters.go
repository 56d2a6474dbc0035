package agent

import (
	"context"
	"errors"
	"time"

	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
)

// waits are how long a voter may take before it counts as unreachable. The machine asks
// again; a slow answer is worth less than an early "unreachable".
type waits struct{ prepare, accept, renew, release time.Duration }

var (
	boxWaits = waits{400 * time.Millisecond, time.Second, 400 * time.Millisecond, time.Second}
	// etcdWaits are longer: a vote is two requests one after the other, each of which etcd's
	// servers agree on first, and what is asked anew begins anew. A slow etcd would never vote.
	etcdWaits = waits{time.Second, 2 * time.Second, time.Second, 2 * time.Second}
	// localWaits are the own register's: its only delay is its disk.
	localWaits = waits{time.Second, time.Second, time.Second, time.Second}
)

const handOverWait = 2 * time.Second

// errNoVoter is the answer of a voter that is not configured.
var errNoVoter = errors.New("there is no such voter in the configuration")

// voters finds the way to a voter. All volumes of the node share it.
type voters struct {
	self arbiter.NodeID
	ways [3]*way // nil: no such voter
}

// way is the way to one voter, with a courier for each kind of vote.
type way struct{ prepare, accept, renew, release *courier }

// newVoters ties the numbers of the voters to whoever answers for them; witness
// may be nil.
func newVoters(self arbiter.NodeID, local, peer, witness ballot.Caster) *voters {
	v := &voters{self: self}
	v.ways[self] = newWay(local, localWaits)
	v.ways[1-self] = newWay(peer, boxWaits)
	if witness != nil {
		v.ways[arbiter.Witness] = newWay(witness, thirdWaits(witness))
	}
	return v
}

func thirdWaits(third ballot.Caster) waits {
	if _, ok := third.(etcdVoter); ok {
		return etcdWaits
	}
	return boxWaits
}

func newWay(to ballot.Caster, w waits) *way {
	return &way{newCourier(to, w.prepare), newCourier(to, w.accept), newCourier(to, w.renew), newCourier(to, w.release)}
}

// ask sends a vote to a voter; done is called once, from any goroutine.
func (v *voters) ask(ctx context.Context, id arbiter.NodeID, vote ballot.Vote, done func(ballot.Reply, error)) {
	if int(id) >= len(v.ways) || v.ways[id] == nil {
		done(ballot.Reply{}, errNoVoter)
		return
	}
	w := v.ways[id]
	switch {
	case vote.Prepare != nil:
		w.prepare.post(ctx, vote, done)
	case vote.Accept != nil:
		w.accept.post(ctx, vote, done)
	case vote.Renew != nil:
		w.renew.post(ctx, vote, done)
	default:
		w.release.post(ctx, vote, done)
	}
}
