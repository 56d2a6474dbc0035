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

const switchoverHelp = `Gives a volume to the other node, cleanly: the Primary stops services, address and
mount, and the peer starts them. Waits until the peer serves. May be asked on either node.

Exit codes: 0 the other node serves, 1 failed on the way, 3 refused (with the reason), 4 no agent answers.`

func (a *app) switchoverCommand() *cobra.Command {
	var limit time.Duration
	c := &cobra.Command{Use: "switchover [VOLUME]", Short: "Give a volume to the other node", Long: switchoverHelp,
		Args: cobra.MaximumNArgs(1), Example: "  gemel switchover\n  gemel switchover data --timeout 1m",
		RunE: func(cmd *cobra.Command, args []string) error { return a.switchover(cmd.Context(), args, limit) }}
	c.Flags().DurationVar(&limit, "timeout", 2*time.Minute, "give up waiting after this; the order itself goes on")
	return c
}

func (a *app) switchover(ctx context.Context, args []string, limit time.Duration) error {
	_, name, c, err := a.orderTarget(ctx, args, "")
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := a.now()
	if err := a.follow(ctx, c, name, func() error { return c.Switchover(ctx, api.Order{Volume: name}) }); err != nil {
		return fmt.Errorf("switch over %s: %w", name, err)
	}
	a.printf("Done: %s serves %s. It took %s.\n", a.servesNow(ctx, c, name), name, span(a.now().Sub(start)))
	return nil
}

// servesNow names the Primary. The order has ended well, so there is one.
func (a *app) servesNow(ctx context.Context, c *api.Client, name string) string {
	s, err := c.Status(ctx)
	if err == nil {
		if v := volumeOf(&s, name); v != nil && primaryOf(&s, v) != "" {
			return primaryOf(&s, v)
		}
	}
	return "the other node"
}

// orderTarget finds the volume that is meant and the daemon to order.
func (a *app) orderTarget(ctx context.Context, args []string, node string) (*config.Config, string, *api.Client, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, "", nil, err
	}
	name, err := pickVolume(cfg, args)
	if err != nil {
		return nil, "", nil, err
	}
	c, err := a.reach(ctx, cfg, node)
	return cfg, name, c, err
}

// follow shows what the agent does while the order runs.
func (a *app) follow(ctx context.Context, c *api.Client, name string, order func() error) error {
	done := make(chan error, 1)
	go func() { done <- order() }()
	phase := ""
	for {
		timer := time.NewTimer(200 * time.Millisecond)
		select {
		case err := <-done:
			timer.Stop()
			return err
		case <-timer.C:
		}
		if s, err := c.Status(ctx); err == nil {
			phase = a.phase(&s, name, phase)
		}
	}
}

// phase prints what the agent does, when it changed.
func (a *app) phase(s *api.Status, name, before string) string {
	v := volumeOf(s, name)
	if v == nil || v.Phase == "" || v.Phase == before {
		return before
	}
	a.printf("%s  %s: %s\n", a.now().Format("15:04:05"), s.Node, v.Phase)
	return v.Phase
}

func orNobody(name string) string {
	if name == "" {
		return "nobody"
	}
	return name
}

const grabHelp = `Makes this node Primary by your word, when the voters cannot agree by themselves: the
peer is dead and the witness too, or the peer holds the only current copy and is lost for good (--stale).
It first says what could be lost, and wants the peer's name typed.

Exit codes: 0 this node serves, 1 failed on the way, 3 refused (with the reason), 4 no agent answers.`

func (a *app) grabCommand() *cobra.Command {
	var stale, sure bool
	var node string
	c := &cobra.Command{Use: "grab [VOLUME]", Short: "Take a volume over by your word", Long: grabHelp,
		Args: cobra.MaximumNArgs(1), Example: "  gemel grab data\n  gemel grab data --stale\n  gemel grab data --yes-i-know",
		RunE: func(cmd *cobra.Command, args []string) error { return a.grab(cmd.Context(), args, node, stale, sure) }}
	c.Flags().BoolVar(&stale, "stale", false, "also take data that is known not to be current: what only the peer has is given up")
	c.Flags().BoolVar(&sure, "yes-i-know", false, "do not ask, for scripts")
	c.Flags().StringVar(&node, "node", "", "the node that shall be Primary (default: this box)")
	return c
}

func (a *app) grab(ctx context.Context, args []string, node string, stale, sure bool) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	if node == "" && cfg.SelfIndex() < 0 {
		return usagef("this box is not a data node; say with --node which one shall be Primary: %s", strings.Join(cfg.NodeNames(), " or "))
	}
	_, name, c, err := a.orderTarget(ctx, args, node)
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	v := volumeOf(&s, name)
	if v == nil {
		return refusedf("%s does not know the volume %s; is its configuration older?", s.Node, name)
	}
	if v.Role == control.Primary {
		a.printf("%s is Primary for %s already; nothing to do.\n", s.Node, name)
		return nil
	}
	if !sure {
		if err := a.guard(&s, v, stale); err != nil {
			return err
		}
	}
	return a.carryOutGrab(ctx, c, &s, name, stale)
}

func (a *app) carryOutGrab(ctx context.Context, c *api.Client, s *api.Status, name string, stale bool) error {
	start := a.now()
	if err := a.follow(ctx, c, name, func() error { return c.Grab(ctx, api.Order{Volume: name, Stale: stale}) }); err != nil {
		return fmt.Errorf("grab %s: %w", name, err)
	}
	a.printf("Done: %s is Primary for %s. It took %s.\n", s.Node, name, span(a.now().Sub(start)))
	return nil
}

// guard says what could be lost, and wants the peer's name typed.
func (a *app) guard(s *api.Status, v *api.Volume, stale bool) error {
	a.printf("%s\n", stakes(s, v, stale))
	a.printf("Type the name of the other node (%s) to go on: ", s.Peer.Name)
	answer, err := bufio.NewReader(a.In).ReadString('\n')
	a.printf("\n")
	if strings.TrimSpace(answer) == s.Peer.Name {
		return nil
	}
	if err != nil && answer == "" {
		return refusedf("nothing was done: no answer (scripts use --yes-i-know)")
	}
	return refusedf("nothing was done: %q is not %q", strings.TrimSpace(answer), s.Peer.Name)
}

// stakes names what is known, and what could be lost.
func stakes(s *api.Status, v *api.Volume, stale bool) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("This makes %s Primary for volume %s by your word, without the votes that protect it.", s.Node, v.Name)
	say("")
	say("  %s here: disk %s, %s known to be out of sync", s.Node, orUnknown(v.Disk), size(v.OutOfSync))
	say("  %s: %s, role as last heard: %s", s.Peer.Name, heard(s.Peer.Alive, "alive", "silent", s.Peer.LastSeen, s.Time), orUnknown(v.PeerRole))
	say("  nodes known to hold every write: %s (epoch %d)", orNobody(strings.Join(v.InSyncBy, " and ")), v.Chosen.Epoch)
	say("")
	say("What could be lost:")
	if s.Peer.Alive {
		say("  - %s ANSWERS. If it serves %s, both nodes will, until one sees the other's reign.", s.Peer.Name, v.Name)
	} else {
		say("  - If %s still runs and is only cut off, both nodes serve at once. Make sure that it is powered off.", s.Peer.Name)
	}
	say("  - Whatever %s wrote that %s does not have is gone when %s comes back as the copy.", s.Peer.Name, s.Node, s.Peer.Name)
	if stale {
		say("  - --stale: the data on %s may be old. Every write since it was last in sync is given up.", s.Node)
	}
	return b.String()
}
