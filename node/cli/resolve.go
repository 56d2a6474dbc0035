package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/replicator/control"
)

const resolveHelp = `Ends a split brain, or any other case in which both replicas stand alone because each
has data that the other lacks. It shows what each side did, and asks which to keep. The node to keep must be Primary
(else it says how to make it so). The other one gives its changes up: first it keeps every block that will be
overwritten in an undo file (see gemel undo), then only what differs is copied from the Primary.

Exit codes: 0 the resync begins, or shown with --json; 1 failed on the way, 3 refused (with the reason), 4 no agent answers.`

// resolution is how a resolve is asked for.
type resolution struct {
	keep            string
	yes, json, lose bool
}

func (a *app) resolveCommand() *cobra.Command {
	var r resolution
	c := &cobra.Command{Use: "resolve [VOLUME]", Short: "Decide which side to keep after a split brain", Long: resolveHelp,
		Args: cobra.MaximumNArgs(1), Example: "  gemel resolve data\n  gemel resolve data --json\n  gemel resolve data --keep server1 --yes",
		RunE: func(cmd *cobra.Command, args []string) error { return a.resolve(cmd.Context(), args, r) }}
	c.Flags().StringVar(&r.keep, "keep", "", "the node whose data stays; it is not asked for then")
	c.Flags().BoolVar(&r.yes, "yes", false, "do not ask, for scripts; needs --keep")
	c.Flags().BoolVar(&r.json, "json", false, "only look: print both sides as JSON, for programs")
	c.Flags().BoolVar(&r.lose, "no-undo", false, "keep no undo file: the other side's changes are gone for good")
	return c
}

// survey is both sides of a volume that went apart.
type survey struct {
	Volume     string       `json:"volume"`
	Name       string       `json:"name"`
	Text       string       `json:"text"`
	Seen       time.Time    `json:"seen"`
	Resolvable bool         `json:"resolvable"`
	Sides      []sideReport `json:"sides"`
}

type sideReport struct {
	Node    string `json:"node"`
	Answers bool   `json:"answers"` // else the numbers are what the other side was told
	control.Side
}

func (a *app) resolve(ctx context.Context, args []string, r resolution) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	name, err := pickVolume(cfg, args)
	if err != nil {
		return err
	}
	s, clients, err := a.survey(ctx, cfg, name)
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	switch {
	case err != nil:
		return err
	case r.json:
		return a.json(s)
	case s.Name == "":
		return refusedf("the replicas of %s have not gone apart; there is nothing to resolve (see gemel status)", name)
	case !s.Resolvable:
		return refusedf("%s: %s; that does not end by giving one side up, see gemel status", s.Name, s.Text)
	}
	a.printf("%s", s.render(a.now()))
	keep, err := a.chooseSide(&s, r)
	if err != nil {
		return err
	}
	return a.carryOutResolve(ctx, &s, clients, keep, !r.lose)
}

// survey asks both nodes.
func (a *app) survey(ctx context.Context, cfg *config.Config, name string) (survey, map[string]*api.Client, error) {
	s, clients := survey{Volume: name}, map[string]*api.Client{}
	seen := map[string]*control.Apart{}
	var failed error
	for _, node := range cfg.NodeNames() {
		c, err := a.reach(ctx, cfg, node)
		if err != nil {
			failed = err
			continue
		}
		clients[node] = c
		status, err := c.Status(ctx)
		if err != nil {
			failed = err
			continue
		}
		if v := volumeOf(&status, name); v != nil && v.Apart != nil {
			seen[node] = v.Apart
		}
	}
	if len(clients) == 0 {
		return s, clients, failed
	}
	s.fill(cfg.NodeNames(), seen)
	return s, clients, nil
}

// fill puts together what each node says of itself, or else of the other.
func (s *survey) fill(nodes []string, seen map[string]*control.Apart) {
	for i, node := range nodes {
		own, other := seen[node], seen[nodes[1-i]]
		switch {
		case own != nil:
			s.Sides = append(s.Sides, sideReport{Node: node, Answers: true, Side: own.Here})
		case other != nil:
			s.Sides = append(s.Sides, sideReport{Node: node, Side: other.There})
		default:
			continue
		}
		if a := own; a != nil && s.Name == "" {
			s.Name, s.Text, s.Seen, s.Resolvable = a.Name, a.Text, a.Seen, a.Resolvable
		}
	}
}

func (s *survey) render(now time.Time) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("The replicas of %s went apart (%s): %s.", s.Volume, s.Name, s.Text)
	say("")
	row := func(cells ...string) {
		line := "  "
		for i, w := range []int{14, 12, 40, 14} {
			line += pad(cells[i], w)
		}
		say("%s%s", line, cells[4])
	}
	row("NODE", "ROLE", "WAS PRIMARY", "CHANGED", "SINCE")
	for _, side := range s.Sides {
		role := control.Secondary
		if side.Primary {
			role = control.Primary
		}
		changed := size(side.Changed)
		if side.Crashed {
			changed += " or more"
		}
		row(side.Node, role, reignOf(&side.Side, now), changed, moment(side.Since))
	}
	for _, side := range s.Sides {
		if !side.Answers {
			say("  (%s does not answer or does not know yet; these are the numbers that it told last)", side.Node)
		}
	}
	say("")
	return b.String()
}

func reignOf(s *control.Side, now time.Time) string {
	switch {
	case s.ReignStart.IsZero():
		return "never, or not known"
	case s.Primary:
		return fmt.Sprintf("since %s (%s)", moment(s.ReignStart), span(now.Sub(s.ReignStart)))
	case s.ReignEnd.IsZero():
		return moment(s.ReignStart) + " until it crashed"
	}
	return moment(s.ReignStart) + " – " + s.ReignEnd.Local().Format("15:04:05")
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "not known"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// chooseSide finds the node to keep, asking unless it was said.
func (a *app) chooseSide(s *survey, r resolution) (string, error) {
	if r.keep == "" && r.yes {
		return "", usagef("--yes needs --keep NODE")
	}
	in := bufio.NewReader(a.In)
	ask := func(question string) string {
		a.printf("%s", question)
		answer, _ := in.ReadString('\n')
		a.printf("\n")
		return strings.TrimSpace(answer)
	}
	keep := r.keep
	if keep == "" {
		keep = ask("Which node's data shall stay? Type its name: ")
	}
	loser := ""
	for i, side := range s.Sides {
		if side.Node == keep && len(s.Sides) == 2 {
			loser = s.Sides[1-i].Node
		}
	}
	if loser == "" {
		return "", refusedf("nothing was done: %q is none of the two sides", keep)
	}
	if r.yes {
		return keep, nil
	}
	if answer := ask(fmt.Sprintf("%s gives its changes up. Type its name (%s) to go on: ", loser, loser)); answer != loser {
		return "", refusedf("nothing was done: %q is not %q", answer, loser)
	}
	return keep, nil
}

// carryOutResolve lets the loser give its data up, and both connect.
func (a *app) carryOutResolve(ctx context.Context, s *survey, clients map[string]*api.Client, keep string, undo bool) error {
	winner, loser := &s.Sides[0], &s.Sides[1]
	if loser.Node == keep {
		winner, loser = loser, winner
	}
	take := fmt.Sprintf("gemel grab %s --stale --node %s", s.Volume, keep)
	switch {
	case clients[winner.Node] == nil || clients[loser.Node] == nil:
		return refusedf("both nodes must answer for that; start the agent of the one that does not")
	case loser.Primary:
		return refusedf("%s is Primary and serves %s; it must let go first: stop the agent there (systemctl stop gemel-agent), make %s Primary by `%s`, "+
			"start the agent again, then resolve again. "+
			"Nothing is lost by that: both sides keep their data until then", loser.Node, s.Volume, keep, take)
	case !winner.Primary:
		return refusedf("%s is not Primary, and only a Primary's data can be copied; make it so by `%s`, then resolve again", keep, take)
	}
	if err := clients[loser.Node].GiveUp(ctx, control.GiveUpRequest{Volume: s.Volume, Undo: undo}); err != nil {
		return fmt.Errorf("%s gives its changes up: %w", loser.Node, err)
	}
	if err := a.reconnect(ctx, clients[winner.Node], s.Volume, winner.Node); err != nil {
		return err
	}
	a.printf("%s gave its changes to %s up and is filled from %s.\n", loser.Node, s.Volume, keep)
	if undo {
		a.printf("What it loses is kept first: `gemel undo list` on %s.\n", loser.Node)
	}
	a.printf("Wait for the end with `gemel volume wait-sync %s`.\n", s.Volume)
	return nil
}

// reconnectFor is how long the kept side is asked to connect: a meeting that was
// under way when the other gave its changes up may still end in a refusal.
const reconnectFor = 20 * time.Second

func (a *app) reconnect(ctx context.Context, c *api.Client, volume, node string) error {
	for end := a.now().Add(reconnectFor); ; {
		if err := c.Connect(ctx, control.ConnectRequest{Volume: volume}); err != nil {
			return fmt.Errorf("connect %s: %w", node, err)
		}
		if !sleep(ctx, time.Second) {
			return ctx.Err()
		}
		status, err := c.Status(ctx)
		if err != nil {
			return err
		}
		v := volumeOf(&status, volume)
		if v != nil && v.Apart == nil {
			return nil
		}
		if a.now().After(end) {
			return fmt.Errorf("%s still stands alone; see `gemel status` there", node)
		}
	}
}

const invalidateHelp = `Throws this node's data of a volume away: every block is copied anew from the Primary.
For a replica that is not to be trusted: a backup was put back, or a check found blocks that differ. Refused on a
Primary, and where the other node is not known to hold a whole copy.

Exit codes: 0 it is filled anew, 1 failed, 3 refused (with the reason), 4 no agent answers.`

func (a *app) invalidateCommand() *cobra.Command {
	var yes, undo bool
	c := &cobra.Command{Use: "invalidate NAME", Short: "Throw this node's data away and copy it anew", Long: invalidateHelp,
		Args: cobra.ExactArgs(1), Example: "  gemel volume invalidate data\n  gemel volume invalidate data --yes --undo",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, name, c, err := a.orderTarget(cmd.Context(), args, "")
			if err != nil {
				return err
			}
			defer c.Close()
			if !yes {
				if err := a.confirm(fmt.Sprintf("Every block of %s on %s will be overwritten.", name, cfg.Node), cfg.Node); err != nil {
					return err
				}
			}
			if err := c.GiveUp(cmd.Context(), control.GiveUpRequest{Volume: name, Undo: undo, All: true}); err != nil {
				return fmt.Errorf("invalidate volume %s: %w", name, err)
			}
			a.printf("Volume %s on %s is filled anew; see gemel status. If %s stands alone, run `gemel volume connect %s` there.\n",
				name, cfg.Node, cfg.Peer().Name, name)
			return nil
		}}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask, for scripts")
	c.Flags().BoolVar(&undo, "undo", false, "keep the whole volume as it is in an undo file first")
	return c
}

// confirm wants word typed.
func (a *app) confirm(stakes, word string) error {
	a.printf("%s\nType %s to go on: ", stakes, word)
	answer, _ := bufio.NewReader(a.In).ReadString('\n')
	a.printf("\n")
	if strings.TrimSpace(answer) == word {
		return nil
	}
	return refusedf("nothing was done: %q is not %q (scripts use --yes)", strings.TrimSpace(answer), word)
}
