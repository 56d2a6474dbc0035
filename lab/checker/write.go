package checker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"gemel/lab/checker/nfs3"
)

// Target says where the server is and how patient to be with it.
type Target struct {
	Server    string        // address, without port
	NFSPort   int           // 0: 2049
	MountPort int           // 0: 20048
	Export    string        // exported path, as MOUNT knows it
	Timeout   time.Duration // for connecting and for a first try; 0: 500 ms
	Longest   time.Duration // patience with a slow but living server; 0: 2 s
	Retry     time.Duration // wait between tries; 0: 100 ms
}

// Config is what Run needs.
type Config struct {
	Target
	File       string        // worker k writes File.k in the root of the export
	Rate       float64       // records per second over all workers; 0: as fast as they go
	Workers    int           // 0: 1
	Slots      uint64        // records per file before writing over the oldest; 0: no limit
	AckLog     string        // path of the acknowledgement log; must not be on the pair
	PauseFloor time.Duration // shortest pause to list in the report; 0: 250 ms
	Progress   io.Writer     // a Progress line per second; nil: none
}

func (t *Target) defaults() {
	setDefault(&t.NFSPort, 2049)
	setDefault(&t.MountPort, 20048)
	setDefault(&t.Timeout, 500*time.Millisecond)
	setDefault(&t.Longest, 2*time.Second)
	setDefault(&t.Retry, 100*time.Millisecond)
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (t *Target) nfsAddr() string   { return net.JoinHostPort(t.Server, strconv.Itoa(t.NFSPort)) }
func (t *Target) mountAddr() string { return net.JoinHostPort(t.Server, strconv.Itoa(t.MountPort)) }

func (t *Target) steady() *steady { return newSteady(t.nfsAddr(), t.Timeout, t.Longest) }

// mount asks for the export's handle, trying through transport failures until ctx ends.
func (t *Target) mount(ctx context.Context) (nfs3.Handle, error) {
	for {
		h, err := nfs3.Mount(ctx, t.mountAddr(), t.Export, t.Timeout)
		if err == nil {
			return h, nil
		}
		if _, answered := nfs3.Refusal(err); answered || !sleep(ctx, t.Retry) {
			return nil, fmt.Errorf("mount %s:%s: %w", t.Server, t.Export, err)
		}
	}
}

// writer is one run.
type writer struct {
	cfg   Config
	run   RunID
	log   *ackLog
	tally tally
}

// Run writes records until ctx ends, then reports. It returns an error only when the
// run could not be carried out: the export or a file could not be opened, or the
// acknowledgement log not written. Refused writes are in the report, not an error.
func Run(ctx context.Context, cfg Config) (Report, error) {
	cfg.defaults()
	setDefault(&cfg.Workers, 1)
	setDefault(&cfg.PauseFloor, 250*time.Millisecond)
	w := &writer{cfg: cfg}
	w.tally.floor = cfg.PauseFloor
	rand.Read(w.run[:])
	w.tally.rep.Run = hex.EncodeToString(w.run[:])
	files, err := w.open(ctx)
	if err != nil {
		return w.tally.rep, err
	}
	w.log, err = createAckLog(cfg.AckLog, logHeader{Run: w.tally.rep.Run, Server: cfg.Server,
		Export: cfg.Export, File: cfg.File, Workers: cfg.Workers, Slots: cfg.Slots})
	if err != nil {
		return w.tally.rep, err
	}
	err = w.work(ctx, files)
	return w.tally.finish(time.Now()), errors.Join(err, w.log.close())
}

// open gets the handles that the whole run uses: they must survive a fail-over.
func (w *writer) open(ctx context.Context) ([]nfs3.Handle, error) {
	root, err := w.cfg.mount(ctx)
	if err != nil {
		return nil, err
	}
	s := w.cfg.steady()
	defer s.close()
	files := make([]nfs3.Handle, w.cfg.Workers)
	for k := range files {
		name := fileName(w.cfg.File, k)
		err := s.until(ctx, w.cfg.Retry, w.tally.retried, func(c *nfs3.Client) (err error) {
			files[k], err = c.Create(root, name, 0o644)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("open %s on %s:%s: %w", name, w.cfg.Server, w.cfg.Export, err)
		}
	}
	return files, nil
}

// work runs the workers and the progress lines, and waits for all of them.
func (w *writer) work(parent context.Context, files []nfs3.Handle) error {
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	var workers, clock sync.WaitGroup
	for k, h := range files {
		workers.Go(func() {
			if err := w.worker(ctx, k, h); err != nil {
				stop(err)
			}
		})
	}
	if w.cfg.Progress != nil {
		clock.Go(func() {
			if err := w.narrate(ctx); err != nil {
				stop(err)
			}
		})
	}
	workers.Wait()
	err := context.Cause(ctx)
	stop(nil)
	clock.Wait()
	if parent.Err() != nil && errors.Is(err, context.Cause(parent)) {
		return nil // asked to end: the regular way
	}
	return err
}

func (w *writer) narrate(ctx context.Context) error {
	for sleep(ctx, time.Second) {
		if err := writeLine(w.cfg.Progress, w.tally.progress(time.Now())); err != nil {
			return err
		}
	}
	return nil
}

// worker writes record after record to one file. It returns nil when ctx ends.
func (w *writer) worker(ctx context.Context, k int, h nfs3.Handle) error {
	s := w.cfg.steady()
	defer s.close()
	buf := make([]byte, RecordSize)
	next := time.Now()
	for n := uint64(0); ; n++ {
		if !w.pace(ctx, &next) {
			return nil
		}
		fillRecord(buf, w.run, k, n)
		if !w.deliver(ctx, s, k, n, h, buf) {
			return nil
		}
		now := time.Now()
		if err := w.log.note(k, n, now); err != nil {
			return err
		}
		w.tally.acked(now)
	}
}

// pace waits for the next turn. After a stall it does not catch up.
func (w *writer) pace(ctx context.Context, next *time.Time) bool {
	if w.cfg.Rate <= 0 {
		return ctx.Err() == nil
	}
	step := time.Duration(float64(time.Second) * float64(w.cfg.Workers) / w.cfg.Rate)
	now := time.Now()
	if now.After(next.Add(step)) {
		*next = now
	}
	ok := sleep(ctx, next.Sub(now))
	*next = next.Add(step)
	return ok && ctx.Err() == nil
}

// deliver tries one record until the server acknowledges it; false when ctx ended
// first. A refusal is counted, and the same record tried again.
func (w *writer) deliver(ctx context.Context, s *steady, k int, n uint64, h nfs3.Handle,
	buf []byte) bool {
	off := offsetOf(n, w.cfg.Slots)
	for {
		err := s.until(ctx, w.cfg.Retry, w.tally.retried, func(c *nfs3.Client) error {
			return c.Write(h, off, buf)
		})
		if err == nil {
			return true
		}
		if _, answered := nfs3.Refusal(err); !answered {
			return false
		}
		w.tally.refused(k, n, err, time.Now())
		if !sleep(ctx, w.cfg.Retry) {
			return false
		}
	}
}

func offsetOf(number, slots uint64) uint64 {
	if slots > 0 {
		number %= slots
	}
	return number * RecordSize
}
