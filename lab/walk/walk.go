package walk

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// World is what a walk troubles and asks.
type World interface {
	// Begin makes sure that the pair is whole, and starts a client that writes.
	Begin(ctx context.Context) error
	// Do carries a step out, and waits as long as it says.
	Do(ctx context.Context, step Step) error
	// End heals everything, stops the client, and asks every oracle. An error says what
	// does not hold.
	End(ctx context.Context) (Account, error)
	// Rebuild makes the pair anew, whatever is left of it.
	Rebuild(ctx context.Context) error
	// Keep keeps what tells why a round failed, and returns where.
	Keep(ctx context.Context, round int, steps []Step, cause error) string
}

// Account is what a round's client saw.
type Account struct {
	Acked  uint64        // records acknowledged
	Found  uint64        // of those, read back
	Errors uint64        // that the client was told
	Pause  time.Duration // the longest without an acknowledgement
}

// Options bound a walk. It ends with the first of For and Rounds that is reached.
type Options struct {
	Lab    string
	Seed   uint64
	First  int           // number of the first round
	Rounds int           // 0: no bound
	For    time.Duration // 0: no bound
	Shrink bool          // make a failing round smaller
	Say    func(format string, args ...any)
}

// Result is what a walk did.
type Result struct {
	Rounds  int
	Verbs   map[string]int
	Total   Account // sums; the pause is the longest of all
	Failure *Failure
}

// Failure is a round that broke a promise.
type Failure struct {
	Round    int
	Steps    []Step
	Cause    error
	Kept     string // where its findings are
	Smallest []Step // that still fail; empty: not tried
}

// Error tells what broke and how to do it again.
func (f *Failure) Error() string {
	return fmt.Sprintf("round %d broke a promise: %v", f.Round, f.Cause)
}

func (f *Failure) Unwrap() error { return f.Cause }

// Run walks until the options or ctx say stop, or a promise is broken. The result is
// valid with an error, too.
func Run(ctx context.Context, world World, options Options) (Result, error) {
	result := Result{Verbs: map[string]int{}}
	begun := time.Now()
	for n := options.First; ctx.Err() == nil; n++ {
		if options.Rounds > 0 && result.Rounds == options.Rounds || options.For > 0 && time.Since(begun) >= options.For {
			return result, nil
		}
		steps := Round(options.Seed, n)
		options.Say("# round %d of seed %d", n, options.Seed)
		for _, line := range Commands(options.Lab, steps) {
			options.Say("%s", line)
		}
		account, err := once(ctx, world, steps)
		if ctx.Err() != nil {
			break // an interrupted round proves nothing
		}
		result.add(steps, account)
		if err != nil {
			result.Failure = fail(ctx, world, n, steps, err, options)
			return result, result.Failure
		}
		options.Say("# %d records acknowledged, %d must be there and are, longest pause %v", account.Acked, account.Found, account.Pause)
	}
	return result, nil
}

func (r *Result) add(steps []Step, account Account) {
	r.Rounds++
	for _, step := range steps {
		r.Verbs[step.Verb]++
	}
	r.Total.Acked += account.Acked
	r.Total.Found += account.Found
	r.Total.Errors += account.Errors
	r.Total.Pause = max(r.Total.Pause, account.Pause)
}

// once plays one round.
func once(ctx context.Context, world World, steps []Step) (Account, error) {
	if err := world.Begin(ctx); err != nil {
		return Account{}, fmt.Errorf("before the first trouble: %w", err)
	}
	for _, step := range steps {
		if err := world.Do(ctx, step); err != nil {
			return Account{}, fmt.Errorf("%s %s: %w", step.Verb, strings.Join(step.Args, " "), err)
		}
	}
	return world.End(ctx)
}

func fail(ctx context.Context, world World, round int, steps []Step, cause error, options Options) *Failure {
	failure := &Failure{Round: round, Steps: steps, Cause: cause}
	options.Say("# FAILED: %v", cause)
	failure.Kept = world.Keep(ctx, round, steps, cause)
	if !options.Shrink {
		return failure
	}
	failure.Smallest = Shrink(steps, func(fewer []Step) bool {
		if ctx.Err() != nil {
			return false
		}
		if err := world.Rebuild(ctx); err != nil {
			options.Say("# cannot make the lab anew: %v", err)
			return false
		}
		_, err := once(ctx, world, fewer)
		options.Say("# with %d of %d steps: %v", len(fewer), len(steps), err)
		return err != nil && ctx.Err() == nil
	})
	return failure
}

// tries is how often fewer steps may pass before they are taken for harmless: what fails
// in a race does not fail each time.
const tries = 2

// Shrink returns the fewest of the steps that it finds failing, in their order; all of
// them when every one is needed.
func Shrink(steps []Step, fails func([]Step) bool) []Step {
	for at := 0; at < len(steps) && len(steps) > 1; {
		fewer := append(append([]Step{}, steps[:at]...), steps[at+1:]...)
		failed := false
		for try := 0; try < tries && !failed; try++ {
			failed = fails(fewer)
		}
		if failed {
			steps = fewer
		} else {
			at++
		}
	}
	return steps
}
