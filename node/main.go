// Command gemel makes two Linux boxes act as one server. One binary holds the
// three daemons and every command; this file only puts them together.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"gemel/node/cli"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version = "development"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	os.Exit(cli.Run(ctx, os.Args[1:], cli.Program{
		Version: version,
		Agent:   runAgent, Replicator: runReplicator, Witness: runWitness, Keeper: runKeeper,
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Terminal: isTerminal(os.Stdout),
	}))
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS) //nolint:gosec // a descriptor fits an int
	return err == nil && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
