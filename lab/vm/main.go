// Command vm runs tests that need what the host's kernel may lack, such as ublk
// and nbd, in a virtual machine with Debian's own kernel. The machine has two
// processors, no network, a read-only disk of Debian packages and an empty disk
// to play with; it lives for one run. With a usable /dev/kvm it is fast, else
// it is emulated: about ten times slower than the host, so nothing is measured
// in it, and every wait in a test that runs there must be generous.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"gemel/lab/vm/plan"
)

const bootLimit = 3 * time.Minute // from start to the end, the suites' own limits aside

func main() {
	if err := run(); err != nil {
		say("%v", err)
		os.Exit(1)
	}
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "vm: "+format+"\n", args...) }

func run() (err error) {
	machine := flag.String("machine", "", "`directory` with vmlinuz, modules and disk, as lab/vm/run makes it")
	only := flag.String("only", "", "run the suites whose name matches this `pattern`")
	tests := flag.String("run", "", "run the tests that match this `pattern`, as go test -run")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	var chosen []suite
	for _, s := range suites {
		if pattern.MatchString(s.name) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("-only %s: no suite has such a name", *only)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	dir, err := os.MkdirTemp("", "gemel-vm-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return runIn(ctx, dir, *machine, chosen, *tests)
}

// runIn builds everything below dir, runs the machine and judges.
func runIn(ctx context.Context, dir, machine string, chosen []suite, tests string) error {
	started := time.Now()
	p, err := build(ctx, dir, chosen, tests)
	if err != nil {
		return err
	}
	initrd := filepath.Join(dir, "initrd")
	if err := pack(initrd, dir, machine, p); err != nil {
		return fmt.Errorf("pack the first file system: %w", err)
	}
	limit := bootLimit
	for _, r := range p.Runs {
		limit += r.Limit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	say("built in %.1f s; booting", time.Since(started).Seconds())
	started = time.Now()
	results, err := boot(ctx, dir, machine, initrd)
	say("the machine ran for %.1f s", time.Since(started).Seconds())
	return errors.Join(judge(p, results), err)
}

// judge prints a line per suite and returns what failed.
func judge(p *plan.Plan, results []plan.Result) error {
	var errs []error
	for i, r := range p.Runs {
		if i >= len(results) {
			errs = append(errs, fmt.Errorf("%s: the machine ended before it had a result", r.Suite))
			continue
		}
		result := results[i]
		if err := verdict(result); err != nil {
			errs = append(errs, err)
			continue
		}
		say("%-10s ok  %.1f s", result.Suite, result.Took.Seconds())
	}
	return errors.Join(errs...)
}

func verdict(r plan.Result) error {
	switch {
	case r.Problem != "":
		return fmt.Errorf("%s: FAILED: %s", r.Suite, r.Problem)
	case r.Code != 0:
		return fmt.Errorf("%s: FAILED with code %d after %.1f s", r.Suite, r.Code, r.Took.Seconds())
	case r.Skipped != 0:
		return fmt.Errorf("%s: FAILED: %d tests were skipped, and none may be here", r.Suite, r.Skipped)
	}
	return nil
}
