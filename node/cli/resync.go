package cli

import (
	"context"

	"github.com/spf13/cobra"

	"gemel/node/replicator/control"
)

const resyncHelp = `Pauses or resumes the copying of what the Secondary lacks, or changes its limits, until the Primary's
replicator restarts. It may be asked of either node. A pause outlives a lost connection; what is written meanwhile is
copied later. A resync that is paused before it begins leaves the Secondary usable with its old data.

Exit codes: 0 done, 1 failed, 3 refused (with the reason), 4 no agent answers.`

type resyncFlags struct {
	pause, resume    bool
	minRate, maxRate string
}

func (a *app) resyncCommand() *cobra.Command {
	var f resyncFlags
	c := &cobra.Command{Use: "resync [NAME]", Short: "Pause, resume or limit a resync", Long: resyncHelp, Args: cobra.MaximumNArgs(1),
		Example: "  gemel volume resync data --pause\n  gemel volume resync data --resume --max-rate 50MiB\n" +
			"  gemel volume resync data --min-rate 10MiB --max-rate none",
		RunE: func(cmd *cobra.Command, args []string) error { return a.resync(cmd.Context(), args, &f) }}
	c.Flags().BoolVar(&f.pause, "pause", false, "copy nothing for now")
	c.Flags().BoolVar(&f.resume, "resume", false, "go on")
	c.Flags().StringVar(&f.minRate, "min-rate", "", "do not make way for the application below this, such as 10MiB; none: always make way")
	c.Flags().StringVar(&f.maxRate, "max-rate", "", "never copy faster, such as 50MiB; none: no limit")
	c.MarkFlagsMutuallyExclusive("pause", "resume")
	c.MarkFlagsOneRequired("pause", "resume", "min-rate", "max-rate")
	return c
}

func (a *app) resync(ctx context.Context, args []string, f *resyncFlags) error {
	_, name, c, err := a.orderTarget(ctx, args, "")
	if err != nil {
		return err
	}
	defer c.Close()
	q := control.ResyncRequest{Volume: name}
	said := "The limits of volume %s's resync are changed.\n"
	switch {
	case f.pause:
		q.Action, said = control.ActionPause, "The resync of volume %s is paused; `gemel volume resync --resume` lets it go on.\n"
	case f.resume:
		q.Action, said = control.ActionResume, "The resync of volume %s goes on.\n"
	}
	if q.MinRate, err = rate("--min-rate", f.minRate); err != nil {
		return err
	}
	if q.MaxRate, err = rate("--max-rate", f.maxRate); err != nil {
		return err
	}
	if err := c.Resync(ctx, q); err != nil {
		return err
	}
	a.printf(said, name)
	return nil
}
