package cli

import (
	"context"

	"github.com/spf13/cobra"

	"gemel/node/replicator/control"
)

const outdateHelp = `Marks the replica on this node (or --node) as Outdated by hand: a newer copy exists elsewhere, and this one must not
become Primary, such as on a Secondary whose peer went on alone while the nodes do not see each other. The node does not
take over until it was connected to a Primary and has what that has; the mark ends by itself then. --undo takes it back
before; gemel grab takes over with the data all the same.

It is refused on a Primary, and on a Secondary that is connected to one: that is current.

Exit codes: 0 done, 1 failed, 3 refused (with the reason), 4 no agent answers.`

func (a *app) outdateCommand() *cobra.Command {
	var undo bool
	var node string
	c := &cobra.Command{Use: "outdate NAME", Short: "Say that a replica is out of date", Long: outdateHelp, Args: cobra.ExactArgs(1),
		Example: "  gemel volume outdate data\n  gemel volume outdate data --undo",
		RunE:    func(cmd *cobra.Command, args []string) error { return a.outdate(cmd.Context(), args, node, undo) }}
	c.Flags().BoolVar(&undo, "undo", false, "take it back")
	c.Flags().StringVar(&node, "node", "", "the replica on this node instead of here")
	return c
}

func (a *app) outdate(ctx context.Context, args []string, node string, undo bool) error {
	_, name, c, err := a.orderTarget(ctx, args, node)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Outdate(ctx, control.OutdateRequest{Volume: name, Undo: undo}); err != nil {
		return err
	}
	if undo {
		a.printf("The replica of volume %s is not marked Outdated any more.\n", name)
		return nil
	}
	a.printf("The replica of volume %s is Outdated. It does not take over until it was connected to a Primary; "+
		"`gemel volume outdate %s --undo` takes that back.\n", name, name)
	return nil
}
