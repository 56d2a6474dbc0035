package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"gemel/lab/bmc"
	"gemel/lab/chassis"
	"gemel/lab/cluster"
)

// bmc says how to reach the servers' power controls.
func (a *app) bmc() *cobra.Command {
	return &cobra.Command{
		Use:     "bmc",
		Short:   "Show how to reach the servers' power controls (Redfish), and what is wrong with them",
		Example: "  lab bmc",
		Args:    args(),
		RunE: func(command *cobra.Command, _ []string) error {
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				status, err := lab.Status(command.Context())
				if err != nil {
					return err
				}
				password, err := lab.BMCPassword()
				if err != nil {
					return err
				}
				for _, node := range status.Nodes {
					if node.BMC == "" {
						continue
					}
					address, err := cluster.BMCAddress(node.Name)
					if err != nil {
						return err
					}
					fmt.Printf("%s  https://%s  %s\n", node.Name, address, node.BMC)
				}
				fmt.Printf("user %s, password %s; certificates and password are in the servers' /etc/gemel/bmc\n"+
					"from this host: nsenter --net=%s curl --cacert %s/bmc/server2.pem -u %s:%s https://198.18.3.12/redfish/v1/Systems/1\n",
					cluster.BMCUser, password, chassis.Path(a.lab), cluster.Dir(a.lab), cluster.BMCUser, password)
				return nil
			})
		},
	}
}

func (a *app) breakBMC() *cobra.Command {
	var faults bmc.Faults
	command := &cobra.Command{
		Use:     "break-bmc BOX",
		Short:   "Make a server's power control fail, lie (it says off, the box stays on) or slow",
		Example: "  lab break-bmc server1 --lie\n  lab break-bmc server2 --fail --slow 5s",
		Args:    args("BOX"),
		RunE: func(command *cobra.Command, given []string) error {
			if faults == (bmc.Faults{}) || faults.Slow < 0 {
				return fmt.Errorf("%w: say what is wrong with it: --fail, --lie or --slow 5s", errUsage)
			}
			return a.setBMC(command, given[0], faults)
		},
	}
	flags := command.Flags()
	flags.BoolVar(&faults.Fail, "fail", false, "refuse every order with an error")
	flags.BoolVar(&faults.Lie, "lie", false, "confirm that the box is off, and leave it on")
	flags.DurationVar(&faults.Slow, "slow", 0, "wait this long before every answer")
	return command
}

func (a *app) mendBMC() *cobra.Command {
	return &cobra.Command{
		Use:     "mend-bmc BOX",
		Short:   "Make a server's power control good again",
		Example: "  lab mend-bmc server1",
		Args:    args("BOX"),
		RunE: func(command *cobra.Command, given []string) error {
			return a.setBMC(command, given[0], bmc.Faults{})
		},
	}
}

func (a *app) setBMC(command *cobra.Command, node string, faults bmc.Faults) error {
	return a.with(command.Context(), func(lab *cluster.Cluster) error {
		if err := lab.BreakBMC(node, faults); err != nil {
			return err
		}
		fmt.Printf("lab %s: power control of %s: %s\n", a.lab, node, faults)
		return nil
	})
}
