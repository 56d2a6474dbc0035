package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"gemel/node/api"
)

const drillHelp = `A drill is a planned switchover for its own sake: whether the other node can take a volume is known
only once it has. It is made only while nothing is amiss: both nodes in sync on every link, the third voter there, all
services running, no resync, verify, maintenance or standby. Clients see the pause of a switchover. The next drill brings
the volume back.

The configuration makes drills by itself (drill.schedule: "sun 03:00"). What became of each is in gemel history.

Exit codes: 0 every volume was switched over, 1 one failed, 2 wrong usage, 3 one was skipped (with the reason), 4 no agent
answers.`

func (a *app) drillCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "drill now [VOLUME]", Short: "Switch over to see whether it works", Long: drillHelp,
		Args: cobra.RangeArgs(1, 2), ValidArgs: []string{"now"}, Example: "  gemel drill now\n  gemel drill now data --json",
		RunE: func(cmd *cobra.Command, args []string) error { return a.drill(cmd.Context(), args, asJSON) }}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	return c
}

func (a *app) drill(ctx context.Context, args []string, asJSON bool) error {
	if args[0] != "now" {
		return usagef("a drill is made now: gemel drill now [VOLUME]; drill.schedule in the configuration makes them by the calendar")
	}
	cfg, err := a.load()
	if err != nil {
		return err
	}
	var o api.DrillOrder
	if len(args) == 2 {
		if o.Volume, err = pickVolume(cfg, args[1:]); err != nil {
			return err
		}
	}
	c, err := a.reach(ctx, cfg, "")
	if err != nil {
		return err
	}
	defer c.Close()
	drills, err := c.Drill(ctx, o)
	if err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	if asJSON {
		err = a.json(drills)
	}
	worst := ExitOK
	for _, d := range drills {
		switch {
		case d.Failed != "":
			worst = ExitFailed
		case d.Skipped != "" && worst == ExitOK:
			worst = ExitRefused
		}
		if !asJSON {
			a.printf("%s\n", drillWords(d))
		}
	}
	if err == nil && worst != ExitOK {
		err = &quietError{worst}
	}
	return err
}

func drillWords(d api.Drill) string {
	switch {
	case d.Skipped != "":
		return fmt.Sprintf("%s: no drill was made: %s.", d.Volume, d.Skipped)
	case d.Failed != "":
		return fmt.Sprintf("%s: the drill FAILED after %s: %s. See gemel history on both nodes.", d.Volume, span(d.Pause), d.Failed)
	}
	return fmt.Sprintf("%s: %s serves now, %s did before; the service paused for %s at most.", d.Volume, d.To, d.From, span(d.Pause))
}
