package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"gemel/lab/bundle"
	"gemel/lab/cluster"
)

func (a *app) bundle() *cobra.Command {
	var dir, why string
	command := &cobra.Command{
		Use:   "bundle",
		Short: "Put logs, histories on one timeline, statuses and configurations into one directory",
		Long: `Put logs, histories on one timeline, statuses and configurations into one directory.

Private keys and passwords stay out. Begin to read in timeline.txt.`,
		Example: "  lab bundle --out /tmp/what-happened",
		Args:    args(),
		RunE: func(command *cobra.Command, _ []string) error {
			if dir == "" {
				dir = filepath.Join("reports", "bundle-"+a.lab+"-"+time.Now().UTC().Format("20060102T150405"))
			}
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				if _, err := lab.Status(command.Context()); err != nil {
					return err
				}
				if err := bundle.Collect(command.Context(), lab, dir, bundle.Options{Why: why}); err != nil {
					return err
				}
				fmt.Printf("lab %s: all that was found is in %s; begin with timeline.txt\n", a.lab, dir)
				return nil
			})
		},
	}
	command.Flags().StringVar(&dir, "out", "", "directory to make (default: reports/bundle-LAB-TIME)")
	command.Flags().StringVar(&why, "why", "", "what went wrong, for those who read it")
	return command
}
