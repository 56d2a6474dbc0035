package checker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// ErrBroken says that acknowledged records are missing or corrupt.
var ErrBroken = errors.New("acknowledged writes were lost")

// Command returns the verb `check` with its two halves, write and verify. Both print
// JSON on standard output, the report as the last line, and fail with an error: a
// caller turns that into exit code 1.
func Command() *cobra.Command {
	check := &cobra.Command{
		Use:   "check",
		Short: "write numbered records to the service address, and prove none was lost",
	}
	check.AddCommand(writeCommand(), verifyCommand())
	return check
}

// Main runs `check` with args as a program of its own and returns the exit code.
func Main(args []string) int {
	cmd := Command()
	cmd.SetArgs(args)
	if err := cmd.Execute(); err != nil {
		return 1
	}
	return 0
}

func targetFlags(cmd *cobra.Command, t *Target) {
	f := cmd.Flags()
	f.StringVar(&t.Server, "server", "", "address of the server, usually the service address (VIP)")
	f.StringVar(&t.Export, "export", "", "exported path to mount")
	f.IntVar(&t.NFSPort, "nfs-port", 2049, "port of the NFS service")
	f.IntVar(&t.MountPort, "mount-port", 20048, "port of the MOUNT service")
	f.DurationVar(&t.Timeout, "timeout", 500*time.Millisecond, "patience for connecting and for a first try")
	f.DurationVar(&t.Longest, "longest-timeout", 2*time.Second, "patience with a slow but living server")
	f.DurationVar(&t.Retry, "retry", 100*time.Millisecond, "wait between tries")
}

func writeCommand() *cobra.Command {
	var cfg Config
	var duration time.Duration
	var untilStdin, progress bool
	cmd := &cobra.Command{
		Use:   "write",
		Short: "write records until told to stop, and log each one acknowledged",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			ctx, stop := ending(cmd.Context(), duration)
			defer stop()
			if untilStdin {
				go closeWithInput(cmd.InOrStdin(), stop)
			}
			if progress {
				cfg.Progress = cmd.OutOrStdout()
			}
			return runWrite(ctx, cmd.OutOrStdout(), cfg)
		},
	}
	targetFlags(cmd, &cfg.Target)
	f := cmd.Flags()
	f.StringVar(&cfg.File, "file", "check", "worker k writes the file NAME.k in the root of the export")
	f.StringVar(&cfg.AckLog, "ack-log", "", "where to log acknowledgements; on a disk of the client, not of the pair")
	f.Float64Var(&cfg.Rate, "rate", 100, "records per second over all workers; 0: as fast as they go")
	f.IntVar(&cfg.Workers, "workers", 1, "number of workers, each with a connection and a file")
	f.Uint64Var(&cfg.Slots, "slots", 0, "records per file before writing over the oldest; 0: files grow")
	f.DurationVar(&duration, "duration", 0, "end after this time; 0: when interrupted")
	f.BoolVar(&untilStdin, "until-stdin-closes", false, "end when standard input closes")
	f.BoolVar(&progress, "json-progress", false, "print a JSON line per second")
	require(cmd, "server", "export", "ack-log")
	return cmd
}

// runWrite prints the report even when the run failed half way.
func runWrite(ctx context.Context, out io.Writer, cfg Config) error {
	rep, err := Run(ctx, cfg)
	err = errors.Join(err, writeLine(out, rep))
	switch {
	case err != nil:
		return err
	case rep.Acked == 0:
		return fmt.Errorf("write to %s:%s: %w (last trouble: %s)", cfg.Server, cfg.Export,
			ErrNoAcks, rep.LastRetry)
	}
	return nil
}

func verifyCommand() *cobra.Command {
	var cfg VerifyConfig
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "read every acknowledged record back; fails when one is missing or corrupt",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			ctx, stop := ending(cmd.Context(), limit)
			defer stop()
			return runVerify(ctx, cmd.OutOrStdout(), cfg)
		},
	}
	targetFlags(cmd, &cfg.Target)
	f := cmd.Flags()
	f.StringVar(&cfg.AckLog, "ack-log", "", "acknowledgement log of the write run")
	f.StringVar(&cfg.Path, "path", "", "read the files in this directory instead of through a server")
	f.DurationVar(&limit, "limit", 2*time.Minute, "give up after this time")
	require(cmd, "ack-log")
	return cmd
}

func runVerify(ctx context.Context, out io.Writer, cfg VerifyConfig) error {
	rep, err := Verify(ctx, cfg)
	err = errors.Join(err, writeLine(out, rep))
	if err == nil && !rep.OK() {
		err = fmt.Errorf("%w: of %d records %d are missing and %d corrupt", ErrBroken,
			rep.Acked, rep.MissingN, rep.CorruptN)
	}
	return err
}

func require(cmd *cobra.Command, names ...string) {
	for _, n := range names {
		if err := cmd.MarkFlagRequired(n); err != nil {
			panic(err) // a name that was not declared above
		}
	}
}

// ending returns a context that ends on SIGINT, SIGTERM, and after d unless d is 0.
func ending(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	if d <= 0 {
		return ctx, stop
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	return ctx, func() { cancel(); stop() }
}

// closeWithInput ends the run when in closes. A read of a terminal or pipe cannot be
// called back: it ends with the process.
func closeWithInput(in io.Reader, stop context.CancelFunc) {
	_, _ = io.Copy(io.Discard, in)
	stop()
}
