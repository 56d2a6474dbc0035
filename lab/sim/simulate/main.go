// Command simulate plays simulated pairs from their seeds and says what broke.
//
// Example:
//
//	go run ./lab/sim/simulate -seeds 2000            seeds 1 … 2000
//	go run ./lab/sim/simulate -for 1h                as many as an hour holds
//	go run ./lab/sim/simulate -first 17 -story       one seed, told in words
//	go run ./lab/sim/simulate -first 17 -keep 2,5    one seed with two of its faults
//	go run ./lab/sim/simulate -mutants               each mutant must be found
//
// It exits with 3 when a promise was broken and with 1 when it could not work.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"gemel/lab/sim"
)

// exitBroken is the exit code of a broken promise.
const exitBroken = 3

var errBroken = errors.New("a promise was broken")

type options struct {
	first, seeds uint64
	jobs         int
	limit        time.Duration
	keep         string
	story        bool
	mutants      bool
	only         string
	brief        bool
}

func main() {
	var o options
	flag.Uint64Var(&o.first, "first", 1, "first seed")
	flag.Uint64Var(&o.seeds, "seeds", 1, "how many seeds")
	flag.IntVar(&o.jobs, "jobs", runtime.NumCPU(), "how many at once")
	flag.DurationVar(&o.limit, "for", 0, "go on for this long, whatever -seeds says")
	flag.StringVar(&o.keep, "keep", "", "play seed -first with none but these faults, such as 2,5 or none, and tell it in words")
	flag.BoolVar(&o.story, "story", false, "play seed -first and tell it in words")
	flag.BoolVar(&o.mutants, "mutants", false, "play patched copies of the product; each must be found within -seeds")
	flag.StringVar(&o.only, "mutant", "", "with -mutants: only those whose name holds this")
	flag.BoolVar(&o.brief, "brief", false, "print one line and do not shrink")
	flag.Parse()
	debug.SetGCPercent(400)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, o)
	if errors.Is(err, errBroken) {
		os.Exit(exitBroken)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	switch {
	case o.mutants:
		return runMutants(ctx, o)
	case o.story || o.keep != "":
		keep, err := parseKeep(o.keep)
		if err != nil {
			return err
		}
		fmt.Print(sim.Explain(sim.Draw(o.first), keep))
		return nil
	}
	return play(ctx, o)
}

func parseKeep(s string) ([]int, error) {
	if s == "" {
		return nil, nil
	}
	keep := []int{}
	if s == "none" {
		return keep, nil
	}
	for _, part := range strings.Split(s, ",") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, fmt.Errorf("-keep %q: %w", s, err)
		}
		keep = append(keep, n)
	}
	return keep, nil
}

// play plays many seeds and prints what they came to.
func play(ctx context.Context, o options) error {
	if o.limit > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, o.limit)
		defer stop()
		o.seeds = 1 << 62
	}
	begin, last := time.Now(), time.Now()
	total, bad := sim.Many(ctx, o.first, o.seeds, o.jobs, func(s *sim.Stats) {
		if !o.brief && time.Since(last) >= 5*time.Second {
			last = time.Now()
			fmt.Println(s.Progress(time.Since(begin)))
		}
	})
	if bad != nil {
		if o.brief {
			fmt.Printf("seed %d: %v\n", bad.Plan.Seed, bad.Violation)
			return errBroken
		}
		fmt.Printf("seed %d: %v\nlooking for the fewest faults that do it …\n", bad.Plan.Seed, bad.Violation)
		fmt.Print(sim.Explain(bad.Plan, sim.Shrink(bad.Plan, bad.Violation, 300)))
		return errBroken
	}
	fmt.Printf("every promise was kept\n%v", &total)
	return nil
}
