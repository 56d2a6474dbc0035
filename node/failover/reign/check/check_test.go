package check

import (
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
	if !raced {
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
	total, seconds := 0, 0.0
	for _, b := range bounds {
		r := Run(b, None)
		t.Logf("%+v: %v", b, r)
		if r.Violation != "" || !r.Exhausted {
			t.Errorf("%+v: exhausted %v, violation %q", b, r.Exhausted, r.Violation)
		}
		total, seconds = total+r.States, seconds+r.Seconds
	}
	t.Logf("%d states in %.1f s", total, seconds)
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
	}
	for mutant := AckBeforeShrink; mutant <= AckUnentrusted; mutant++ {
		t.Run(mutant.String(), func(t *testing.T) {
			r := Run(bounds[mutant], mutant)
			t.Log(r)
			if r.Violation == "" {
				t.Error("the check did not notice the mutant")
			}
		})
	}
}
