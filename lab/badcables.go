package main

import (
	"context"
	"fmt"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"gemel/lab/badcable"
	"gemel/lab/cluster"
)

func (a *app) degradeCable() *cobra.Command {
	var way, rate string
	var delay, jitter time.Duration
	var loss, duplicate, reorder string
	command := &cobra.Command{
		Use:   "degrade-cable BOX CABLE",
		Short: "Make a box's cable slow, long, uneven or lossy, in both directions or in one",
		Long: `Make a box's cable slow, long, uneven or lossy, in both directions or in one.

What is said replaces what was wrong with that direction before. Directions are seen from
the box. Loss, duplicates and reordering are parts of the frames that the kernel hands
over, which are up to 64 KiB long. lab mend-cable takes it all back.`,
		Example: "  lab degrade-cable server1 priv --delay 20ms --loss 1% --one-way out\n" +
			"  lab degrade-cable server2 lan --rate 100mbit --jitter 5ms --duplicate 0.1% --reorder 1%",
		Args: args("BOX", "CABLE"),
		RunE: func(command *cobra.Command, given []string) error {
			quality := badcable.Quality{Delay: delay, Jitter: jitter}
			var err error
			if quality.Rate, err = parseRate(rate); err != nil {
				return err
			}
			for text, part := range map[*string]*float64{&loss: &quality.Loss, &duplicate: &quality.Duplicate, &reorder: &quality.Reorder} {
				if *part, err = parsePercent(*text); err != nil {
					return err
				}
			}
			if quality == (badcable.Quality{}) {
				return fmt.Errorf("%w: say what is wrong with it, such as --delay 20ms; to make it good again: lab mend-cable --lab %s %s %s",
					errUsage, a.lab, given[0], given[1])
			}
			if err := quality.Check(); err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			return a.spoil(command.Context(), given, way, quality)
		},
	}
	flags := command.Flags()
	flags.StringVar(&rate, "rate", "", "speed, such as 100mbit, 1gbit or 512kbit")
	flags.DurationVar(&delay, "delay", 0, "added to every frame")
	flags.DurationVar(&jitter, "jitter", 0, "by how much the delay varies, up and down; the order is kept")
	flags.StringVar(&loss, "loss", "", "part of the frames that vanish, such as 1%")
	flags.StringVar(&duplicate, "duplicate", "", "part of the frames that arrive twice")
	flags.StringVar(&reorder, "reorder", "", "part of the frames that later ones overtake")
	flags.StringVar(&way, "one-way", "", "one direction only: in (to the box) or out (from it)")
	return command
}

func (a *app) cutCable() *cobra.Command {
	var way string
	command := &cobra.Command{
		Use:     "cut-cable BOX CABLE",
		Short:   "Let nothing through a box's cable, though both ends see a carrier; or nothing one way",
		Example: "  lab cut-cable server1 priv\n  lab cut-cable server1 lan --one-way in",
		Args:    args("BOX", "CABLE"),
		RunE: func(command *cobra.Command, given []string) error {
			return a.spoil(command.Context(), given, way, badcable.Quality{Cut: true})
		},
	}
	command.Flags().StringVar(&way, "one-way", "", "one direction only: in (to the box) or out (from it)")
	return command
}

func (a *app) mendCable() *cobra.Command {
	return &cobra.Command{
		Use:     "mend-cable BOX CABLE",
		Short:   "Make a degraded or cut cable good again",
		Example: "  lab mend-cable server1 priv",
		Args:    args("BOX", "CABLE"),
		RunE: func(command *cobra.Command, given []string) error {
			return a.spoil(command.Context(), given, "", badcable.Quality{})
		},
	}
}

func (a *app) spoil(ctx context.Context, given []string, way string, quality badcable.Quality) error {
	direction := cluster.Direction(way)
	if direction != cluster.BothWays && direction != cluster.In && direction != cluster.Out {
		return fmt.Errorf("%w: --one-way %q: write in or out, as seen from %s", errUsage, way, given[0])
	}
	return a.with(ctx, func(lab *cluster.Cluster) error {
		if err := lab.DegradeCable(ctx, given[0], given[1], direction, quality); err != nil {
			return err
		}
		words := quality.String()
		if way != "" {
			words += ", " + way + "wards only"
		}
		fmt.Printf("lab %s: %s cable of %s: %s\n", a.lab, given[1], given[0], words)
		return nil
	})
}

// parseRate reads a speed in bits per second; empty is 0.
func parseRate(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	for suffix, unit := range map[string]float64{"kbit": 1e3, "mbit": 1e6, "gbit": 1e9} {
		head, ok := strings.CutSuffix(strings.ToLower(text), suffix)
		if number, err := strconv.ParseFloat(head, 64); ok && err == nil && number > 0 && number < 1e6 {
			return uint64(number * unit), nil
		}
	}
	return 0, fmt.Errorf("%w: speed %q: write it like 100mbit, 1gbit or 512kbit", errUsage, text)
}

// parsePercent reads a part of a whole; empty is 0.
func parsePercent(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	head, ok := strings.CutSuffix(text, "%")
	number, err := strconv.ParseFloat(head, 64)
	if !ok || err != nil || !(number >= 0 && number <= 100) {
		return 0, fmt.Errorf("%w: part %q: write it like 1%% or 0.5%%, between 0%% and 100%%", errUsage, text)
	}
	return number / 100, nil
}

// attend is the process of an attendant; people have no use for it.
func (a *app) attend() *cobra.Command {
	return &cobra.Command{
		Use:    "attend KIND ARGUMENTS...",
		Short:  "Be an attendant of a lab, such as a bad cable; started by other verbs",
		Hidden: true,
		Args:   cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, given []string) error {
			// Its parent's terminal is not its own.
			ctx, stop := signal.NotifyContext(command.Context(), unix.SIGHUP)
			defer stop()
			return cluster.Attend(ctx, a.lab, given[0], given[1:], func() { fmt.Println("ready") })
		},
	}
}
