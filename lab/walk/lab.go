package walk

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"gemel/lab/bundle"
	"gemel/lab/cluster"
	"gemel/lab/oracle"
)

const (
	volume = "data"
	// healTime is how long the pair may take to be whole once its hardware is.
	healTime = 3 * time.Minute
	// stepTime bounds one verb.
	stepTime = time.Minute
)

// Lab is the World of a real lab.
type Lab struct {
	Cluster *cluster.Cluster
	Options cluster.Options // to make it anew
	Binary  string          // the command lab; steps are carried out as they are typed
	Reports string          // directory for findings
	Seed    uint64

	load  *load
	loads int
}

// Form creates the volume on both servers, unless it is there, and waits until the pair is whole.
func (l *Lab) Form(ctx context.Context) error {
	for _, server := range oracle.Servers {
		said, err := l.Cluster.Exec(ctx, server, "gemel", "volume", "create", volume)
		if err != nil {
			return err
		}
		if said.Code != 0 && !strings.Contains(said.Stderr, "already") {
			return fmt.Errorf("create the volume on %s: %s", server, strings.TrimSpace(said.Stderr))
		}
	}
	return l.awaitHealthy(ctx)
}

func (l *Lab) awaitHealthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healTime)
	defer cancel()
	judge := oracle.New(l.Cluster, volume)
	for {
		err := judge.Healthy(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the pair is not whole after %v: %w", healTime, err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// Begin makes the pair whole and starts the client.
func (l *Lab) Begin(ctx context.Context) error {
	if _, err := l.Cluster.Heal(ctx); err != nil {
		return err
	}
	if err := l.awaitHealthy(ctx); err != nil {
		return err
	}
	l.loads++
	var err error
	l.load, err = startLoad(ctx, l.Cluster, fmt.Sprintf("walk%d-%d", time.Now().Unix(), l.loads))
	return err
}

// Do types a step. A box that is off and a process that is not there are no failures:
// an earlier step may have seen to that. Nor is what the product answers to an order.
func (l *Lab) Do(ctx context.Context, step Step) error {
	limited, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	line := append([]string{step.Verb, "--lab", l.Cluster.Lab()}, step.Args...)
	said, err := exec.CommandContext(limited, l.Binary, line...).CombinedOutput()
	var ended *exec.ExitError
	if errors.As(err, &ended) && (step.Verb == "exec" || ended.ExitCode() == 2 || ended.ExitCode() == 3) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(said)))
	}
	select {
	case <-time.After(step.Wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// End heals, stops the client and asks the oracles.
func (l *Lab) End(ctx context.Context) (Account, error) {
	if _, err := l.Cluster.Heal(ctx); err != nil {
		return Account{}, err
	}
	if err := l.awaitHealthy(ctx); err != nil {
		return Account{}, err
	}
	report, err := l.load.stop(ctx)
	account := Account{Acked: report.Acked, Errors: report.Errors,
		Pause: time.Duration(report.LongestPauseMS) * time.Millisecond}
	if err != nil {
		return account, err
	}
	judge := oracle.New(l.Cluster, volume)
	verified, err := judge.Acknowledged(ctx, l.load.ackLog())
	account.Found = verified.Found
	if err == nil {
		err = errors.Join(judge.OneAddressHolder(ctx), judge.ServicesOnce(ctx), judge.Identical(ctx))
	}
	if err != nil {
		return account, err
	}
	if primary, err := judge.Primary(ctx); err == nil {
		l.load.forget(ctx, primary)
	}
	return account, nil
}

// Rebuild takes the lab down and makes it anew.
func (l *Lab) Rebuild(ctx context.Context) error {
	if _, err := l.Cluster.Down(ctx); err != nil {
		return err
	}
	if err := l.Cluster.Up(ctx, l.Options); err != nil {
		return err
	}
	return l.Form(ctx)
}

// Keep makes a bundle.
func (l *Lab) Keep(ctx context.Context, round int, steps []Step, cause error) string {
	dir := filepath.Join(l.Reports, fmt.Sprintf("walk-%d-%d", l.Seed, round))
	err := bundle.Collect(ctx, l.Cluster, dir, bundle.Options{
		Why: cause.Error(), Seed: fmt.Sprint(l.Seed), Trace: Commands(l.Cluster.Lab(), steps),
		Rerun: fmt.Sprintf("bin/lab walk --lab %s --seed %d --first %d --rounds 1", l.Cluster.Lab(), l.Seed, round),
	})
	if err != nil {
		return dir + " (not complete: " + err.Error() + ")"
	}
	return dir
}
