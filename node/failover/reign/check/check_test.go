package check

import (
	"fmt"
	"os"
	"testing"
)

// largeBound runs bounds that take minutes and gigabytes; make soak sets it.
func largeBound() bool { return os.Getenv("GEMEL_CHECK_BOUND") == "large" }

func TestNoBehaviourBreaksAnInvariant(t *testing.T) {
	bounds := []Bounds{
		{From: Birth, Campaigns: 2},
		{From: Birth, Campaigns: 1, Writes: 1, Crashes: 1},
		{Changes: 2, Writes: 2, Cuts: 2},
		{Campaigns: 1, Writes: 1, Cuts: 1, Crashes: 1},
	}
	if !raced && !testing.Short() {
		bounds = append(bounds,
			Bounds{Campaigns: 2, Writes: 1, Cuts: 1},
			Bounds{Campaigns: 1, Changes: 1, Writes: 1, Cuts: 1},
			Bounds{From: Alone, Campaigns: 1, Changes: 1, Writes: 1},
			Bounds{From: Alone, Changes: 2, Writes: 1, Cuts: 1, WitnessLosses: 1},
			Bounds{From: Alone, Changes: 2, Writes: 1, Cuts: 1, AgentRestarts: 1},
			Bounds{Changes: 1, Writes: 1, Cuts: 1, WitnessLosses: 1},
			Bounds{Writes: 1, Cuts: 1, Changes: 1, AgentRestarts: 1},
			Bounds{Campaigns: 1, Writes: 1, AgentRestarts: 1},
			Bounds{Campaigns: 1, Changes: 1, Writes: 1, DiskFailures: 1},
			Bounds{Campaigns: 1, Writes: 1, DiskFailures: 1, Crashes: 1},
			Bounds{Changes: 2, Writes: 1, Cuts: 1, DiskFailures: 1, AgentRestarts: 1},
		)
	}
	explore(t, bounds)
}

// TestNoBehaviourWithoutAThirdVoter looks at pairs without a third voter, at proofs
// that a peer is off, and at changes of the third voter.
func TestNoBehaviourWithoutAThirdVoter(t *testing.T) {
	bounds := []Bounds{
		{From: Birth, Arbiter: Never, Campaigns: 2},
		{Arbiter: Never, Changes: 2, Writes: 1, Cuts: 1, Shots: 2},
		{Arbiter: Dropped, Changes: 1, Writes: 1, Cuts: 1, Shots: 1},
		{Arbiter: Never, Changes: 1, Writes: 1, Cuts: 1, Requests: 1},
	}
	if !raced {
		bounds = append(bounds,
			Bounds{Arbiter: Never, Campaigns: 1, Changes: 1, Writes: 1, Cuts: 1, Shots: 2},
			Bounds{Arbiter: Never, Campaigns: 2, Crashes: 1, Shots: 2},
			Bounds{Arbiter: Never, Campaigns: 1, Writes: 1, PowerCut: 1, Shots: 1},
			Bounds{Arbiter: Dropped, Campaigns: 1, Shots: 1},
			Bounds{Arbiter: Never, Campaigns: 1, Shots: 1, Requests: 1},
			Bounds{Campaigns: 1, Cuts: 1, Requests: 1},
			Bounds{Arbiter: Dropped, Changes: 1, Cuts: 1, AgentRestarts: 1},
			Bounds{Arbiter: Taken, Changes: 1, Cuts: 1},
			Bounds{Arbiter: Retaken, Changes: 1, Cuts: 1, Shots: 1},
			Bounds{Arbiter: Other, Changes: 1, Cuts: 1},
		)
	}
	explore(t, bounds)
}

// explore runs each of bounds, which must show no violation and be seen whole.
func explore(t *testing.T, bounds []Bounds) {
	t.Helper()
	for _, b := range bounds {
		t.Run(fmt.Sprintf("%+v", b), func(t *testing.T) {
			t.Parallel()
			r := Run(b, None)
			t.Log(r)
			if r.Violation != "" || !r.Exhausted {
				t.Errorf("exhausted %v, violation %q", r.Exhausted, r.Violation)
			}
		})
	}
}

// TestADeviceThatLiesBreaksEverything tells what is taken for granted: that a node
// which a device reports as off, twice and after the order, is off.
func TestADeviceThatLiesBreaksEverything(t *testing.T) {
	r := Run(Bounds{Arbiter: Never, Campaigns: 1, Changes: 1, Cuts: 1, Shots: 2, Lies: true}, None)
	t.Log(r)
	if r.Violation == "" {
		t.Error("no violation although a device lies: the check does not see what proofs are for")
	}
}

func TestLargeBounds(t *testing.T) {
	if !largeBound() {
		t.Skip("set GEMEL_CHECK_BOUND=large for bounds that take minutes")
	}
	for _, b := range []Bounds{
		{Campaigns: 1, Writes: 1, Cuts: 1, AgentRestarts: 1},
		{From: Alone, Campaigns: 1, Changes: 2, Writes: 1, Cuts: 1},
		{Campaigns: 1, Writes: 1, WitnessLosses: 1},
		{Campaigns: 1, Changes: 2, Writes: 1, Cuts: 2},
		{Campaigns: 2, Changes: 1, Writes: 2, Cuts: 1},
		{Campaigns: 1, Changes: 1, Writes: 1, Cuts: 1, WitnessLosses: 1},
		{Campaigns: 1, Changes: 1, Writes: 1, Cuts: 1, AgentRestarts: 1},
		{Campaigns: 1, Changes: 1, Writes: 1, DiskFailures: 1, Crashes: 1},
		{Campaigns: 2, Changes: 1, Writes: 1, DiskFailures: 1},
		{Arbiter: Never, Campaigns: 2, Changes: 1, Crashes: 1, Shots: 2},
		{Arbiter: Never, Campaigns: 2, Changes: 1, Writes: 1, PowerCut: 1, Shots: 3},
		{Arbiter: Dropped, Campaigns: 1, Changes: 1, Writes: 1, Cuts: 1, Shots: 2},
		{Arbiter: Dropped, Campaigns: 1, PowerCut: 1, Shots: 2, AgentRestarts: 1},
		{Arbiter: Retaken, Campaigns: 1, Changes: 1, Cuts: 1, Shots: 2},
		{Arbiter: Retaken, Campaigns: 1, WitnessLosses: 1, Shots: 1},
		{Arbiter: Taken, Campaigns: 1},
		{Arbiter: Taken, Campaigns: 1, Changes: 1, Cuts: 1, Shots: 1},
		{Arbiter: Other, Campaigns: 1, Changes: 1, Cuts: 1, Shots: 1},
	} {
		b.MaxStates = 10_000_000
		r := Run(b, None)
		t.Logf("%+v: exhausted %v, %v", b, r.Exhausted, r)
		if r.Violation != "" {
			t.Errorf("%+v: %s", b, r.Violation)
		}
	}
}

func TestMutantsAreCaught(t *testing.T) {
	bounds := map[Mutant]Bounds{
		AckBeforeShrink:  {Writes: 1, Cuts: 1},
		WitnessForgets:   {Campaigns: 1, Changes: 1, Cuts: 1},
		ReturnedWitness:  {Campaigns: 1, Changes: 1, Cuts: 1, WitnessLosses: 1},
		GrowEarly:        {Changes: 2, Writes: 1, Cuts: 1},
		BlindVote:        {Campaigns: 1, Changes: 1, Cuts: 1},
		OthersFirst:      {From: Alone, Campaigns: 1, Changes: 1, Writes: 1, Cuts: 1},
		GrowUnchecked:    {Changes: 2, Writes: 1, Cuts: 2},
		AckBeforeYield:   {Campaigns: 1, Writes: 1, DiskFailures: 1, Crashes: 1},
		CountFailedDisk:  {Campaigns: 1, Changes: 1, Writes: 1, DiskFailures: 1, Crashes: 1},
		AckUnentrusted:   {Changes: 1, Writes: 1, DiskFailures: 1},
		ForgetOpenGrowth: {From: Alone, Changes: 2, Writes: 1, Cuts: 1},
		ChangeUnasked:    {Arbiter: Dropped, Campaigns: 1, Changes: 1, Shots: 1, Cuts: 1},
		CountGivenUp:     {Arbiter: Retaken, Campaigns: 1, Changes: 1, Shots: 1, Cuts: 1},
		AssuredBefore:    {Arbiter: Never, Campaigns: 1, Changes: 1, Cuts: 1, Shots: 2},
		AssuredOfOlder:   {Arbiter: Never, Campaigns: 1, Changes: 1, Cuts: 1, Shots: 1},
		KeepProof:        {Arbiter: Never, Campaigns: 1, Changes: 2, Cuts: 1, Shots: 2},
		RebootProves:     {Arbiter: Never, Campaigns: 1, Changes: 1, Cuts: 1, Requests: 2},
	}
	for mutant := AckBeforeShrink; mutant <= RebootProves; mutant++ {
		t.Run(mutant.String(), func(t *testing.T) {
			t.Parallel()
			r := Run(bounds[mutant], mutant)
			t.Log(r)
			if r.Violation == "" {
				t.Error("the check did not notice the mutant")
			}
		})
	}
}
