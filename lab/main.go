// Command lab builds and troubles a cluster of containers that behaves like four
// boxes with cables. It is a test bench: the product is in ../node.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"gemel/lab/checker"
	"gemel/lab/cluster"
	"gemel/lab/drive/model"
	"gemel/lab/drive/server"
)

// Exit codes of the command.
const (
	exitFailed = 1 // it was tried and failed
	exitUsage  = 2 // no such verb, flag, box or cable
	exitNoLab  = 3 // the lab is not up, or the box is off
	exitUnfit  = 4 // doctor: the host cannot run a lab; leftovers: there are some
)

// exitCode carries the code of a command run in a box, or a verdict already printed.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := newRoot().ExecuteContext(ctx)
	stop()
	os.Exit(codeOf(err))
}

func codeOf(err error) int {
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, cluster.ErrNoLab), errors.Is(err, cluster.ErrOff):
		return exitNoLab
	case errors.Is(err, server.ErrNoDrive):
		return exitNoLab
	case errors.Is(err, model.ErrUnknown), errors.Is(err, cluster.ErrNoNode), errors.Is(err, cluster.ErrNoCable),
		errors.Is(err, cluster.ErrNoProcess), errors.Is(err, cluster.ErrNoSetting), errors.Is(err, errUsage):
		return exitUsage
	}
	return exitFailed
}

var errUsage = errors.New("wrong usage")

// app is what every verb shares.
type app struct {
	lab  string
	json bool
}

func newRoot() *cobra.Command {
	a := &app{}
	root := &cobra.Command{
		Use:   "lab",
		Short: "Four boxes on your machine: two servers, a witness, a client, and their cables",
		Long: `Four boxes on your machine: two servers, a witness, a client, and their cables.

Exit codes: 0 done; 1 tried and failed; 2 wrong usage; 3 the lab or the box is off;
4 the host is unfit (doctor) or something is left over (leftovers). exec has the code of its command.`,
		Example:       "  lab up\n  lab press-reset server1\n  lab down",
		SilenceUsage:  true,
		SilenceErrors: false,
	}
	root.PersistentFlags().StringVar(&a.lab, "lab", "gemel", "name of the lab; several can be up side by side")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	root.AddCommand(a.up(), a.reconfigure(), a.files(), a.down(), a.status(), a.doctor(), a.leftovers(),
		a.cable("pull-cable", "Pull a box's cable (lan, priv, priv2 or mgmt): it sees no carrier", "pulled", (*cluster.Cluster).PullCable),
		a.cable("plug-cable", "Put a box's cable back", "plugged", (*cluster.Cluster).PlugCable),
		a.power("press-reset", "Kill everything in a box at once; it boots again after some seconds", (*cluster.Cluster).PressReset),
		a.powerOn(), a.exec(), checker.Command(), a.attend(), a.degradeCable(), a.cutCable(), a.mendCable(),
		a.drive(),
		a.bmc(), a.breakBMC(), a.mendBMC(),
		a.process("pause-process", "Stop a process where it stands, as a hang would", "paused", (*cluster.Cluster).PauseProcess),
		a.process("resume-process", "Let a paused process go on", "goes on", (*cluster.Cluster).ResumeProcess),
		a.process("restart-process", "End a daemon in good order; its box starts it again, with its configuration of now", "starts anew", (*cluster.Cluster).RestartProcess),
		a.process("kill-process", "End a process as a crash would", "killed", (*cluster.Cluster).KillProcess),
		a.memory("fill-memory", "Fill a box's memory again and again, until it is freed", "is being filled", (*cluster.Cluster).FillMemory),
		a.memory("free-memory", "End fill-memory", "is free again", (*cluster.Cluster).FreeMemory),
		a.clockJump(), a.heal(), a.bundle())
	root.AddCommand(a.diskVerbs()...)
	root.AddCommand(a.toolVerbs()...)
	return root
}

// args checks the number of arguments and says which were expected.
func args(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, given []string) error {
		if len(given) != len(names) {
			return fmt.Errorf("%w: expected %v, got %v", errUsage, names, given)
		}
		return nil
	}
}

// with opens the lab for one verb.
func (a *app) with(ctx context.Context, do func(*cluster.Cluster) error) error {
	lab, err := cluster.Open(ctx, a.lab)
	if err != nil {
		return err
	}
	return errors.Join(do(lab), lab.Close())
}
