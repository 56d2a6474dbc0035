package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"gemel/lab/cluster"
	"gemel/lab/walk"
)

func (a *app) drill() *cobra.Command {
	return &cobra.Command{
		Use:     "drill [NAME]",
		Short:   "Play a trouble on the running lab with commentary, and prove that nothing was lost; without a name: list them",
		Example: "  lab drill\n  lab drill reset",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, given []string) error {
			if len(given) == 0 {
				listDrills()
				return nil
			}
			drill, ok := walk.DrillNamed(given[0])
			if !ok {
				return fmt.Errorf("%w: there is no drill %q; lab drill lists them", errUsage, given[0])
			}
			own, err := os.Executable()
			if err != nil {
				return err
			}
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				world := &walk.Lab{Cluster: lab, Binary: own}
				if err := world.Form(command.Context()); err != nil {
					return err
				}
				return world.Play(command.Context(), drill, os.Stdout)
			})
		},
	}
}

func listDrills() {
	for _, drill := range walk.Drills() {
		fmt.Printf("%-11s %s\n", drill.Name, drill.Story)
	}
}
