package failover_test

import (
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/failover"
	"gemel/node/failover/rehearsal"
)

// stageOf describes a world as an agent would describe its pair.
func stageOf(w *failover.World) rehearsal.Stage {
	s := rehearsal.Stage{Witness: w.Third(), Replication: []string{"private"}, Resync: 400 * time.Millisecond}
	took := map[failover.Step]time.Duration{}
	for step := failover.StepFence; step <= failover.StepLetGoIO; step++ {
		took[step] = failover.StepLength
	}
	for i := range s.Nodes {
		id := arbiter.NodeID(i)
		s.Config[i] = w.Config(id)
		standing, replica, nic, up := w.Box(id)
		if up {
			s.Nodes[i] = &rehearsal.Node{Standing: standing, Replica: replica, AddressNIC: nic, Took: took, NoWitness: w.IsCut(id, arbiter.Witness)}
		}
	}
	if w.IsCut(0, 1) {
		s.Silent = map[string]bool{"private": true, "lan": true}
	}
	return s
}

var number = regexp.MustCompile(`[0-9.]+`)

func states() int {
	if n, err := strconv.Atoi(os.Getenv("GEMEL_WALKS")); err == nil {
		return n
	}
	return 30
}

// TestRehearsalTellsWhatHappens: for random states of a pair and random faults, what is
// foretold is what then happens in a world that shares nothing with the rehearsal's
// but the machines.
func TestRehearsalTellsWhatHappens(t *testing.T) {
	told := map[string]int{}
	for seed := range states() {
		w, r := failover.RandomWorld(t, uint64(seed)) //nolint:gosec // a seed
		stage := stageOf(w)
		node := arbiter.NodeID(r.IntN(2))
		faults := []struct {
			name  string
			fault rehearsal.Fault
			real  func()
		}{
			{"kill", rehearsal.Fault{Kind: rehearsal.Kill, Node: node}, func() {
				if _, _, _, up := w.Box(node); up {
					w.Kill(node)
				}
			}},
			{"stop-service", rehearsal.Fault{Kind: rehearsal.StopService, Service: "nfs"}, func() { w.StopService("nfs") }},
			{"cut-all", rehearsal.Fault{Kind: rehearsal.CutAll, Node: node}, func() { w.CutAll(node) }},
			{"lose-witness", rehearsal.Fault{Kind: rehearsal.LoseWitness}, w.LoseWitness},
		}
		f := faults[r.IntN(len(faults))]
		out, err := rehearsal.Play(stage, f.fault)
		if err != nil {
			told["in the middle"]++
			continue
		}
		before, _ := w.Serves()
		f.real()
		w.Pass(rehearsal.Horizon)
		after, refusals := w.Serves()
		if out.Before != before || out.After != after {
			t.Errorf("seed %d, %s of node %d: foretold %d -> %d, came %d -> %d\nforetold refusals %q\ncame %q\nstage %+v %+v",
				seed, f.name, node, out.Before, out.After, before, after, out.Refusals, refusals, stage.Nodes[0], stage.Nodes[1])
			continue
		}
		for i := range refusals {
			if got, want := number.ReplaceAllString(out.Refusals[i], "N"), number.ReplaceAllString(refusals[i], "N"); got != want {
				t.Errorf("seed %d, %s of node %d: node %d is foretold to say %q and says %q", seed, f.name, node, i, got, want)
			}
		}
		told[f.name+map[bool]string{true: " moves", false: " stays"}[after != before]]++
	}
	t.Logf("%v", told)
}
