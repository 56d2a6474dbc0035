package walk

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"gemel/lab/bundle"
	"gemel/lab/cluster"
	"gemel/lab/oracle"
	"gemel/node/event"
)

// Drill is a trouble that is played with commentary.
type Drill struct {
	Name  string
	Story string // what happens, and what to expect
	// Steps for the Primary and the Secondary of the moment.
	Steps func(primary, secondary string) []Step
}

// Drills are the drills by name, in the order to learn from.
func Drills() []Drill {
	one := func(wait time.Duration, verb string, args ...string) []Step {
		return []Step{{Verb: verb, Args: args, Wait: wait}}
	}
	return []Drill{
		{"switchover", "An operator moves the volume to the other server. The client waits for a moment and sees no error.",
			func(p, _ string) []Step {
				return one(3*time.Second, "exec", p, "--", "gemel", "switchover", "--timeout", "30s", "data")
			}},
		{"reset", "The Primary is reset. The other hears nothing on any link, asks the witness for its vote, and takes over; " +
			"the dead box comes back as Secondary and gets what it missed.",
			func(p, _ string) []Step { return one(6*time.Second, "press-reset", p) }},
		{"power", "The Primary loses its power, with what its disk had not flushed. What the client was told is on the other.",
			func(p, _ string) []Step { return one(8*time.Second, "yank-power", p) }},
		{"pull", "The Primary's LAN cable is pulled. It can still speak to the other, and hands the volume over in good order.",
			func(p, _ string) []Step { return one(8*time.Second, "pull-cable", p, "lan") }},
		{"private", "Both private cables are pulled, one after the other. Replication goes on over what is left; nobody fails over.",
			func(p, _ string) []Step {
				return append(one(3*time.Second, "pull-cable", p, "priv"), one(4*time.Second, "pull-cable", p, "priv2")...)
			}},
		{"cut", "A private cable carries nothing from the Primary any more, though both ends see a carrier. " +
			"Only missing answers tell.",
			func(p, _ string) []Step { return one(6*time.Second, "cut-cable", p, "priv", "--one-way", "out") }},
		{"witness", "The witness dies. Nobody fails over; the pair says what it cannot survive any more.",
			func(_, _ string) []Step { return one(6*time.Second, "yank-power", "witness") }},
		{"replicator", "The Primary's replicator crashes. Its box starts it again or the other takes over, whichever is safe first.",
			func(p, _ string) []Step { return one(6*time.Second, "kill-process", p, "replicator") }},
		{"hang", "The Primary's agent hangs. Its lease runs out, and nobody answers for the address twice.",
			func(p, _ string) []Step { return one(12*time.Second, "pause-process", p, "agent") }},
		{"secondary", "The Secondary is reset. The Primary goes on alone, and remembers what the other misses.",
			func(_, s string) []Step { return one(6*time.Second, "press-reset", s) }},
	}
}

// DrillNamed finds a drill.
func DrillNamed(name string) (Drill, bool) {
	drills := Drills()
	at := slices.IndexFunc(drills, func(d Drill) bool { return d.Name == name })
	if at < 0 {
		return Drill{}, false
	}
	return drills[at], true
}

// Play plays a drill on a lab, and tells it. An error says which promise did not hold.
func (l *Lab) Play(ctx context.Context, drill Drill, out io.Writer) error {
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	say("%s: %s\n", drill.Name, drill.Story)
	if err := l.Begin(ctx); err != nil {
		return err
	}
	primary, err := oracle.New(l.Cluster, volume).Primary(ctx)
	if err != nil {
		return err
	}
	secondary := oracle.Servers[1-slices.Index(oracle.Servers, primary)]
	say("%s is Primary, %s is Secondary, and a client writes %s records a second.", primary, secondary, loadRate)
	begun := time.Now()
	for _, step := range drill.Steps(primary, secondary) {
		say("$ %s", step.Command(l.Cluster.Lab()))
		if err := l.Do(ctx, step); err != nil {
			return err
		}
	}
	say("$ bin/lab heal --lab %s", l.Cluster.Lab())
	account, err := l.End(ctx)
	tellSince(out, l.Cluster.Lab(), begun)
	if err != nil {
		return fmt.Errorf("drill %s: %w", drill.Name, err)
	}
	say("\nThe client: %d records acknowledged, %d errors, longest pause %v. All %d that were not written over are there;\n"+
		"one box answers for the address, the service runs once, both disks are equal.",
		account.Acked, account.Errors, account.Pause, account.Found)
	return nil
}

// tellSince prints what was done and decided since then. What cannot be read is not told.
func tellSince(out io.Writer, lab string, since time.Time) {
	events, err := bundle.Merge(cluster.Histories(lab))
	if err != nil {
		fmt.Fprintf(out, "(the histories cannot be read: %v)\n", err)
		return
	}
	events = slices.DeleteFunc(events, func(e event.Event) bool { return e.Time.Before(since) })
	fmt.Fprintln(out, "\nWhat was done, and what each box made of it:")
	_ = bundle.WriteTimeline(out, events) // a reader that left has nobody to tell
}
