package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/replicator/control"
)

const resizeHelp = `Makes a volume larger while it is in use, after its backing devices were enlarged on both nodes, such as with
lvextend. Both nodes must be Connected and UpToDate, and stay so: the new part is made zero on both disks, so that
nothing has to be copied. Then the volume's device and its file system (unless mount.grow is false) become larger. It
may be asked of either node, waits for the end, and changes nothing when it refuses; asked again it goes on where it ended.

A volume cannot become smaller: make a new one and copy the files.

Exit codes: 0 done, 1 failed or interrupted (it goes on), 2 wrong arguments, 3 refused (with the reason), 4 no agent answers.`

func (a *app) resizeCommand() *cobra.Command {
	var size string
	var asJSON bool
	c := &cobra.Command{Use: "resize [NAME]", Short: "Make a volume as large as its enlarged backing devices", Long: resizeHelp,
		Args: cobra.MaximumNArgs(1), Example: "  lvextend -L +100G vg/data        # on both nodes\n  gemel volume resize data\n" +
			"  gemel volume resize data --size 500GiB",
		RunE: func(cmd *cobra.Command, args []string) error { return a.resize(cmd.Context(), args, size, asJSON) }}
	c.Flags().StringVar(&size, "size", "", "make it so large, such as 500GiB, instead of as large as both devices allow")
	c.Flags().BoolVar(&asJSON, "json", false, "print the volume's size and how it went as JSON, at the end")
	return c
}

func (a *app) resize(ctx context.Context, args []string, text string, asJSON bool) error {
	cfg, name, c, err := a.orderTarget(ctx, args, "")
	if err != nil {
		return err
	}
	c = a.atPrimary(ctx, cfg, name, c)
	defer c.Close()
	q := control.GrowRequest{Volume: name}
	if q.Size, err = config.ParseSize(text); err != nil || text != "" && q.Size == 0 {
		return usagef("--size: %q is no size", text)
	}
	before, err := askVolume(ctx, c, name)
	if err != nil {
		return err
	}
	if err := c.Resize(ctx, q); err != nil {
		return err
	}
	return a.waitResize(ctx, c, before, asJSON)
}

// errNotGrown: the volume keeps its size.
var errNotGrown = errors.New("the volume was not resized")

// resized is the end of a resize, for programs.
type resized struct {
	Volume string `json:"volume"`
	Before int64  `json:"size_before"` // bytes
	Size   int64  `json:"size"`
	*control.Growth
}

// waitResize shows the progress until the end.
func (a *app) waitResize(ctx context.Context, c *api.Client, before *api.Volume, asJSON bool) error {
	shown := ""
	for {
		v, err := askVolume(ctx, c, before.Name)
		if err != nil {
			return err
		}
		g := v.Growth
		if g == nil {
			g = &control.Growth{}
		}
		if !g.Running && (v.Size > before.Size || g.Problem != "") && (g.Shown == 0 || g.Shown >= v.Size || g.Unfit != "") {
			a.printf("%s", a.endOfBar(shown))
			return a.saidResize(&resized{before.Name, before.Size, v.Size, g}, asJSON)
		}
		if text := growthLine(before.Size, g); text != shown && !asJSON {
			a.showProgress(text)
			shown = text
		}
		if !sleep(ctx, 300*time.Millisecond) {
			a.printf("%s", a.endOfBar(shown))
			return fmt.Errorf("wait for the resize of %s, which goes on: %w", before.Name, ctx.Err())
		}
	}
}

// growthLine is the progress in words.
func growthLine(from int64, g *control.Growth) string {
	switch {
	case g.To == 0:
		return "the peer measures its device"
	case g.Blanked == 0:
		return "the nodes agree on " + size(g.To)
	}
	return fmt.Sprintf("%s the new part is made zero, up to %s", bar(g.Blanked-from, g.To-from, 20), size(g.To))
}

func (a *app) saidResize(r *resized, asJSON bool) error {
	switch {
	case asJSON:
		if err := a.json(r); err != nil {
			return err
		}
	case r.Problem == "":
		a.printf("Volume %s has %s now, %s before.\n", r.Volume, size(r.Size), size(r.Before))
	}
	if r.Problem != "" {
		return fmt.Errorf("%w: %s", errNotGrown, r.Problem)
	}
	if r.Unfit != "" && !asJSON {
		a.printf("Its device does not show that yet: %s.\n", r.Unfit)
	}
	return nil
}
