package walk

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestASeedIsAWalk(t *testing.T) {
	verbs := map[string]bool{}
	for round := range 300 {
		steps := Round(7, round)
		if !reflect.DeepEqual(steps, Round(7, round)) {
			t.Fatalf("round %d differs from itself", round)
		}
		if len(steps) == 0 || len(steps) > mostSteps {
			t.Fatalf("round %d has %d steps", round, len(steps))
		}
		for _, step := range steps {
			verbs[step.Verb] = true
			if step.Wait < 0 || step.Wait > longestWait {
				t.Errorf("round %d waits %v", round, step.Wait)
			}
		}
	}
	if len(verbs) < 14 {
		t.Errorf("300 rounds use only %v", verbs)
	}
	for _, verb := range []string{"slow-disk", "fill-memory", "break-bmc"} {
		if !verbs[verb] {
			t.Errorf("no round uses %s", verb)
		}
	}
	if reflect.DeepEqual(Round(7, 1), Round(8, 1)) && reflect.DeepEqual(Round(7, 2), Round(8, 2)) {
		t.Error("another seed is the same walk")
	}
}

func TestStepsArePasted(t *testing.T) {
	step := Step{Verb: "cut-cable", Args: []string{"server1", "priv", "--one-way", "in"}, Wait: 1500 * time.Millisecond}
	if got, want := step.Command("soak"), "bin/lab cut-cable --lab soak server1 priv --one-way in; sleep 1.5"; got != want {
		t.Errorf("the command is %q, want %q", got, want)
	}
}

// fragile is a world that breaks when all of some verbs are in one round.
type fragile struct {
	breaks  []string
	seen    []string
	broken  bool
	begun   int
	rebuilt int
	kept    []Step
}

var errLost = errors.New("a record is missing")

func (f *fragile) Begin(context.Context) error {
	f.begun++
	f.seen = nil
	if f.broken {
		return errors.New("the lab is broken")
	}
	return nil
}

func (f *fragile) Do(_ context.Context, step Step) error {
	f.seen = append(f.seen, step.Verb)
	return nil
}

func (f *fragile) End(context.Context) (Account, error) {
	for _, verb := range f.breaks {
		if !slices.Contains(f.seen, verb) {
			return Account{Acked: 10, Found: 10, Pause: time.Second}, nil
		}
	}
	f.broken = true
	return Account{Acked: 10}, errLost
}

func (f *fragile) Rebuild(context.Context) error { f.rebuilt++; f.broken = false; return nil }

func (f *fragile) Keep(_ context.Context, _ int, steps []Step, _ error) string {
	f.kept = steps
	return "reports/here"
}

func TestShrinkFindsTheFewest(t *testing.T) {
	var all []Step
	for _, verb := range strings.Fields("a b c d e") {
		all = append(all, Step{Verb: verb})
	}
	for _, test := range []struct{ breaks, want string }{{"c", "c"}, {"b e", "b e"}, {"a b c d e", "a b c d e"}, {"", "e"}} {
		world := &fragile{breaks: strings.Fields(test.breaks)}
		got := Shrink(all, func(steps []Step) bool {
			world.broken = false
			_, err := once(t.Context(), world, steps)
			return err != nil
		})
		var verbs []string
		for _, step := range got {
			verbs = append(verbs, step.Verb)
		}
		if strings.Join(verbs, " ") != test.want {
			t.Errorf("what breaks by %q shrinks to %q", test.breaks, verbs)
		}
	}
}

func TestWalkCountsAndStops(t *testing.T) {
	world := &fragile{breaks: []string{"never"}}
	result, err := Run(t.Context(), world, Options{Lab: "x", Seed: 1, Rounds: 5, Say: t.Logf})
	if err != nil || result.Rounds != 5 || result.Total.Found != 50 || result.Total.Pause != time.Second || len(result.Verbs) == 0 {
		t.Errorf("result %+v, %v", result, err)
	}
}

func TestWalkFailsWithATrace(t *testing.T) {
	world := &fragile{breaks: []string{}} // every round breaks
	var said strings.Builder
	result, err := Run(t.Context(), world, Options{Lab: "x", Seed: 3, Rounds: 9, Shrink: true,
		Say: func(format string, args ...any) { fmt.Fprintf(&said, format+"\n", args...) }})
	var failure *Failure
	if !errors.As(err, &failure) || !errors.Is(err, errLost) || result.Rounds != 1 {
		t.Fatalf("result %+v, %v", result, err)
	}
	if failure.Kept != "reports/here" || len(world.kept) != len(failure.Steps) || len(failure.Smallest) != 1 {
		t.Errorf("failure %+v", failure)
	}
	for _, want := range []string{"# round 0 of seed 3", "bin/lab heal --lab x", "FAILED: a record is missing"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("not said: %q in\n%s", want, said.String())
		}
	}
}
