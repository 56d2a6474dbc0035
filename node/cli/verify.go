package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/replicator/control"
)

const verifyHelp = `Compares both nodes' disks while the volume is in use, by SHA-256, exact to the block of 4 KiB. No
write waits for it; a block that is being written is looked at again. It may be asked of either node; the Primary does
it, while both nodes are in sync. A lost connection or a change of roles only interrupts it.

Without --repair nothing is changed: status and history name what differs. With it, what differs is copied from the
Primary to the Secondary at once. Which of two disks is damaged cannot be told from two copies; the Primary's is what
applications read.

Exit codes: 0 done (with --wait: and nothing is left that differs), 1 failed, or with --wait: something differs,
3 refused (with the reason), 4 no agent answers.`

type verifyFlags struct {
	repair, pause, resume, stop, wait, asJSON bool
	from, maxRate                             string
}

func (a *app) verifyCommand() *cobra.Command {
	var f verifyFlags
	c := &cobra.Command{Use: "verify [NAME]", Short: "Compare both nodes' disks while they are in use", Long: verifyHelp,
		Args: cobra.MaximumNArgs(1),
		Example: "  gemel volume verify data --wait\n  gemel volume verify data --repair --max-rate 50MiB\n" +
			"  gemel volume verify data --from 20GiB\n  gemel volume verify data --pause",
		RunE: func(cmd *cobra.Command, args []string) error { return a.verify(cmd.Context(), args, &f) }}
	c.Flags().BoolVar(&f.repair, "repair", false, "copy what differs from the Primary to the Secondary")
	c.Flags().StringVar(&f.from, "from", "", "first byte to look at, such as 20GiB")
	c.Flags().StringVar(&f.maxRate, "max-rate", "", "bytes per second, such as 50MiB; none: no limit")
	c.Flags().BoolVar(&f.pause, "pause", false, "hold a running verify")
	c.Flags().BoolVar(&f.resume, "resume", false, "let a held verify go on; with --max-rate at another rate")
	c.Flags().BoolVar(&f.stop, "stop", false, "end a verify where it is")
	c.Flags().BoolVar(&f.wait, "wait", false, "show how far it is until it ends")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print the verify as JSON, for programs; with --wait at its end")
	c.MarkFlagsMutuallyExclusive("pause", "resume", "stop", "repair")
	c.MarkFlagsMutuallyExclusive("pause", "resume", "stop", "from")
	c.MarkFlagsMutuallyExclusive("pause", "stop", "wait")
	return c
}

// request is what the flags ask for.
func (f *verifyFlags) request(name string) (control.VerifyRequest, error) {
	q := control.VerifyRequest{Volume: name, Action: control.ActionStart, Repair: f.repair}
	switch {
	case f.pause:
		q.Action = control.ActionPause
	case f.resume:
		q.Action = control.ActionResume
	case f.stop:
		q.Action = control.ActionStop
	}
	var err error
	if q.From, err = config.ParseSize(f.from); err != nil {
		return q, usagef("--from: %v", err)
	}
	q.MaxRate, err = rate("--max-rate", f.maxRate)
	return q, err
}

// rate reads a limit: 0 when it is not given, below 0 for none.
func rate(flag, text string) (int64, error) {
	if text == "none" {
		return -1, nil
	}
	n, err := config.ParseSize(text)
	if err == nil && text != "" && n == 0 {
		err = errors.New("0 would never end; write none for no limit")
	}
	if err != nil {
		return 0, usagef("%s: %v", flag, err)
	}
	return n, nil
}

func (a *app) verify(ctx context.Context, args []string, f *verifyFlags) error {
	cfg, name, c, err := a.orderTarget(ctx, args, "")
	if err != nil {
		return err
	}
	q, err := f.request(name)
	if err == nil {
		c = a.atPrimary(ctx, cfg, name, c)
	}
	defer c.Close()
	if err != nil {
		return err
	}
	before := verifyRun(ctx, c, name)
	if err := c.Verify(ctx, q); err != nil {
		return err
	}
	if f.wait {
		return a.waitVerify(ctx, c, name, before, f)
	}
	if f.asJSON {
		return a.printVerify(ctx, c, name)
	}
	said := map[string]string{control.ActionStart: "The verify of volume %s has begun; see gemel status.\n",
		control.ActionPause: "The verify of volume %s is paused.\n", control.ActionResume: "The verify of volume %s goes on.\n",
		control.ActionStop: "The verify of volume %s is stopped; what it found stays in gemel status.\n"}
	a.printf(said[q.Action], name)
	return nil
}

// atPrimary goes on with the node that serves the volume, if it can be reached:
// which ranges differ is known there only.
func (a *app) atPrimary(ctx context.Context, cfg *config.Config, name string, c *api.Client) *api.Client {
	s, err := c.Status(ctx)
	if err != nil {
		return c
	}
	v := volumeOf(&s, name)
	if v == nil {
		return c
	}
	primary := primaryOf(&s, v)
	if primary == "" || primary == s.Node {
		return c
	}
	there, err := a.reach(ctx, cfg, primary)
	if err != nil {
		return c
	}
	c.Close()
	return there
}

// verifyRun numbers the last verify, as far as known.
func verifyRun(ctx context.Context, c *api.Client, name string) int {
	if v, err := askVolume(ctx, c, name); err == nil && v.Verify != nil {
		return v.Verify.Run
	}
	return 0
}

func askVolume(ctx context.Context, c *api.Client, name string) (*api.Volume, error) {
	s, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	if v := volumeOf(&s, name); v != nil {
		return v, nil
	}
	return nil, refusedf("%s does not know the volume %s; is its configuration older?", s.Node, name)
}

func (a *app) printVerify(ctx context.Context, c *api.Client, name string) error {
	v, err := askVolume(ctx, c, name)
	if err != nil {
		return err
	}
	return a.json(v.Verify)
}

var errDiffer = errors.New("the nodes differ")

// waitVerify shows the progress until the end. before numbers the verify that a
// status may still show.
func (a *app) waitVerify(ctx context.Context, c *api.Client, name string, before int, f *verifyFlags) error {
	shown := ""
	for tries := 0; ; tries++ {
		v, err := askVolume(ctx, c, name)
		if err != nil {
			return err
		}
		fresh := f.resume || tries > 10 || v.Verify != nil && v.Verify.Run != before
		if w := v.Verify; w != nil && fresh {
			if w.State == control.VerifyFinished || w.State == control.VerifyStopped {
				a.printf("%s", a.endOfBar(shown))
				return a.verdictOf(name, w, f.asJSON)
			}
			if text := verifyLine(w); text != shown && !f.asJSON {
				a.showProgress(text)
				shown = text
			}
		}
		if !sleep(ctx, 300*time.Millisecond) {
			a.printf("%s", a.endOfBar(shown))
			return fmt.Errorf("wait for the verify of %s: %w", name, ctx.Err())
		}
	}
}

func (a *app) verdictOf(name string, w *control.Verify, asJSON bool) error {
	if asJSON {
		if err := a.json(w); err != nil {
			return err
		}
	} else {
		a.printf("Volume %s: %s.\n", name, verifyLine(w))
	}
	if w.Found > w.Repaired || w.Unreadable > 0 {
		return fmt.Errorf("verify volume %s: %w: %s", name, errDiffer, verifyResult(w))
	}
	return nil
}

// verifyLine shows a verify in one sentence.
func verifyLine(w *control.Verify) string {
	text := "verify " + w.State
	switch w.State {
	case control.VerifyFinished:
	default:
		text += fmt.Sprintf(" %s %s of %s", bar(w.Pos, w.Total, barWidth), size(w.Pos), size(w.Total))
		if w.Rate > 0 {
			text += fmt.Sprintf(", %s/s, %s left", size(w.Rate), span(w.ETA))
		}
		if w.Waiting != "" {
			text += " (" + w.Waiting + ")"
		}
	}
	return text + ", " + verifyResult(w)
}

// verifyResult says what a verify found so far.
func verifyResult(w *control.Verify) string {
	text := "no difference found"
	if w.Found > 0 {
		text = size(w.Found) + " differ"
		if names := rangeNames(w.Ranges); names != "" {
			text += " at " + names
		}
		if w.Repair {
			text += ", " + size(w.Repaired) + " repaired"
		}
	}
	if w.Skipped > 0 {
		text += ", " + size(w.Skipped) + " skipped (always being written)"
	}
	if w.Problem != "" {
		text += "; " + w.Problem
	}
	return text
}

// rangeNames names the first of some ranges.
func rangeNames(ranges []control.Range) string {
	const most = 4
	var names []string
	for i, r := range ranges {
		if i == most {
			names = append(names, "…")
			break
		}
		names = append(names, fmt.Sprintf("%d+%d", r.Offset, r.Length))
	}
	return strings.Join(names, ", ")
}

// verify shows the last verify.
func (o *screen) verify(w *control.Verify) {
	switch {
	case w.Found > w.Repaired || w.Unreadable > 0:
		o.item("verify", strings.TrimPrefix(verifyLine(w), "verify "), o.paint.bad)
	case w.State == control.VerifyFinished:
		o.item("verify", strings.TrimPrefix(verifyLine(w), "verify "), o.paint.good)
	default:
		o.item("verify", strings.TrimPrefix(verifyLine(w), "verify "), o.paint.warn)
	}
}
