package failover

import (
	"math"
	"time"
)

// gaps is what is known of the times between a link's heartbeats: a mean and a
// deviation that forget slowly. They are for people; what happens at which silence is
// fixed in the configuration.
type gaps struct {
	known     bool
	mean, dev float64 // seconds
}

const (
	forget = 1.0 / 64 // weight of the newest gap
	phiMax = 99.0
)

func (g *gaps) add(gap time.Duration) {
	s := gap.Seconds()
	if !g.known {
		*g = gaps{known: true, mean: s}
		return
	}
	g.dev += forget * (math.Abs(s-g.mean) - g.dev)
	g.mean += forget * (s - g.mean)
}

// phi is how unlikely the silence is if the link is well, as the negative decimal
// logarithm of its chance: 1 is one of ten, 8 one of a hundred million. least bounds
// the deviation from below, since a quiet link would make a small delay a disaster. The
// curve is the logistic one that comes close to the normal distribution.
func (g *gaps) phi(silent, least time.Duration) float64 {
	if !g.known {
		return 0
	}
	y := (silent.Seconds() - g.mean) / max(g.dev*1.25, least.Seconds())
	e := math.Exp(-y * (1.5976 + 0.070566*y*y))
	chance := e / (1 + e)
	if y < 0 { // e may be without bound
		chance = 1 - 1/(1+e)
	}
	if chance <= 0 {
		return phiMax
	}
	return min(max(0, -math.Log10(chance)), phiMax)
}
