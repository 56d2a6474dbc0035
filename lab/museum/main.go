// Command museum shows a bug of docs/museum.md twice: its test passes as the product is,
// and fails when the mistake is back. It judges nothing but that; the story is in the document.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gemel/lab/patch"
)

const (
	exitFailed = 1
	exitUsage  = 2
)

var errUsage = errors.New("wrong usage")

func main() {
	only := flag.String("only", "", "fixed or buggy: run the test only so")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "museum [-only fixed|buggy] NUMBER|all|list: show a bug of docs/museum.md, "+
			"as it is mended and as it was\nin the root of the repository, for example: go run ./lab/museum 25")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := visit(ctx, flag.Arg(0), *only)
	stop()
	if errors.Is(err, errUsage) {
		flag.Usage()
		os.Exit(exitUsage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "museum:", err)
		os.Exit(exitFailed)
	}
}

// visit shows one exhibit or all of them.
func visit(ctx context.Context, which, only string) error {
	if which == "list" {
		list()
		return nil
	}
	var errs []error
	for _, e := range exhibits {
		number, err := strconv.Atoi(which)
		if which != "all" && (err != nil || e.number != number) {
			continue
		}
		if which != "all" && e.why != "" {
			return fmt.Errorf("no. %d cannot be brought back: %s", e.number, e.why)
		}
		if err := e.show(ctx, only); err != nil {
			errs = append(errs, err)
		}
		if which != "all" {
			return errors.Join(errs...)
		}
	}
	if which != "all" {
		return fmt.Errorf("%w: no. %q is not in the table; `list` shows what is", errUsage, which)
	}
	return errors.Join(errs...)
}

func list() {
	for _, e := range exhibits {
		if e.why != "" {
			fmt.Printf("%03d  cannot be brought back: %s\n", e.number, e.why)
			continue
		}
		fmt.Printf("%03d  go %s\n", e.number, strings.Join(e.command(""), " "))
	}
}

// show runs the test as the product is, then with the mistake in it.
func (e *exhibit) show(ctx context.Context, only string) error {
	if e.why != "" {
		fmt.Printf("no. %03d cannot be brought back: %s\n", e.number, e.why)
		return nil
	}
	if only != "buggy" {
		if out, err := e.test(ctx, ""); err != nil {
			return fmt.Errorf("no. %03d is back: %w\n%s", e.number, err, out)
		}
		fmt.Printf("no. %03d as it is: the test passes\n", e.number)
	}
	if only == "fixed" {
		return nil
	}
	dir, err := os.MkdirTemp("", "gemel-museum-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := patch.Overlay(dir, e.bug)
	if err != nil {
		return fmt.Errorf("no. %03d: %w", e.number, err)
	}
	return e.failing(ctx, overlay)
}

// failing demands that the test fails with the mistake, and not because it does not build.
func (e *exhibit) failing(ctx context.Context, overlay string) error {
	for _, c := range e.bug {
		fmt.Printf("no. %03d with the mistake in %s:\n%s", e.number, c.File, difference(c))
	}
	out, err := e.test(ctx, overlay)
	var code *exec.ExitError
	switch {
	case err == nil:
		return fmt.Errorf("no. %03d: the test does not see the mistake", e.number)
	case !errors.As(err, &code) || ctx.Err() != nil || strings.Contains(out, "[build failed]"):
		return fmt.Errorf("no. %03d: %w\n%s", e.number, err, out)
	}
	fmt.Printf("no. %03d as it was: the test fails\n%s\n", e.number, excerpt(out))
	return nil
}

// difference shows a change as its lines, the old and the new.
func difference(c patch.Change) string {
	var text strings.Builder
	for _, side := range []struct{ mark, lines string }{{"-", c.Old}, {"+", c.New}} {
		for line := range strings.Lines(strings.Trim(side.lines, "\n")) {
			fmt.Fprintf(&text, "    %s %s\n", side.mark, strings.TrimSpace(line))
		}
	}
	return text.String()
}

// shownLines is how much of a failing test's words is printed.
const shownLines = 12

func excerpt(out string) string {
	lines := slices.Collect(strings.Lines(out))
	lines = slices.DeleteFunc(lines, func(line string) bool {
		return strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "FAIL\t") || strings.TrimSpace(line) == "FAIL"
	})
	return "    " + strings.Join(lines[:min(len(lines), shownLines)], "    ")
}

func (e *exhibit) command(overlay string) []string {
	line := []string{"test", "-vet=off", "-count=1", "-failfast"}
	if overlay != "" {
		line = append(line, "-overlay="+overlay)
	}
	line = append(line, e.room)
	if e.run != "" {
		line = append(line, "-run", e.run)
	}
	return append(line, e.args...)
}

func (e *exhibit) test(ctx context.Context, overlay string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", e.command(overlay)...).CombinedOutput()
	return filepath.ToSlash(string(out)), err
}
