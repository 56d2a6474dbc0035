package sim

import (
	"fmt"
	"strings"
	"time"
)

// String is the account of many runs for people.
func (s *Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d seeds, %.1f simulated hours, %d events\n", s.Seeds, s.Simulated.Hours(), s.Events)
	fmt.Fprintf(&b, "application: %d writes acknowledged, %d flushes, %d reads (%d of them held while the lease was out, %d answered through the peer without a disk)\n",
		s.Writes, s.Flushes, s.Reads, s.Held, s.Remote)
	fmt.Fprintf(&b, "pair: %d reigns, %d resyncs, %d activity log transactions, %d metadata updates cut in the middle, %d late messages refused\n",
		s.Reigns, s.Resyncs, s.Logged, s.Torn, s.Late)
	fmt.Fprintf(&b, "checks: %d reads, %d acknowledged writes and blocks looked for on a disk, %d times both disks byte by byte\n",
		s.Reads, s.Placed, s.Compared)
	fmt.Fprintf(&b, "unflushed writes that a power cut took, as it may: %d\n", s.Forgotten)
	fmt.Fprintf(&b, "network: %d votes, orders and heartbeats lost, %d overtaken by later ones, %d doubled; clocks: rates up to %.2f percent apart\n",
		s.Lost, s.Overtaken, s.Doubled, s.Drift)
	fmt.Fprintf(&b, "disks: %d blocks damaged by themselves (%d sectors of them served, as nobody could know), "+
		"%d found by a verify at the end, %d repaired; %d slots mended, "+
		"%d disks refused and made anew, %d put back from an image, %d times that was noticed in a handshake\n",
		s.Damaged, s.Forgiven, s.Found, s.Repaired, s.MendedSlots, s.Refused, s.Restored, s.Noticed)
	fmt.Fprintf(&b, "people: %d reigns by an operator's word, that lacked %d acknowledged writes, as they were told; "+
		"%d times both sides saw that they had gone apart, %d settled by an operator, %d by a policy; "+
		"%d blocks kept in undo files, %d brought back\n",
		s.Grabbed, s.GivenUp, s.Apart, s.Resolved, s.ByPolicy, s.Kept, s.Undone)
	fmt.Fprintf(&b, "growth: %d times a replica became larger; errors that the application was told of: %d; bounds: %d crashes of a Primary with a whole peer, each within its log\n", s.Grown, s.Passed, s.Bounded)
	b.WriteString("faults:")
	for k, n := range s.Faults {
		fmt.Fprintf(&b, " %v %d,", Kind(k), n)
	}
	return strings.TrimSuffix(b.String(), ",") + "\n"
}

// Progress is one line.
func (s *Stats) Progress(since time.Duration) string {
	faults := 0
	for _, n := range s.Faults {
		faults += n
	}
	return fmt.Sprintf("%d seeds, %.2f simulated hours, %d faults, %.0f seeds a second",
		s.Seeds, s.Simulated.Hours(), faults, float64(s.Seeds)/max(since.Seconds(), 0.001))
}
