package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gemel/lab/cluster"
	"gemel/lab/drive"
	"gemel/lab/drive/faults"
)

// modelHelp is what --model of up says.
const modelHelp = "model of the servers' disks: see lab drive models; 2004: the article's pair; a YAML file; plain: no model, no faults"

// diskVerbs trouble the disks of a running lab's servers.
func (a *app) diskVerbs() []*cobra.Command {
	return []*cobra.Command{a.failSector(), a.corruptBlock(), a.slowDisk(), a.stickDisk(), a.healDisk(), a.swapDisk(), a.yankPower()}
}

// faultVerb makes a command that makes a server's disk worse.
func (a *app) faultVerb(use, short, example string,
	fail func(ctx context.Context, lab *cluster.Cluster, box string) (faults.Fault, error)) *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: use + " BOX", Short: short, Example: example, Args: args("BOX"),
		RunE: func(command *cobra.Command, given []string) error {
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				made, err := fail(command.Context(), lab, given[0])
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(made)
				}
				fmt.Printf("lab %s: disk of %s: #%d %s; undo: lab heal-disk --lab %s %s %d\n",
					a.lab, given[0], made.ID, made, a.lab, given[0], made.ID)
				return nil
			})
		},
	})
}

// ranged is faultVerb for a fault that has a place.
func (a *app) ranged(use, short, example string, kind faults.Kind, flags func(*cobra.Command, *faults.Fault)) *cobra.Command {
	var place placeFlags
	fault := faults.Fault{Kind: kind}
	command := a.faultVerb(use, short, example, func(ctx context.Context, lab *cluster.Cluster, box string) (faults.Fault, error) {
		if err := place.fill(&fault); err != nil {
			return fault, err
		}
		return lab.FailDisk(ctx, box, fault)
	})
	place.addRange(command)
	flags(command, &fault)
	return command
}

func (a *app) failSector() *cobra.Command {
	return a.ranged("fail-sector", "Make a place on a server's disk unreadable, unwritable or both",
		"  lab fail-sector server1 --at 64MiB --length 4KiB --on read", faults.BadSector,
		func(command *cobra.Command, fault *faults.Fault) {
			command.Flags().StringVar((*string)(&fault.On), "on", string(faults.Both), "read, write or both")
		})
}

func (a *app) corruptBlock() *cobra.Command {
	return a.ranged("corrupt-block", "Let a server's disk return wrong bytes, without an error, until they are written anew",
		"  lab corrupt-block server2 --at 64MiB", faults.Corrupt, func(command *cobra.Command, fault *faults.Fault) {
			command.Flags().Uint64Var(&fault.Seed, "seed", 0, "chooses the wrong bits")
		})
}

func (a *app) slowDisk() *cobra.Command {
	var factor float64
	var latency time.Duration
	command := a.faultVerb("slow-disk", "Make everything on a server's disk take longer",
		"  lab slow-disk server1 --factor 20\n  lab slow-disk server1 --latency 200ms",
		func(ctx context.Context, lab *cluster.Cluster, box string) (faults.Fault, error) {
			return lab.SlowDisk(ctx, box, factor, latency)
		})
	command.Flags().Float64Var(&factor, "factor", 1, "so many times as long as the model says")
	command.Flags().DurationVar(&latency, "latency", 50*time.Millisecond, "added to every request")
	return command
}

func (a *app) stickDisk() *cobra.Command {
	return a.faultVerb("stick-disk", "Let a server's disk answer nothing until it is healed", "  lab stick-disk server1",
		func(ctx context.Context, lab *cluster.Cluster, box string) (faults.Fault, error) {
			return lab.StickDisk(ctx, box)
		})
}

func (a *app) healDisk() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:     "heal-disk BOX [ID]",
		Short:   "Take one fault of a server's disk away, or all of them",
		Example: "  lab heal-disk server1",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(command *cobra.Command, given []string) error {
			id, err := faultNumber(given[1:])
			if err != nil {
				return err
			}
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				client, err := lab.Drive(given[0])
				if err != nil {
					return err
				}
				healed, err := client.Heal(command.Context(), id)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(healed)
				}
				fmt.Printf("lab %s: disk of %s: healed %d faults\n", a.lab, given[0], len(healed))
				return nil
			})
		},
	})
}

func (a *app) swapDisk() *cobra.Command {
	var back bool
	command := &cobra.Command{
		Use:   "swap-disk BOX",
		Short: "Put a blank disk into a server that is off, or its first one back",
		Example: "  lab yank-power server2 && lab swap-disk server2 && lab power-on server2\n" +
			"  lab swap-disk server2 --back",
		Args: args("BOX"),
		RunE: func(command *cobra.Command, given []string) error {
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				image, err := lab.SwapDisk(command.Context(), given[0], back)
				if err != nil {
					return err
				}
				fmt.Printf("lab %s: the disk of %s is %s now\n", a.lab, given[0], image)
				return nil
			})
		},
	}
	command.Flags().BoolVar(&back, "back", false, "the disk the lab was made with, instead of a blank one")
	return command
}

func (a *app) yankPower() *cobra.Command {
	var cut drive.Cut
	command := &cobra.Command{
		Use:   "yank-power BOX",
		Short: "Kill everything in a box at once; it stays off, and its disk loses what it has not flushed",
		Long: `Kill everything in a box at once; it stays off. Its disk loses, keeps or tears what was written and not
flushed, as the seed says, and every write that is lost is printed.`,
		Example: "  lab yank-power server1\n  lab yank-power server1 --seed 7 --keep 0 --json",
		Args:    args("BOX"),
		RunE: func(command *cobra.Command, given []string) error {
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				done, err := lab.YankPowerSo(command.Context(), given[0], cut)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(done)
				}
				fmt.Println(cutWords(a.lab, "yank-power", given[0], done))
				if done.Loss != nil {
					printLoss(cluster.DriveName(a.lab, given[0]), *done.Loss)
				}
				return nil
			})
		},
	}
	cutFlags(command, &cut)
	return a.jsonFlag(command)
}

// cutFlags are what a power cut leaves.
func cutFlags(command *cobra.Command, cut *drive.Cut) {
	command.Flags().Uint64Var(&cut.Seed, "seed", uint64(time.Now().UnixNano()), "chooses what is lost")
	command.Flags().Lookup("seed").DefValue = "by the clock"
	command.Flags().Float64Var(&cut.Keep, "keep", 0.5, "share of the unflushed writes that reach the platter; 0 loses all")
}

// driveWords is the disk column of lab status.
func driveWords(node cluster.NodeStatus) string {
	if node.Disk == nil {
		return "-"
	}
	if node.Drive == nil {
		return node.Disk.Loop
	}
	words := []string{node.Disk.Loop + " " + node.Drive.Model.Name}
	switch {
	case node.Drive.Broken != "":
		words = append(words, node.Drive.Broken)
	case !node.Drive.On:
		words = append(words, "no power")
	}
	for _, f := range node.Drive.Faults {
		words = append(words, string(f.Kind))
	}
	return strings.Join(words, ", ")
}
