// Package walk troubles a lab at random, from a seed, and holds the pair to its promises
// after every round: a client writes, some verbs are picked, everything is healed, and
// every record that was acknowledged must be there.
//
// What it does it can say as commands that anybody can paste, and a round that fails it
// makes smaller. It does not know what a verb does: that is the lab's affair.
package walk

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Step is one verb of the lab and the wait after it.
type Step struct {
	Verb string
	Args []string
	Wait time.Duration
}

// Command is the step as it is typed.
func (s Step) Command(lab string) string {
	words := append([]string{"bin/lab", s.Verb, "--lab", lab}, s.Args...)
	return fmt.Sprintf("%s; sleep %.1f", strings.Join(words, " "), s.Wait.Seconds())
}

// Commands is a round as it is typed, with the healing at its end.
func Commands(lab string, steps []Step) []string {
	var lines []string
	for _, step := range steps {
		lines = append(lines, step.Command(lab))
	}
	return append(lines, "bin/lab heal --lab "+lab)
}

// mostSteps bounds the troubles of one round.
const mostSteps = 4

// longestWait bounds the wait after a step: longer than a lease and a fail-over.
const longestWait = 7 * time.Second

var (
	servers = []string{"server1", "server2"}
	voters  = []string{"server1", "server2", "witness"}
	cables  = []string{"lan", "priv", "priv2"}
)

// Round returns the troubles of one round of a walk. Rounds do not depend on each other.
func Round(seed uint64, round int) []Step {
	dice := picker{rand.New(rand.NewPCG(seed, uint64(round)))}
	var steps []Step
	for range 1 + dice.IntN(mostSteps) {
		step := dice.step()
		// Half of the troubles meet the one before, the other half its consequences.
		if dice.IntN(2) == 0 {
			step.Wait = time.Duration(dice.Int64N(int64(longestWait))).Round(100 * time.Millisecond)
		}
		steps = append(steps, step)
	}
	return steps
}

// picker makes random choices.
type picker struct{ *rand.Rand }

func (p picker) of(all []string) string { return all[p.IntN(len(all))] }

// wire picks a box and one of its cables.
func (p picker) wire() []string {
	if p.IntN(6) == 0 {
		return []string{"witness", "lan"}
	}
	return []string{p.of(servers), p.of(cables)}
}

// step picks a verb; the likely troubles of a server room are picked more often.
func (p picker) step() Step {
	choices := []func() Step{
		func() Step { return Step{Verb: "press-reset", Args: []string{p.of(voters)}} },
		func() Step { return Step{Verb: "press-reset", Args: []string{p.of(servers)}} },
		func() Step { return Step{Verb: "yank-power", Args: []string{p.of(voters)}} },
		func() Step { return Step{Verb: "power-on", Args: []string{p.of(voters)}} },
		func() Step { return Step{Verb: "pull-cable", Args: p.wire()} },
		func() Step { return Step{Verb: "pull-cable", Args: p.wire()} },
		func() Step { return Step{Verb: "plug-cable", Args: p.wire()} },
		func() Step { return Step{Verb: "degrade-cable", Args: append(p.wire(), p.badness()...)} },
		func() Step { return Step{Verb: "cut-cable", Args: append(p.wire(), p.direction()...)} },
		func() Step { return Step{Verb: "mend-cable", Args: p.wire()} },
		func() Step {
			return Step{Verb: "kill-process", Args: []string{p.of(servers), p.of([]string{"replicator", "agent"})}}
		},
		func() Step { return Step{Verb: "pause-process", Args: []string{p.of(servers), "replicator"}} },
		func() Step { return Step{Verb: "kill-process", Args: []string{"witness", "witness"}} },
		func() Step { return Step{Verb: "slow-disk", Args: append([]string{p.of(servers)}, p.slowness()...)} },
		func() Step { return Step{Verb: "fill-memory", Args: []string{p.of(servers)}} },
		func() Step { return Step{Verb: "break-bmc", Args: append([]string{p.of(servers)}, p.powerFault()...)} },
		func() Step {
			return Step{Verb: "exec", Args: []string{p.of(servers), "--", "gemel", "switchover", "--timeout", "10s", "data"}}
		},
	}
	return choices[p.IntN(len(choices))]()
}

// slowness does not last: a disk that fails or hangs for good is given up, and comes back
// only with its box, which healing does not see to.
func (p picker) slowness() []string {
	return [][]string{{"--latency", "5ms"}, {"--latency", "60ms"}, {"--factor", "20"}}[p.IntN(3)]
}

func (p picker) powerFault() []string {
	return [][]string{{"--fail"}, {"--lie"}, {"--slow", "3s"}}[p.IntN(3)]
}

func (p picker) direction() []string {
	return [][]string{nil, {"--one-way", "in"}, {"--one-way", "out"}}[p.IntN(3)]
}

func (p picker) badness() []string {
	kinds := [][]string{
		{"--delay", "20ms", "--jitter", "10ms"},
		{"--loss", "5%"},
		{"--loss", "30%"},
		{"--rate", "20mbit"},
		{"--duplicate", "5%", "--reorder", "5%"},
		{"--delay", "300ms"},
	}
	return append(kinds[p.IntN(len(kinds))], p.direction()...)
}
