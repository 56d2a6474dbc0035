package tour

import (
	"context"
	"fmt"
	"time"

	"gemel/lab/checker"
)

// account verifies the client's records and prints the table and what to try.
func (t *tour) account(ctx context.Context, end ending) error {
	found, err := t.verify(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows(end, found) {
		t.screen.Line(fmt.Sprintf("%-20s  %s", row[0], row[1]))
	}
	if !found.OK() {
		return fmt.Errorf("%w: of %d records %d are missing and %d damaged", ErrLost, found.Acked, found.MissingN, found.CorruptN)
	}
	t.screen.Head("The lab goes on running. Try:")
	for _, row := range t.tries(end) {
		t.screen.Line(t.screen.paint(bold, row[0]))
		t.screen.Line("    " + row[1])
	}
	t.screen.Line("")
	t.screen.Line(t.screen.paint(dim, fmt.Sprintf("The tour took %.0f s. Logs: %s", time.Since(t.began).Seconds(), t.lab.LogDir("server1"))))
	return nil
}

// rows is the table: what, and how it went.
func rows(end ending, found checker.VerifyReport) [][2]string {
	vol := end.now.volume
	list := [][2]string{
		{"Primary", fmt.Sprintf("%s, epoch %d (%s was reset)", end.now.primary(), vol.Epoch, end.was)},
		{"disks", fmt.Sprintf("%s %s, %s %s", end.now.status.Node, vol.Disk, end.now.status.Peer.Name, vol.PeerDisk)},
		{"client's pause", fmt.Sprintf("%.1f s, %d errors", float64(end.wrote.LongestPauseMS)/1000, end.wrote.Errors)},
		{"acknowledged", amount(end.wrote.Acked)},
		{"found unbroken", fmt.Sprintf("%s%s", amount(found.Found), lost(found))},
	}
	list = append(list, [2]string{"first sync", firstWords(end.first)})
	switch {
	case end.unfinished:
		list = append(list, [2]string{"resync after reset", fmt.Sprintf("goes on: %d of %d MB so far", end.again.done/1e6, end.again.total/1e6)})
	case end.again != nil && end.again.words() != "":
		list = append(list, [2]string{"resync after reset", end.again.words() + " (what the crashed Primary's activity log named; only what differs travels)"})
	}
	return list
}

func amount(records uint64) string {
	return fmt.Sprintf("%d records, %d bytes", records, records*checker.RecordSize)
}

func lost(r checker.VerifyReport) string {
	if r.OK() {
		return "; none is missing"
	}
	return fmt.Sprintf("; %d MISSING, %d DAMAGED", r.MissingN, r.CorruptN)
}

func firstWords(m *meter) string {
	if m == nil {
		return "at an earlier visit"
	}
	if m.words() == "" {
		return "over before it could be measured"
	}
	return fmt.Sprintf("%s, zeroes not sent (the article of 2004: %d MB/s)", m.words(), article/1_000_000)
}

// exec is the beginning of a command line that runs something in a box.
func (t *tour) exec() string { return "bin/lab" + t.flag() + " exec" }

// flag names the lab where it is not the usual one.
func (t *tour) flag() string {
	if t.lab.Lab() == "gemel" {
		return ""
	}
	return " --lab " + t.lab.Lab()
}

func (t *tour) tries(end ending) [][2]string {
	now := end.now.primary()
	return [][2]string{
		{t.exec() + " server1 gemel status", "all that a node knows, on one screen"},
		{t.exec() + " " + now + " gemel switchover " + volume, "the other node takes over, as planned work: no reset, a short pause"},
		{"bin/lab" + t.flag() + " pull-cable " + otherOf(now) + " priv", "pulls the private cable of the other node; plug-cable puts it back"},
		{"make lab-down" + t.makeFlag(), "removes all of it"},
	}
}

func (t *tour) makeFlag() string {
	if t.lab.Lab() == "gemel" {
		return ""
	}
	return " LAB=" + t.lab.Lab()
}
