package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gemel/lab/cluster"
)

func (a *app) process(use, short, done string, act func(*cluster.Cluster, context.Context, string, string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use + " BOX PROCESS",
		Short: short,
		Long: short + `.

PROCESS is replicator, agent or witness, or the name of a program as ps shows it, such as
ganesha.nfsd; then it means all of that name.`,
		Example: "  lab " + use + " server1 replicator",
		Args:    args("BOX", "PROCESS"),
		RunE: func(command *cobra.Command, given []string) error {
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				if err := act(lab, command.Context(), given[0], given[1]); err != nil {
					return err
				}
				fmt.Printf("lab %s: %s of %s: %s\n", a.lab, given[1], given[0], done)
				return nil
			})
		},
	}
}

func (a *app) memory(use, short, done string, act func(*cluster.Cluster, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use:     use + " BOX",
		Short:   short,
		Example: "  lab " + use + " server1",
		Args:    args("BOX"),
		RunE: func(command *cobra.Command, given []string) error {
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				if err := act(lab, command.Context(), given[0]); err != nil {
					return err
				}
				fmt.Printf("lab %s: memory of %s %s\n", a.lab, given[0], done)
				return nil
			})
		},
	}
}

func (a *app) clockJump() *cobra.Command {
	var whole bool
	command := &cobra.Command{
		Use:   "clock-jump BY",
		Short: "Move the wall clock of this host with all boxes; they can have none of their own",
		Long: `Move the wall clock of this host with all boxes; they can have none of their own.

Leases live on a clock that does not jump, so the pair must not notice. lab heal moves the
clock back. A clock daemon of the host may do so earlier.`,
		Example: "  lab clock-jump +1h --whole-host\n  lab clock-jump --whole-host -- -5m",
		Args:    args("BY"),
		RunE: func(command *cobra.Command, given []string) error {
			by, err := time.ParseDuration(strings.TrimPrefix(given[0], "+"))
			if err != nil || by == 0 {
				return fmt.Errorf("%w: jump by %q: write it like +1h or -5m", errUsage, given[0])
			}
			if !whole {
				return fmt.Errorf("%w: a container has no wall clock of its own, so this moves the clock of the whole host; "+
					"if that is meant, add --whole-host", errUsage)
			}
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				if err := lab.JumpClock(by); err != nil {
					return err
				}
				fmt.Printf("lab %s: the wall clock of this host jumped by %v; back with: lab heal --lab %s\n", a.lab, by, a.lab)
				return nil
			})
		},
	}
	command.Flags().BoolVar(&whole, "whole-host", false, "yes, move the clock of everything on this host")
	return command
}

func (a *app) heal() *cobra.Command {
	return &cobra.Command{
		Use:     "heal",
		Short:   "Put everything right that a verb made wrong: power, cables, processes, memory, disks, clock",
		Example: "  lab heal",
		Args:    args(),
		RunE: func(command *cobra.Command, _ []string) error {
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				did, err := lab.Heal(command.Context())
				for _, words := range did {
					fmt.Printf("lab %s: %s\n", a.lab, words)
				}
				if err == nil && len(did) == 0 {
					fmt.Printf("lab %s: nothing was wrong\n", a.lab)
				}
				return err
			})
		},
	}
}
