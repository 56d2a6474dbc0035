package main

import (
	"context"
	"os"

	"golang.org/x/sys/unix"

	"gemel/lab/cluster"
	"gemel/lab/tour"
)

// showTour gives the tour on a lab that is up.
func showTour(ctx context.Context, lab *cluster.Cluster) error {
	return tour.Run(ctx, lab, tour.NewScreen(os.Stdout, terminalWidth()))
}

// terminalWidth is the width of standard output in columns; 0 when it is no terminal.
func terminalWidth() int {
	size, err := unix.IoctlGetWinsize(unix.Stdout, unix.TIOCGWINSZ)
	if err != nil || os.Getenv("TERM") == "dumb" {
		return 0
	}
	if size.Col == 0 {
		return 80
	}
	return int(size.Col)
}
