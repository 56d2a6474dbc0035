package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gemel/node/api"
)

const whatIfHelp = `Shows what the pair would do if something failed now, and what it would not do, and why. Nothing
is changed: both nodes tell what they stand on, and the very code that decides is run on it, on a simulated clock of one
minute.

  kill NODE            the node loses its power
  cut-all NODE         the node loses all its cables, and lives
  cut-private          the first of the configured links is cut
  stop-service [NAME]  a service of the Primary ends more often than its restarts allow
  lose-witness         the third voter is gone

Times before the steps come from the configured deadlines; how long a step takes is what it took when it last ran on that
node. What fails only when it is tried (a mount, a service that does not start there) is not foreseen; gemel drill now
tries it.

Exit codes: 0 every volume would be served in the end, 1 one would not be, or cannot be told, 2 wrong usage, 4 no agent
answers.`

func (a *app) whatIfCommand() *cobra.Command {
	var q api.WhatIfQuery
	var asJSON bool
	c := &cobra.Command{Use: "whatif WHAT [NODE|SERVICE]", Short: "Show what a failure would lead to, without making it", Long: whatIfHelp,
		Args:      cobra.RangeArgs(1, 2),
		ValidArgs: []string{api.WhatIfKill, api.WhatIfCutAll, api.WhatIfCutPrivate, api.WhatIfStopService, api.WhatIfLoseWitness},
		Example:   "  gemel whatif kill server1\n  gemel whatif cut-private\n  gemel whatif stop-service nfs --volume data\n  gemel whatif lose-witness --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.whatIf(cmd.Context(), q, args, asJSON)
		}}
	c.Flags().StringVar(&q.Volume, "volume", "", "only this volume")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	return c
}

func (a *app) whatIf(ctx context.Context, q api.WhatIfQuery, args []string, asJSON bool) error {
	if err := readWhatIf(&q, args); err != nil {
		return err
	}
	cfg, err := a.load()
	if err != nil {
		return err
	}
	if q.Node != "" && cfg.NodeIndex(q.Node) < 0 {
		return usagef("there is no data node %q; the configuration has %s", q.Node, strings.Join(cfg.NodeNames(), " and "))
	}
	if q.Volume != "" {
		if q.Volume, err = pickVolume(cfg, []string{q.Volume}); err != nil {
			return err
		}
	}
	c, err := a.reach(ctx, cfg, "")
	if err != nil {
		return err
	}
	defer c.Close()
	list, err := c.WhatIf(ctx, q)
	if err != nil {
		return fmt.Errorf("what if: %w", err)
	}
	if asJSON {
		err = a.json(list)
	} else {
		a.printf("%s", renderWhatIf(list, strings.Join(args, " "), a.Terminal))
	}
	for i := range list {
		if list[i].After == "" && err == nil {
			err = &quietError{ExitFailed}
		}
	}
	return err
}

// readWhatIf takes the command line apart.
func readWhatIf(q *api.WhatIfQuery, args []string) error {
	q.What = args[0]
	rest := ""
	if len(args) == 2 {
		rest = args[1]
	}
	switch q.What {
	case api.WhatIfKill, api.WhatIfCutAll:
		if q.Node = rest; rest == "" {
			return usagef("say which node: gemel whatif %s NODE", q.What)
		}
	case api.WhatIfStopService:
		q.Service = rest
	case api.WhatIfCutPrivate, api.WhatIfLoseWitness:
		if rest != "" {
			return usagef("%s takes nothing behind it", q.What)
		}
	default:
		return usagef("there is no %q; what can be asked: kill NODE, cut-all NODE, cut-private, stop-service [NAME], lose-witness", q.What)
	}
	return nil
}

// renderWhatIf writes the course of action of every volume.
func renderWhatIf(list []api.WhatIf, what string, color bool) string {
	out := &screen{paint: paint{color}}
	out.line("What if: %s. Nothing is done; this is what would follow.", what)
	for i := range list {
		out.foretold(&list[i])
	}
	return out.String()
}

func (o *screen) foretold(w *api.WhatIf) {
	o.line("")
	switch {
	case w.Problem != "":
		o.item("volume "+w.Volume, "cannot be told: "+w.Problem, o.paint.warn)
		return
	case w.After == "" && w.Before == "":
		o.line("volume %s: %s", w.Volume, o.paint.bad("nobody serves it now, and nobody would"))
	case w.After == "":
		o.line("volume %s: %s", w.Volume, o.paint.bad(w.Before+" serves it now; then NOBODY would"))
	case w.After == w.Before && w.Pause == 0:
		o.line("volume %s: %s", w.Volume, o.paint.good(w.After+" would serve on, without a pause of the service"))
	default:
		o.line("volume %s: %s", w.Volume, o.paint.good(fmt.Sprintf("%s would serve it after %s%s", w.After, span(w.Pause), openPause(w))))
	}
	if len(w.Lines) > 0 {
		o.line("%s%s", pad("  at", labelWidth), "what would happen")
	}
	for i := range w.Lines {
		o.foretoldLine(&w.Lines[i])
	}
	for _, n := range w.Not {
		label := "  NOT"
		for _, l := range wrap(n.Text+": "+n.Why, width-labelWidth) {
			o.line("%s%s", pad(label, labelWidth), o.paint.warn(l))
			label = ""
		}
	}
}

func openPause(w *api.WhatIf) string {
	if w.PauseOpen {
		return ", and the steps whose time is not known"
	}
	return ""
}

func (o *screen) foretoldLine(l *api.WhatIfLine) {
	text := l.Text
	switch {
	case l.Step && l.Took > 0:
		text = fmt.Sprintf("%s: %s: %s as last time, at most %s", l.Node, text, span(l.Took), span(l.AtMost))
	case l.Step:
		text = fmt.Sprintf("%s: %s: at most %s", l.Node, text, span(l.AtMost))
	case !strings.Contains(text, l.Node):
		text = l.Node + ": " + text
	}
	if l.Reason != "" {
		text += " (" + l.Reason + ")"
	}
	o.item(fmt.Sprintf("  +%.1f s", l.At.Round(10*time.Millisecond).Seconds()), text, nil)
}
