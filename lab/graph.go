package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gemel/lab/cluster"
)

func (a *app) graph() *cobra.Command {
	return &cobra.Command{
		Use:     "graph",
		Short:   "Draw boxes, switches and cables as they are now, as a Mermaid diagram",
		Example: "  lab graph > lab.mmd",
		Args:    args(),
		RunE: func(command *cobra.Command, _ []string) error {
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				status, err := lab.Status(command.Context())
				if err != nil {
					return err
				}
				fmt.Print(mermaid(status))
				return nil
			})
		},
	}
}

// mermaid draws a lab: a whole cable is a line, a bad one is dotted and says what is
// wrong, a pulled one ends in a cross.
func mermaid(status cluster.Status) string {
	var text strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&text, format+"\n", args...) }
	line("graph TD")
	for _, sw := range cluster.Switches {
		line("  %s([%s])", sw, sw)
	}
	for _, node := range status.Nodes {
		label := node.Name
		if !node.On {
			label += "<br/>off"
		}
		line("  %s[\"%s\"]", node.Name, label)
		if node.Disk != nil {
			line("  %s --- %s-disk[(\"%s\")]", node.Name, node.Name, node.Disk.Loop)
		}
		for _, sw := range cluster.Switches {
			if address, ok := node.Addresses[sw]; ok {
				line("  %s", edge(node, sw, address))
			}
		}
		if node.BMC != "" {
			line("  %s-bmc{{\"power control: %s\"}} --- mgmt", node.Name, node.BMC)
		}
	}
	var off []string
	for _, node := range status.Nodes {
		if !node.On {
			off = append(off, node.Name)
		}
	}
	if slices.Sort(off); len(off) > 0 {
		line("  classDef off fill:#ddd,color:#888")
		line("  class %s off", strings.Join(off, ","))
	}
	return text.String()
}

func edge(node cluster.NodeStatus, sw, address string) string {
	state := node.Cables[sw]
	switch state {
	case "plugged":
		return fmt.Sprintf("%s ---|\"%s\"| %s", node.Name, address, sw)
	case "pulled":
		return fmt.Sprintf("%s --x|\"%s, pulled\"| %s", node.Name, address, sw)
	default:
		return fmt.Sprintf("%s -.-|\"%s, %s\"| %s", node.Name, address, state, sw)
	}
}
