package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/event"
	"gemel/node/event/chronicle"
)

const historyHelp = `Shows what one box decided, what each decision rests on, and what followed: heartbeats
missed per link, votes and who gave them, the lease, the replica, what fencing proved, and the steps of the
course with their times. A take-over counts from the last heartbeat. Every box keeps its own history, on
disk; without an agent on this box the file is read as it lies there.

Exit codes: 0 shown, 2 wrong usage, 4 neither an agent nor a file answers.`

func (a *app) historyCommand() *cobra.Command {
	var q historyQuery
	c := &cobra.Command{Use: "history", Short: "Show every decision with its inputs, its steps and their times",
		Long: historyHelp, Args: cobra.NoArgs,
		Example: "  gemel history\n  gemel history --volume data --since 1h\n  gemel history --courses --node server2\n" +
			"  gemel history --since 24h --json",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.history(cmd.Context(), q) }}
	c.Flags().StringVar(&q.volume, "volume", "", "only what concerns this volume")
	c.Flags().DurationVar(&q.since, "since", time.Hour, "how far to look back")
	c.Flags().BoolVar(&q.courses, "courses", false, "only take-overs, hand-overs and what else has steps")
	c.Flags().StringVar(&q.node, "node", "", "ask this box instead of this one")
	c.Flags().BoolVar(&q.asJSON, "json", false, "print JSON, for programs")
	return c
}

type historyQuery struct {
	volume, node    string
	since           time.Duration
	courses, asJSON bool
}

func (a *app) history(ctx context.Context, q historyQuery) error {
	if q.since <= 0 {
		return usagef("--since %v looks at no time at all; write it like 90m or 24h", q.since)
	}
	cfg, err := a.load()
	if err != nil {
		return err
	}
	if q.volume != "" {
		if q.volume, err = pickVolume(cfg, []string{q.volume}); err != nil {
			return err
		}
	}
	page, err := a.historyPage(ctx, cfg, q)
	if err != nil {
		return err
	}
	list := chronicle.Decisions(page.Events)
	if q.courses {
		list = slices.DeleteFunc(list, func(d chronicle.Decision) bool { return len(d.Steps) == 0 })
	}
	if q.asJSON {
		return a.json(struct {
			Decisions []chronicle.Decision `json:"decisions"`
			Cut       bool                 `json:"cut,omitempty"`
			Lost      int                  `json:"lost,omitempty"`
			Problem   string               `json:"problem,omitempty"`
		}{list, page.Cut, page.Lost, page.Problem})
	}
	a.printf("%s", renderHistory(list, &page, q, a.Terminal))
	return nil
}

// historyPage asks the agent, and reads the file of this box when none answers.
func (a *app) historyPage(ctx context.Context, cfg *config.Config, q historyQuery) (api.HistoryPage, error) {
	wanted := api.HistoryQuery{From: a.now().Add(-q.since), Volume: q.volume}
	c, err := a.reach(ctx, cfg, q.node)
	if err == nil {
		defer c.Close()
		var page api.HistoryPage
		if page, err = c.History(ctx, wanted); err == nil {
			return page, nil
		}
	}
	if q.node != "" && q.node != cfg.Node || !errors.Is(err, api.ErrUnreachable) {
		return api.HistoryPage{}, err
	}
	path := filepath.Join(cfg.StateDir, event.FileName)
	if _, missing := os.Stat(path); missing != nil {
		return api.HistoryPage{}, err
	}
	events, readErr := event.ReadSince(path, wanted.From)
	if readErr != nil {
		return api.HistoryPage{}, fmt.Errorf("%w; and %w", err, readErr)
	}
	_, _ = fmt.Fprintf(a.Err, "gemel: no agent answers here; this is what %s holds\n", path)
	return wanted.PageOf(events), nil
}

// renderHistory writes the decisions for people.
func renderHistory(list []chronicle.Decision, page *api.HistoryPage, q historyQuery, color bool) string {
	out := &screen{paint: paint{color}}
	if page.Cut {
		out.line("(older ones left out: one reply has no room for more; look back less far with --since)")
	}
	if len(list) == 0 {
		out.line("Nothing was decided here within %s. Look back further with --since.", span(q.since))
	}
	for i := range list {
		out.decision(&list[i])
	}
	if page.Problem != "" {
		out.line("")
		out.line("%s", out.paint.bad(fmt.Sprintf("The history is not complete on disk: %d events were not written: %s", page.Lost, page.Problem)))
	}
	return out.String()
}

func (o *screen) decision(d *chronicle.Decision) {
	course := len(d.Steps) > 0 || d.Outcome != ""
	if course {
		o.line("")
	}
	where := d.Node
	if d.Volume != "" {
		where += "/" + d.Volume
	}
	o.line("%s  %s  %s", d.Time.Format("2006-01-02 15:04:05.000"), where, d.Text)
	const indent = 14
	say := func(label, text string, colour func(string) string) {
		for _, l := range wrap(text, width-indent) {
			if colour != nil {
				l = colour(l)
			}
			o.line("%s%s", pad("    "+label, indent), l)
			label = ""
		}
	}
	if d.Reason != "" {
		say("why", d.Reason, nil)
	}
	if course {
		o.seen(d, say)
		o.steps(d)
	} else if len(d.Seen) > 0 && strings.HasPrefix(d.Kind, "failure.") {
		o.seen(d, say)
	}
	switch {
	case d.Failed:
		say("ended", d.Outcome, o.paint.bad)
	case d.Outcome != "":
		say("ended", d.Outcome, o.paint.good)
	}
	if course {
		o.line("")
	}
}

// seen writes what the decision rests on: links first, votes last.
func (o *screen) seen(d *chronicle.Decision, say func(string, string, func(string) string)) {
	label := "seen"
	for _, name := range slices.Sorted(maps.Keys(d.Seen)) {
		if name != "silent" {
			say(label, name+": "+d.Seen[name], nil)
			label = ""
		}
	}
}

// steps writes the table of a course.
func (o *screen) steps(d *chronicle.Decision) {
	if len(d.Steps) == 0 {
		return
	}
	o.line("%s%s%s%s", pad("    steps", 14), pad("at", 12), pad("took", 12), "what")
	for _, s := range d.Steps {
		result := ""
		if s.Failed {
			result = o.paint.bad(": NOT DONE: " + s.Result)
		}
		o.line("%s%s%s%s%s", pad("", 14), pad(s.Begin.Format("05.000"), 12), pad(span(s.Took), 12), s.Name, result)
	}
	o.line("%s%s%s%s", pad("", 14), pad("", 12), pad(span(d.Total), 12), "in all")
}

func historyProblem(s *api.Status) string {
	if s.HistoryProblem == "" {
		return ""
	}
	return "events are kept in memory only, since they cannot be written: " + s.HistoryProblem
}
