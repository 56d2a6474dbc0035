// Command bench measures on one machine, in one run, what replication costs: a
// bare loop device, the volume alone, the volume replicated, and a qemu mirror
// as a peer to compare with, all on files of the same disk, all with fio.
//
// The boxes are network namespaces and the daemons plain processes of the
// production binary; there are no containers and nothing is taken over. It
// measures and asserts nothing. Everything it makes is removed, also on Ctrl-C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"gemel/lab/loopdev"
	"gemel/node/config"
)

// The kernel ends a child when the thread that started it ends (Pdeathsig):
// the main thread lives as long as the process, and starts them all.
func init() { runtime.LockOSThread() }

type bench struct {
	room    *room
	gemel   string // the production binary
	against string // others, with commas between,
	onlyTLS bool   // which are not measured without TLS, too
	seconds int
	size    int64
	report  *report
	match   string // rows whose name has it are measured
	rounds  int    // of what is measured in turn
	volumes string // of the part memory; empty: its own choice
}

// parts are what --only chooses from, in the order they run.
var parts = []struct {
	name string
	run  func(*bench) error
}{
	{"raw", (*bench).raw},
	{"mirror", (*bench).mirror},
	{"pair", (*bench).pair},
	{"sync", (*bench).sync},
	{"nbd", (*bench).nbd},
	{"fuse", (*bench).fuse},
	{"builds", (*bench).builds},
	{"memory", (*bench).memory},
}

func main() {
	if err := run(); err != nil {
		say("%v", err)
		os.Exit(1)
	}
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

func run() (err error) {
	gemel := flag.String("gemel", "bin/gemel", "the production `binary`")
	seconds := flag.Int("seconds", 4, "how long each row is measured")
	sizeText := flag.String("size", "1GiB", "size of each image")
	dir := flag.String("dir", "/var/tmp", "`directory` on the disk to measure")
	only := flag.String("only", "raw,mirror,pair,sync,nbd,fuse", "`parts` to run; pair is the volume alone and replicated, "+
		"nbd and fuse measure volume and others in turn, builds the volume of two programs, memory the replicators with many volumes")
	rounds := flag.Int("rounds", 5, "how often the parts nbd and fuse measure each row on each subject")
	show := flag.String("show", "", "only show this `file` through FUSE and loop below -dir, until the end; the part fuse starts itself so")
	against := flag.String("against", "", "another production `binary`, for the part builds; several with commas between")
	onlyTLS := flag.Bool("only-tls", false, "the part builds measures nothing without TLS")
	volumes := flag.String("volumes", "", "`numbers` of volumes for the part memory, such as 16,64; its own choice without")
	match := flag.String("rows", "", "measure only the rows whose name contains this `text`")
	jsonFile := flag.String("json", "", "also write the report to this `file`")
	flag.Parse()
	size, err := config.ParseSize(*sizeText)
	if err != nil || size < 64<<20 {
		return fmt.Errorf("-size %s: give at least 64MiB, such as 1GiB: %w", *sizeText, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if *show != "" {
		return showBare(ctx, *show, *dir)
	}
	r, err := newRoom(ctx, *dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.backTo(0)) }()
	b := &bench{room: r, gemel: *gemel, against: *against, onlyTLS: *onlyTLS, seconds: *seconds, size: size, report: newReport(*seconds, size),
		match: *match, rounds: max(*rounds, 1), volumes: *volumes}
	err = b.runParts(strings.Split(*only, ","))
	b.report.write(os.Stdout)
	if *jsonFile != "" {
		err = errors.Join(err, b.report.save(*jsonFile))
	}
	return err
}

// runParts runs the chosen parts; one that fails does not keep the others from running.
func (b *bench) runParts(chosen []string) error {
	wanted := map[string]bool{}
	for _, name := range chosen {
		wanted[name] = true
	}
	var errs []error
	for _, part := range parts {
		if !wanted[part.name] || b.room.ctx.Err() != nil {
			continue
		}
		if err := b.room.inside(func() error { return part.run(b) }); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", part.name, err))
		}
		delete(wanted, part.name)
	}
	for name := range wanted {
		if b.room.ctx.Err() == nil {
			errs = append(errs, fmt.Errorf("-only: there is no part called %q", name))
		}
	}
	return errors.Join(errs...)
}

// rows measures every row on one subject.
func (b *bench) rows(s subject, t target) error {
	for _, w := range rows {
		if !strings.Contains(w.Name, b.match) {
			continue
		}
		f, err := measure(b.room.ctx, t, w, b.seconds)
		if err != nil {
			return err
		}
		b.report.Rows[w.Name][s] = &f
		say("%s  %-22s %8.0f IOPS %8.1f MB/s  mean %6.0f us  p99 %7.0f us", s, w.Name, f.IOPS, f.MBps, f.Mean, f.P99)
	}
	return nil
}

func (b *bench) raw() error {
	images, err := b.room.makeImages(b.size, "raw.img")
	if err != nil {
		return err
	}
	device, err := loopdev.Attach(images[0])
	if err != nil {
		return err
	}
	b.room.later(func() error { return loopdev.Detach(device) })
	return b.rows(raw, target{device: device})
}

func (b *bench) mirror() error {
	w, err := newWiring(b.room, "")
	if err != nil {
		return err
	}
	m, err := newMirror(b.room, w, b.size)
	if err != nil {
		return err
	}
	b.synced(syncRate{What: "first sync: qemu mirror, unthrottled cable", MBps: m.firstSync})
	return b.rows(mirrored, m.target)
}

// pair measures the volume replicated, then takes the peer away.
func (b *bench) pair() error {
	w, err := newWiring(b.room, "")
	if err != nil {
		return err
	}
	p, err := newPair(b.room, w, b.gemel, config.FrontendFuseLoop, b.size)
	if err != nil {
		return err
	}
	b.synced(syncRate{What: "first sync: gemel, unthrottled cable", MBps: p.firstSync})
	if err := b.rows(replicated, p.target); err != nil {
		return err
	}
	if err := p.losePeer(); err != nil {
		return err
	}
	return b.rows(alone, p.target)
}

// sync measures the first sync over a gigabit cable with unthrottled disks.
func (b *bench) sync() error {
	const rate = "1gbit"
	return errors.Join(
		b.room.inside(func() error { return b.over(rate, "qemu mirror, "+rate+" cable", b.syncMirror) }),
		b.room.inside(func() error { return b.over(rate, "gemel, "+rate+" cable", b.syncPair) }),
	)
}

// over measures what goes over a new cable, and before it what one TCP stream does.
func (b *bench) over(rate, name string, measure func(*wiring, syncRate) error) error {
	w, err := newWiring(b.room, rate)
	if err != nil {
		return err
	}
	limit := 0.0
	for range 2 { // the better one: whatever else runs on this machine slows it down, too
		again, err := w.tcpLimit(b.room, b.seconds)
		if err != nil {
			return err
		}
		limit = max(limit, again)
	}
	return measure(w, syncRate{What: name, TCPLimit: limit})
}

func (b *bench) synced(s syncRate) {
	say("%s: %.0f MB/s", s.What, s.MBps)
	b.report.Syncs = append(b.report.Syncs, s)
}

func (b *bench) syncMirror(w *wiring, s syncRate) error {
	m, err := newMirror(b.room, w, b.size)
	if err != nil {
		return err
	}
	s.What, s.MBps = "first sync: "+s.What, m.firstSync
	b.synced(s)
	return nil
}

// syncPair measures the first sync and then replicated writes in a row. Over NBD: the
// way to the kernel is not what is asked for.
func (b *bench) syncPair(w *wiring, s syncRate) error {
	p, err := newPair(b.room, w, b.gemel, config.FrontendNBDSocket, b.size)
	if err != nil {
		return err
	}
	first, writes := s, s
	first.What, first.MBps, first.Work = "first sync: "+s.What, p.firstSync, p.syncWork
	b.synced(first)
	end := p.working()
	f, err := measure(b.room.ctx, p.target, row{"replicated writes", "write", "1m", 8, false}, b.seconds)
	if err != nil {
		return err
	}
	writes.What, writes.MBps, writes.Work = "replicated 1M writes: "+s.What, f.MBps, end()
	b.synced(writes)
	return nil
}
