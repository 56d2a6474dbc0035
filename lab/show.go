package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gemel/lab/cluster"
	"gemel/lab/doctor"
	"gemel/lab/leftovers"
)

func (a *app) jsonFlag(command *cobra.Command) *cobra.Command {
	command.Flags().BoolVar(&a.json, "json", false, "print JSON")
	return command
}

func printJSON(value any) error {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func (a *app) status() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:     "status",
		Short:   "Show boxes, cables and disks as seen from outside",
		Example: "  lab status --json",
		Args:    args(),
		RunE: func(command *cobra.Command, _ []string) error {
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				status, err := lab.Status(command.Context())
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(status)
				}
				return printStatus(status)
			})
		},
	})
}

func printStatus(status cluster.Status) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "BOX\tPOWER\tLAN\tPRIV\tPRIV2\tMGMT\tDISK\tCONTAINER")
	for _, node := range status.Nodes {
		power := "off"
		if node.On {
			power = "on"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", node.Name, power,
			cableColumn(node, cluster.LAN), cableColumn(node, cluster.Private),
			cableColumn(node, cluster.Private2), cableColumn(node, cluster.Management), driveWords(node), node.Container)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Printf("lab %s; address of the cluster: %s; inside: lab exec --lab %s server1 -- gemel status\n",
		status.Lab, status.VIP, status.Lab)
	return nil
}

func cableColumn(node cluster.NodeStatus, sw string) string {
	address, ok := node.Addresses[sw]
	if !ok {
		return "-"
	}
	return address + " " + node.Cables[sw]
}

func (a *app) doctor() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:     "doctor",
		Short:   "Find out what this host can do for a lab, and how to mend what it cannot",
		Example: "  lab doctor",
		Args:    args(),
		RunE: func(command *cobra.Command, _ []string) error {
			findings := doctor.Examine(command.Context(), doctor.HostProbes())
			if a.json {
				if err := printJSON(findings); err != nil {
					return err
				}
			} else {
				printFindings(findings)
			}
			if !doctor.Ready(findings) {
				command.SilenceErrors = true
				return exitCode(exitUnfit)
			}
			return nil
		},
	})
}

func printFindings(findings []doctor.Finding) {
	for _, finding := range findings {
		if finding.OK {
			fmt.Printf("ok    %-26s %s\n", finding.What, finding.Detail)
			continue
		}
		fallback := finding.Fallback
		if fallback == "" {
			fallback = "none; the lab does not run without it"
		}
		fmt.Printf("FAIL  %-26s %s\n        why:     %s\n        fix:     %s\n        without: %s\n",
			finding.What, finding.Detail, finding.Why, finding.Fix, fallback)
	}
}

func (a *app) leftovers() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:     "leftovers",
		Short:   "List everything labs own on this host; exit code 4 when there is anything",
		Example: "  lab leftovers",
		Args:    args(),
		RunE: func(command *cobra.Command, _ []string) error {
			snapshot, err := leftovers.Take(command.Context())
			if err != nil {
				return err
			}
			if a.json {
				err = printJSON(snapshot)
			} else {
				printLeftovers(snapshot)
			}
			if err == nil && snapshot.Count() > 0 {
				command.SilenceErrors = true
				return exitCode(exitUnfit)
			}
			return err
		},
	})
}

func printLeftovers(snapshot leftovers.Snapshot) {
	for _, kind := range slices.Sorted(maps.Keys(snapshot)) {
		fmt.Printf("%-11s %d\n", kind, len(snapshot[kind]))
		for _, name := range snapshot[kind] {
			fmt.Println("  " + name)
		}
	}
}
