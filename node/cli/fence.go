package cli

import (
	"bufio"
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

const fenceHelp = `Looks at and switches the power of a node through its fencing devices (nodes[].fence of the
configuration). NODE is the node whose power is meant; the other node does it.

  status  look at the devices: does each answer, does it say that the node is on?
  test    cut NODE's power, wait until its heartbeats have stopped, switch it on, and wait until it is back
  off     cut NODE's power, and prove it
  on      switch NODE on
  reboot  ask NODE's agent to reboot NODE at once (driver peer-reboot); its word proves nothing

status and test also say what NODE's own watchdog does. It resets NODE when its agent hangs, and is tested by no
command: the peer could not tell.

test, off and reboot want the node's name typed. test refuses a node that is Primary: switch over first.

Exit codes: 0 done, 1 a device failed, 2 wrong arguments, 3 refused (with the reason), 4 no agent answers.`

func (a *app) fenceCommand() *cobra.Command {
	var asJSON bool
	status := &cobra.Command{Use: "status [NODE]", Short: "Look at the fencing devices of a node", Args: cobra.MaximumNArgs(1),
		Long: fenceHelp, Example: "  gemel fence status\n  gemel fence status server2 --json",
		RunE: func(cmd *cobra.Command, args []string) error { return a.fenceStatus(cmd.Context(), args, asJSON) }}
	status.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	c := &cobra.Command{Use: "fence", Short: "Look at, test and switch the power of a node", Long: fenceHelp,
		Example: "  gemel fence status\n  gemel fence test server2\n  gemel fence on server2"}
	c.AddCommand(status, a.fenceSwitch("test", "Cut the power and switch it on again, as a proof", a.fenceTest),
		a.fenceSwitch("off", "Cut the power of a node, and prove it", a.fenceOff), a.fenceOn(),
		a.fenceSwitch("reboot", "Ask a node to reboot itself", a.fenceReboot))
	return c
}

// fenceSwitch is a command that takes a node down.
func (a *app) fenceSwitch(use, short string, do func(context.Context, *fenced) error) *cobra.Command {
	var sure bool
	c := &cobra.Command{Use: use + " NODE", Short: short, Args: cobra.ExactArgs(1), Long: fenceHelp,
		Example: "  gemel fence " + use + " server2",
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.fenceTarget(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer f.client.Close()
			if use == "test" {
				a.ownWatchdog(cmd.Context(), f.cfg, f.node)
			}
			if err := a.fenceGuard(f, use, sure); err != nil {
				return err
			}
			return do(cmd.Context(), f)
		}}
	c.Flags().BoolVar(&sure, "yes-i-know", false, "do not ask, for scripts")
	return c
}

func (a *app) fenceOn() *cobra.Command {
	return &cobra.Command{Use: "on NODE", Short: "Switch a node on", Args: cobra.ExactArgs(1), Long: fenceHelp,
		Example: "  gemel fence on server2",
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.fenceTarget(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer f.client.Close()
			if _, err := f.order(cmd.Context(), api.FenceOn); err != nil {
				return err
			}
			a.printf("%s was switched on.\n", f.node)
			return nil
		}}
}

// fenced is a node whose power is meant, and the other one's agent.
type fenced struct {
	node   string
	by     string
	cfg    *config.Config
	client *api.Client
	seen   api.Status
}

// fenceTarget finds who can switch the node that is meant: without a name this node's peer.
func (a *app) fenceTarget(ctx context.Context, args []string) (*fenced, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, err
	}
	f, err := fencePair(cfg, args)
	if err != nil {
		return nil, err
	}
	f.cfg = cfg
	node := f.by
	if node == cfg.Node {
		node = ""
	}
	if f.client, err = a.reach(ctx, cfg, node); err != nil {
		return nil, err
	}
	if f.seen, err = f.client.Status(ctx); err != nil {
		f.client.Close()
		return nil, err
	}
	return f, nil
}

func fencePair(cfg *config.Config, args []string) (*fenced, error) {
	names := cfg.NodeNames()
	switch {
	case len(args) == 0 && cfg.SelfIndex() < 0:
		return nil, usagef("this box is not a data node; name the node whose power is meant: %s", strings.Join(names, " or "))
	case len(args) == 0:
		return &fenced{node: cfg.Peer().Name, by: cfg.Node}, nil
	case cfg.NodeIndex(args[0]) < 0:
		return nil, usagef("there is no node %q; the nodes are %s", args[0], strings.Join(names, " and "))
	}
	return &fenced{node: args[0], by: names[1-cfg.NodeIndex(args[0])]}, nil
}

func (f *fenced) order(ctx context.Context, do string) (api.Fencing, error) {
	found, err := f.client.Fence(ctx, api.FenceOrder{Node: f.node, Do: do, Stay: do == api.FenceOff})
	if err != nil {
		return found, fmt.Errorf("fence %s, asked of %s: %w", f.node, f.by, err)
	}
	return found, nil
}

func (a *app) fenceStatus(ctx context.Context, args []string, asJSON bool) error {
	f, err := a.fenceTarget(ctx, args)
	if err != nil {
		return err
	}
	defer f.client.Close()
	if !asJSON {
		a.ownWatchdog(ctx, f.cfg, f.node)
	}
	found, err := f.order(ctx, api.FenceProbe)
	if err != nil && onlyWatchdog(f.cfg, f.node) {
		err = errors.Join(errNoProof, err)
	}
	if err != nil {
		return err
	}
	if asJSON {
		return a.json(found)
	}
	unfit := 0
	for _, d := range found.Devices {
		a.printf("%s switches %s by %s: power %s%s\n", f.by, f.node, d.Name, d.Power, problem(d))
		if d.Problem != "" {
			unfit++
		}
	}
	if found.LeftOff != "" {
		a.printf("%s stays off: %s\n", f.node, found.LeftOff)
	}
	if found.Reboot != nil {
		a.printf("peer-reboot: %s\n", rebootWords(f.node, found.Reboot))
	}
	if len(found.Devices) == 0 {
		return refusedf("%v", errNoProof)
	}
	if unfit == len(found.Devices) {
		return fmt.Errorf("no device could cut the power of %s now", f.node)
	}
	return nil
}

func problem(d api.FenceDevice) string {
	if d.Problem == "" {
		return ", fit"
	}
	return "; it would FAIL: " + d.Problem
}

// fenceGuard says what will happen and wants the node's name typed.
func (a *app) fenceGuard(f *fenced, use string, sure bool) error {
	for i := range f.seen.Volumes {
		v := &f.seen.Volumes[i]
		if use == "test" && primaryOf(&f.seen, v) == f.node {
			return refusedf("%s is Primary for %s; run `gemel switchover %s` first, so that the test interrupts nobody", f.node, v.Name, v.Name)
		}
	}
	if sure {
		return nil
	}
	does := "cuts the power of"
	if use == "reboot" {
		does = "reboots"
	}
	a.printf("This %s %s at once, as a pulled plug would.\n", does, f.node)
	for i := range f.seen.Volumes {
		v := &f.seen.Volumes[i]
		if primaryOf(&f.seen, v) == f.node {
			a.printf("  %s SERVES %s: a fail-over to %s follows.\n", f.node, v.Name, f.by)
		} else if v.Role == control.Primary {
			a.printf("  %s serves %s on, alone until %s is back.\n", f.by, v.Name, f.node)
		}
	}
	a.printf("Type the name of the node (%s) to go on: ", f.node)
	answer, _ := bufio.NewReader(a.In).ReadString('\n')
	a.printf("\n")
	if strings.TrimSpace(answer) != f.node {
		return refusedf("nothing was done: %q is not %q (scripts use --yes-i-know)", strings.TrimSpace(answer), f.node)
	}
	return nil
}

func (a *app) fenceOff(ctx context.Context, f *fenced) error {
	found, err := f.order(ctx, api.FenceOff)
	if err != nil {
		return err
	}
	a.printf("%s is off, by %s. It stays off until `gemel fence on %s`.\n", f.node, found.Proof, f.node)
	return nil
}

func (a *app) fenceReboot(ctx context.Context, f *fenced) error {
	if _, err := f.order(ctx, api.FenceReboots); err != nil {
		return err
	}
	a.printf("%s says that it reboots itself. That proves nothing: watch its heartbeats stop and come back in `gemel status --watch`.\n", f.node)
	return nil
}

// rebootWords says whether the peer would reboot itself when asked.
func rebootWords(node string, r *api.FenceReboot) string {
	switch {
	case r.Looked.IsZero():
		return node + " was not asked yet whether it would reboot itself"
	case r.Problem != "":
		return node + " would not reboot itself now: " + r.Problem
	}
	return node + " would reboot itself when asked, which proves nothing"
}

// fenceTest is the whole way down and up again, with the heartbeats as the judge of what the device says.
func (a *app) fenceTest(ctx context.Context, f *fenced) error {
	start := a.now()
	say := func(format string, args ...any) {
		a.printf("%6.1f s  %s\n", a.now().Sub(start).Seconds(), fmt.Sprintf(format, args...))
	}
	was := f.seen.Peer.Alive
	found, err := f.order(ctx, api.FenceOff)
	if err != nil {
		return err
	}
	say("%s is off, by %s", f.node, found.Proof)
	if was {
		if err := f.wait(ctx, false, time.Minute); err != nil {
			return fmt.Errorf("the device lies: it says off, and %w", err)
		}
		say("its heartbeats have stopped")
	}
	if _, err := f.order(ctx, api.FenceOn); err != nil {
		return err
	}
	say("it was switched on")
	if err := f.wait(ctx, true, 10*time.Minute); err != nil {
		return err
	}
	say("it is back. %s can be fenced.", f.node)
	return nil
}

// wait waits until the node is heard, or is not.
func (f *fenced) wait(ctx context.Context, alive bool, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		s, err := f.client.Status(ctx)
		if err == nil && s.Peer.Alive == alive {
			return nil
		}
		if !sleep(ctx, 250*time.Millisecond) {
			if alive {
				return fmt.Errorf("%s was not heard again within %v; look at its console", f.node, limit)
			}
			return fmt.Errorf("%s was heard for another %v", f.node, limit)
		}
	}
}

// fencing writes what would happen if the peer had to be shot.
func (o *screen) fencing(s *api.Status) {
	f := s.Fencing
	if f == nil {
		return
	}
	o.line("")
	for _, d := range f.Devices {
		switch {
		case d.Problem != "":
			o.item("fencing", fmt.Sprintf("%s of %s would FAIL: %s", d.Name, f.Node, d.Problem), o.paint.bad)
		default:
			o.item("fencing", fmt.Sprintf("%s: %s is %s", d.Name, f.Node, d.Power), nil)
		}
	}
	if f.Reboot != nil {
		o.item("peer-reboot", rebootWords(f.Node, f.Reboot), nil)
	}
	if f.LeftOff != "" {
		o.item("", fmt.Sprintf("%s stays off: %s; `gemel fence on %s`", f.Node, f.LeftOff, f.Node), o.paint.warn)
	}
}

// judgeFencing says what is wrong with the devices before they are needed.
func judgeFencing(v *verdict, f *api.Fencing) {
	if f == nil {
		return
	}
	unfit := 0
	for _, d := range f.Devices {
		if d.Problem != "" {
			unfit++
		}
	}
	if unfit > 0 {
		v.add(degraded, "%d of %d fencing devices of %s would fail", unfit, len(f.Devices), f.Node)
	}
}
