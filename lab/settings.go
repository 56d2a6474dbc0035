package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gemel/lab/cluster"
)

// settingFlags are the flags of what a lab's configuration may change to.
func settingFlags(flags *pflag.FlagSet, to *cluster.Settings, preset cluster.Settings) {
	flags.StringVar((*string)(&to.Fencing), "fencing", string(preset.Fencing),
		"each server cuts the other's power by its power control: off, on (also --fencing alone), or required for every take-over")
	flags.Lookup("fencing").NoOptDefVal = string(cluster.FencingOn)
	flags.StringVar(&to.WitnessOn, "witness-on", preset.WitnessOn,
		"network over which the third voter is reached: lan, mgmt, or none for a pair without a third voter")
}

// reconfigure changes what a lab that is up was made with.
func (a *app) reconfigure() *cobra.Command {
	var to cluster.Settings
	command := &cobra.Command{
		Use:     "reconfigure",
		Short:   "Write other settings into the configuration of the boxes: fencing, and where the witness is",
		Example: "  lab reconfigure --fencing\n  lab reconfigure --witness-on none\n  lab restart-process server2 agent",
		Args:    args(),
		RunE: func(command *cobra.Command, _ []string) error {
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				now, err := lab.Settings()
				if err != nil {
					return err
				}
				if !command.Flags().Changed("fencing") {
					to.Fencing = now.Fencing
				}
				if !command.Flags().Changed("witness-on") {
					to.WitnessOn = now.WitnessOn
				}
				if err := lab.Reconfigure(to); err != nil {
					return err
				}
				fmt.Printf("lab %s: fencing %s, witness on %s; the agents read it when they start: lab restart-process server1 agent, "+
					"and server2\n", a.lab, to.Fencing, to.WitnessOn)
				return nil
			})
		},
	}
	settingFlags(command.Flags(), &to, cluster.Settings{})
	return command
}
