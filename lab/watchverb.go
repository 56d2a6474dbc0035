package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"gemel/lab/board"
	"gemel/lab/cluster"
)

func (a *app) watch() *cobra.Command {
	var once bool
	every := time.Second
	command := &cobra.Command{
		Use:     "watch",
		Short:   "Show boxes, roles, disks, links with rates, the client's pulse and what happens, live; Ctrl-C ends it",
		Example: "  lab watch\n  lab watch --once",
		Args:    args(),
		RunE: func(command *cobra.Command, _ []string) error {
			if every < 200*time.Millisecond {
				return fmt.Errorf("%w: --every %v: at least 200ms", errUsage, every)
			}
			return a.with(command.Context(), func(lab *cluster.Cluster) error {
				return watchLab(command.Context(), lab, every, once)
			})
		},
	}
	command.Flags().DurationVar(&every, "every", every, "time between looks")
	command.Flags().BoolVar(&once, "once", false, "look for one such time, print, and end")
	return command
}

func watchLab(ctx context.Context, lab *cluster.Cluster, every time.Duration, once bool) error {
	watcher := board.NewWatcher(lab)
	for first := true; ; first = false {
		view, err := watcher.Look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if !once || !first { // rates need two looks
			draw(view)
		}
		if once && !first {
			return nil
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return nil
		}
	}
}

// draw fills a terminal; elsewhere it prints one view below the other.
func draw(view board.View) {
	size, err := unix.IoctlGetWinsize(unix.Stdout, unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		fmt.Fprintln(os.Stdout, board.Render(view, 0, 0))
		return
	}
	fmt.Fprint(os.Stdout, "\x1b[H\x1b[2J"+board.Render(view, int(size.Col), int(size.Row)-1))
}
