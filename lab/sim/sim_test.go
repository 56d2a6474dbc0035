package sim

import (
	"context"
	"flag"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

var (
	seeds = flag.Uint64("sim.seeds", someSeeds, "seeds of the simulation of the pair")
	first = flag.Uint64("sim.first", 1, "first seed")
)

// TestSeeds plays pairs from their seeds; every promise must be kept.
func TestSeeds(t *testing.T) {
	total, bad := Many(context.Background(), *first, *seeds, runtime.GOMAXPROCS(0), nil)
	if bad != nil {
		t.Fatal("\n" + Explain(bad.Plan, Shrink(bad.Plan, bad.Violation, 100)))
	}
	t.Logf("\n%v", &total)
	for _, n := range []int{total.Writes, total.Reads, total.Flushes, total.Reigns, total.Resyncs, total.Compared, total.Torn, total.Late} {
		if n == 0 {
			t.Errorf("something never happened, the simulation lost its eyes:\n%v", &total)
		}
	}
}

// watch looks every millisecond until what it waits for has come.
func (w *world) watch(seen func() bool) {
	w.after(time.Millisecond, func() {
		if !seen() {
			w.watch(seen)
		}
	})
}

// TestBirthInterrupted kills the winner of a volume's first election, in one
// way or another, before it has promoted its replica.
func TestBirthInterrupted(t *testing.T) {
	ways := map[string]func(b *box){
		"agent": func(b *box) { b.killAgent(time.Second) }, "replicator": func(b *box) { b.killReplicator(time.Second) },
		"power": func(b *box) { b.powerOff(); b.w.after(time.Second, b.powerOn) },
	}
	for name, way := range ways {
		for seed := range uint64(5) {
			p := Plan{Seed: seed, Length: 10 * time.Second}
			r := Run(p, Options{Story: true, script: func(w *world) {
				w.after(p.Length, w.heal)
				w.watch(func() bool {
					if w.newest().Epoch == 0 {
						return false
					}
					way(w.boxes[w.newest().Epoch.Owner()])
					return true
				})
			}})
			if r.Violation != nil {
				t.Errorf("%s, seed %d:\n%s\n%v", name, seed, strings.Join(r.Story, "\n"), r.Violation)
			}
		}
	}
}

// TestOneSeedPlaysTheSame plays seeds twice, once with the story kept.
func TestOneSeedPlaysTheSame(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		a, b := Run(Draw(seed), Options{}), Run(Draw(seed), Options{Story: true})
		if a.Trace != b.Trace || a.Stats != b.Stats || a.Trace == 0 {
			t.Errorf("seed %d: traces %x and %x\n%v%v", seed, a.Trace, b.Trace, &a.Stats, &b.Stats)
		}
		if c := Run(Draw(seed+100), Options{}); c.Trace == a.Trace {
			t.Errorf("seeds %d and %d have one trace", seed, seed+100)
		}
	}
}

// TestShrinkAndExplain breaks a promise on purpose: a network that stays cut.
func TestShrinkAndExplain(t *testing.T) {
	p := Draw(7)
	p.Faults = append([]Fault{{At: 3 * time.Second, Kind: KillAgent, For: time.Second}}, p.Faults...)
	v := &Violation{At: time.Hour, Promise: "never broken"}
	if keep := Shrink(p, v, 3); len(keep) != len(p.Faults) {
		t.Errorf("what does not fail was shrunk to %v", keep)
	}
	text := Explain(p, []int{0})
	for _, want := range []string{"agent killed (server1) for 1s", "server1 has power", "is Primary of epoch", "every promise was kept",
		"-first 7 -keep 0"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not told in:\n%s", want, text)
		}
	}
}
