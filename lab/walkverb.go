package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"gemel/lab/cluster"
	"gemel/lab/walk"
)

func (a *app) walk() *cobra.Command {
	options := walk.Options{Shrink: true}
	var build bool
	command := &cobra.Command{
		Use:   "walk",
		Short: "Make random trouble from a seed under a writing client, heal, and check every promise; again and again",
		Long: `Make random trouble from a seed under a writing client, heal, and check every promise; again and again.

It prints what it does as commands that can be pasted. A round that breaks a promise leaves a
bundle, is made smaller by leaving steps out, and ends the walk with exit code 1. The lab must
be one that may be taken down: after a failure it is made anew.`,
		Example: "  lab walk --for 30m --seed 7\n  lab walk --seed 7 --first 12 --rounds 1",
		Args:    args(),
		RunE: func(command *cobra.Command, _ []string) error {
			if options.For == 0 && options.Rounds == 0 {
				return fmt.Errorf("%w: say how far: --for 30m or --rounds 10", errUsage)
			}
			if options.Seed == 0 {
				options.Seed = uint64(time.Now().UnixNano() % 1e9)
			}
			options.Lab = a.lab
			options.Say = func(format string, args ...any) {
				fmt.Printf("%s  %s\n", time.Now().UTC().Format("15:04:05"), fmt.Sprintf(format, args...))
			}
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				return walkOn(command.Context(), lab, options, build)
			})
		},
	}
	flags := command.Flags()
	flags.Uint64Var(&options.Seed, "seed", 0, "of the walk; 0: by the clock")
	flags.IntVar(&options.First, "first", 0, "number of the first round, to begin in the middle of a walk")
	flags.IntVar(&options.Rounds, "rounds", 0, "end after so many rounds")
	flags.DurationVar(&options.For, "for", 0, "end after the round in which this time is over")
	flags.BoolVar(&options.Shrink, "shrink", true, "make a failing round smaller; takes a minute or two per try")
	flags.BoolVar(&build, "up", false, "build the lab first, with small disks")
	return command
}

func walkOn(ctx context.Context, lab *cluster.Cluster, options walk.Options, build bool) error {
	own, err := os.Executable()
	if err != nil {
		return err
	}
	world := &walk.Lab{Cluster: lab, Binary: own, Reports: "reports", Seed: options.Seed,
		Options: cluster.Options{BinDir: ownDir(), DiskSize: 256 << 20, CableRate: cluster.Gigabit, Model: "unthrottled"}}
	if build {
		if err := lab.Up(ctx, world.Options); err != nil {
			return err
		}
	}
	if err := world.Form(ctx); err != nil {
		return err
	}
	result, err := walk.Run(ctx, world, options)
	printWalk(result)
	var failure *walk.Failure
	if errors.As(err, &failure) {
		printFailure(lab.Lab(), failure, options)
	}
	return err
}

func printWalk(result walk.Result) {
	fmt.Printf("\n%d rounds; %d records acknowledged; %d of them were not written over, and found; %d errors told to the client; longest pause %v\n",
		result.Rounds, result.Total.Acked, result.Total.Found, result.Total.Errors, result.Total.Pause)
	for _, verb := range slices.Sorted(maps.Keys(result.Verbs)) {
		fmt.Printf("  %-14s %d\n", verb, result.Verbs[verb])
	}
}

func printFailure(lab string, failure *walk.Failure, options walk.Options) {
	fmt.Printf("\nfindings: %s\nthe same round: bin/lab walk --lab %s --seed %d --first %d --rounds 1\n",
		failure.Kept, lab, options.Seed, failure.Round)
	if len(failure.Smallest) > 0 && len(failure.Smallest) < len(failure.Steps) {
		fmt.Println("the smallest that fails, under a writing client:")
		for _, line := range walk.Commands(lab, failure.Smallest) {
			fmt.Println("  " + line)
		}
	}
}
