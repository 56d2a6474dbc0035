// Package cli is the command line of gemel: it asks a daemon through package
// api, and shows the answer in words. It knows nothing of how daemons work; the
// daemons themselves are handed to it as functions.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"gemel/node/api"
	"gemel/node/config"
)

// Exit codes of every command.
const (
	ExitOK          = 0
	ExitFailed      = 1 // tried, and failed
	ExitUsage       = 2 // the command line makes no sense
	ExitRefused     = 3 // understood, and refused; the message says why and what to do next
	ExitUnreachable = 4 // no daemon answered
)

// Daemon runs until ctx ends.
type Daemon func(ctx context.Context, cfg *config.Config, log *slog.Logger) error

// Program is what the command line works with.
type Program struct {
	Version                    string
	Agent, Replicator, Witness Daemon
	Keeper                     func(ctx context.Context, dir string) error

	In       io.Reader
	Out, Err io.Writer
	Terminal bool // Out is a terminal: colours and redrawing make sense
}

// app is a Program while one command runs.
type app struct {
	Program
	configPath string
	started    bool // the command line made sense
	now        func() time.Time
}

const about = `gemel makes two Linux boxes act as one server: every block written on one is on
both, and when a box dies the other takes its disk, its address and its services.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused, 4 no daemon answers.`

// Run carries out one command line and returns its exit code. The error is
// printed already.
func Run(ctx context.Context, args []string, p Program) int {
	a := &app{Program: p, now: time.Now}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	code := a.exitCode(err)
	var shown *quietError
	if !errors.As(err, &shown) {
		_, _ = fmt.Fprintln(p.Err, "gemel: "+err.Error())
	}
	if code == ExitUsage {
		_, _ = fmt.Fprintln(p.Err, "Try gemel --help, or --help behind the command.")
	}
	return code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{Use: "gemel", Short: "Two boxes, one server", Long: about, SilenceUsage: true, SilenceErrors: true,
		PersistentPreRun: func(*cobra.Command, []string) { a.started = true }}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.PersistentFlags().StringVar(&a.configPath, "config", "", "configuration file (default $GEMEL_CONFIG, else "+config.DefaultPath+")")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddGroup(&cobra.Group{ID: "see", Title: "To see:"}, &cobra.Group{ID: "do", Title: "To act:"},
		&cobra.Group{ID: "set", Title: "To set up:"}, &cobra.Group{ID: "run", Title: "Daemons:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	volume := a.volumeCommand()
	volume.AddCommand(a.invalidateCommand())
	add("see", a.statusCommand(), a.arbiterCommand(), a.eventsCommand(), a.historyCommand(), a.whatIfCommand(), a.versionCommand())
	add("do", a.switchoverCommand(), a.grabCommand(), a.drillCommand(), a.standbyCommand(), a.maintenanceCommand(), a.fenceCommand(), volume, a.resolveCommand(), a.undoCommand())
	add("set", a.configCommand(), a.pairCommand(), a.keysCommand())
	add("run", a.daemonCommands()...)
	return root
}

// exitError is an error that knows its exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// quietError ends a command whose output said everything.
type quietError struct{ code int }

func (e *quietError) Error() string { return fmt.Sprintf("exit %d", e.code) }

func refusedf(format string, args ...any) error {
	return &exitError{ExitRefused, fmt.Errorf(format, args...)}
}

func usagef(format string, args ...any) error {
	return &exitError{ExitUsage, fmt.Errorf(format, args...)}
}

func (a *app) exitCode(err error) int {
	var own *exitError
	var quiet *quietError
	var answer *api.Error
	switch {
	case !a.started:
		return ExitUsage
	case errors.As(err, &own):
		return own.code
	case errors.As(err, &quiet):
		return quiet.code
	case errors.Is(err, api.ErrUnreachable):
		return ExitUnreachable
	case errors.As(err, &answer):
		switch answer.Code {
		case api.CodeRefused, api.CodeForbidden, api.CodeUnknownVolume, api.CodeUnsupported:
			return ExitRefused
		}
	}
	return ExitFailed
}

func (a *app) printf(format string, args ...any) { _, _ = fmt.Fprintf(a.Out, format, args...) }

func (a *app) load() (*config.Config, error) { return config.Load(config.Path(a.configPath)) }
