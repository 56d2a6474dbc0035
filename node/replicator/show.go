package replicator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"gemel/node/block"
	"gemel/node/config"
	"gemel/node/frontend"
	"gemel/node/frontend/fuseloop"
	"gemel/node/frontend/nbd"
	"gemel/node/frontend/ublk"
	"gemel/node/replicator/volume"
)

// way is one way to show a volume.
type way struct {
	name string
	// usable says why the way cannot be used on this box, or returns nil.
	usable func() error
	attach func(context.Context, frontend.Options, block.Device) (frontend.Attachment, error)
}

// kernelWays show a device of the kernel, the best first: `auto` takes the first
// that works.
var kernelWays = []way{
	{config.FrontendUblk, ublkUsable, attachUblk},
	{config.FrontendNBD, nbd.Usable, attachNBD},
	{config.FrontendFuseLoop, usableAlways, attachFuseLoop},
}

// allWays can be asked for by name.
var allWays = append([]way{{config.FrontendNBDSocket, usableAlways, listenNBD}}, kernelWays...)

// lasting are the ways whose devices may outlive the process that serves them.
var lasting = []struct {
	name string
	// left reports whether a device waits for the next process, discard ends that.
	left    func(context.Context, frontend.Options) (bool, error)
	discard func(context.Context, frontend.Options) error
}{
	{config.FrontendUblk, ublk.Left, ublk.Discard},
	{config.FrontendFuseLoop, fuseloop.Left, fuseloop.Discard},
}

func usableAlways() error { return nil }

func attachFuseLoop(ctx context.Context, o frontend.Options, dev block.Device) (frontend.Attachment, error) {
	return fuseloop.Attach(ctx, o, dev)
}

func ublkUsable() error {
	ctx, cancel := context.WithTimeout(context.Background(), detachLimit)
	defer cancel()
	return ublk.Usable(ctx)
}

func attachUblk(ctx context.Context, o frontend.Options, dev block.Device) (frontend.Attachment, error) {
	return ublk.Attach(ctx, o, dev)
}

func attachNBD(ctx context.Context, o frontend.Options, dev block.Device) (frontend.Attachment, error) {
	return nbd.Attach(ctx, o, dev)
}

func listenNBD(_ context.Context, o frontend.Options, dev block.Device) (frontend.Attachment, error) {
	return nbd.Listen(o, dev)
}

// exportWith shows volumes the way their configuration asks for.
func exportWith(cfg *config.Config, log *slog.Logger) func(string) volume.Exporter {
	return func(name string) volume.Exporter {
		wanted := config.FrontendAuto
		if v := cfg.Volume(name); v != nil {
			wanted = v.Frontend
		}
		return &exporter{log: log.With("volume", name), ways: waysFor(wanted), options: optionsOf(cfg, name)}
	}
}

func frontendDir(cfg *config.Config) string { return filepath.Join(cfg.RunDir, "frontend") }

func optionsOf(cfg *config.Config, name string) frontend.Options {
	return frontend.Options{
		Name: name, Dir: frontendDir(cfg), DeviceDir: cfg.DeviceDir, Owner: frontend.OwnerOf(cfg.Cluster, cfg.Node),
	}
}

// DiscardLeft removes a device of the volume that a replicator left to wait for
// the next one, so that its users get errors. It is for the agent, when no
// replicator serves the volume and none is to.
func DiscardLeft(ctx context.Context, cfg *config.Config, name string) error {
	var errs []error
	for _, l := range lasting {
		err := l.discard(ctx, optionsOf(cfg, name))
		if !errors.Is(err, frontend.ErrLingers) { // it is cut off, and its last user will go
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// waysFor returns what to try, in order.
func waysFor(wanted string) []way {
	for _, w := range allWays {
		if w.name == wanted {
			return []way{w}
		}
	}
	return kernelWays
}

type exporter struct {
	options frontend.Options
	ways    []way
	log     *slog.Logger

	mu   sync.Mutex
	used bool // what an earlier process left was dealt with
}

// Attach shows dev in the first way that works. A device that waits for this
// process is taken over or nothing: its users cannot move to another one.
func (e *exporter) Attach(dev block.Device) (volume.Shown, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	waits, err := e.waiting()
	if err != nil {
		return volume.Shown{}, err
	}
	if waits != "" && !e.knows(waits) {
		if err := e.discard(); err != nil {
			return volume.Shown{}, err
		}
		waits = ""
	}
	var failed []error
	for _, w := range e.ways {
		if waits != "" && w.name != waits {
			failed = append(failed, fmt.Errorf("%s: a device shown by %s is in use", w.name, waits))
			continue
		}
		a, err := e.try(w, dev)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", w.name, err))
			if waits, err := e.waiting(); waits != "" || err != nil {
				return volume.Shown{}, errors.Join(failed[len(failed)-1], err)
			}
			continue
		}
		e.used = true
		return e.shown(a, w.name, reasons(failed)), nil
	}
	return volume.Shown{}, errors.Join(failed...)
}

func (e *exporter) shown(a frontend.Attachment, by, why string) volume.Shown {
	e.log.Info("the volume is shown", "device", a.Path(), "frontend", by, "not", why)
	s := volume.Shown{Path: a.Path(), By: by, Why: why, Detach: func(force bool) error { return e.detach(a, force) }}
	if r, ok := a.(frontend.Resizer); ok {
		s.Resize = func(size int64) error { return e.resize(r, size) }
	}
	if survivor, ok := a.(frontend.Survivor); ok && survivor.Survives() {
		s.Leave = survivor.Leave
	}
	return s
}

// knows reports whether a way is one of those to try.
func (e *exporter) knows(name string) bool {
	return slices.ContainsFunc(e.ways, func(w way) bool { return w.name == name })
}

// waiting returns the way in which a device is shown that waits for a replicator
// that takes it over; empty: none does.
func (e *exporter) waiting() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), detachLimit)
	defer cancel()
	for _, l := range lasting {
		if waits, err := l.left(ctx, e.options); waits || err != nil {
			return l.name, err
		}
	}
	return "", nil
}

// GiveUp removes a device that waits, unless this process has shown the volume
// since it started. It reports whether there was one.
func (e *exporter) GiveUp() (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.used {
		return false, nil
	}
	waits, err := e.waiting()
	if err != nil || waits == "" {
		return false, err
	}
	return true, e.discard()
}

// discard ends the waiting of a device that is not taken over; its users get
// errors.
func (e *exporter) discard() error {
	ctx, cancel := context.WithTimeout(context.Background(), detachLimit)
	defer cancel()
	var errs []error
	for _, l := range lasting {
		err := l.discard(ctx, e.options)
		if errors.Is(err, frontend.ErrLingers) {
			e.log.Warn("a device of an earlier replicator is cut off and goes away when its last user closes it", "reason", err)
			err = nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (e *exporter) try(w way, dev block.Device) (frontend.Attachment, error) {
	if err := w.usable(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), detachLimit)
	defer cancel()
	return w.attach(ctx, e.options, dev)
}

// reasons joins the refusals of better ways to one line.
func reasons(failed []error) string {
	var texts []string
	for _, err := range failed {
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, "; ")
}

// resize gives the device that is shown another size.
func (e *exporter) resize(r frontend.Resizer, size int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), detachLimit)
	defer cancel()
	return r.Resize(ctx, size)
}

// detach takes the device away. One that is cut off and only waits for its last
// user counts as gone: it cannot reach the volume any more.
func (e *exporter) detach(a frontend.Attachment, force bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), detachLimit)
	defer cancel()
	err := a.Detach(ctx, force)
	if errors.Is(err, frontend.ErrLingers) {
		e.log.Warn("the device is cut off and goes away when its last user closes it", "reason", err)
		return nil
	}
	return err
}
