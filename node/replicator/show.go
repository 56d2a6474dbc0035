package replicator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"gemel/node/block"
	"gemel/node/config"
	"gemel/node/frontend"
	"gemel/node/frontend/fuseloop"
	"gemel/node/frontend/nbd"
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
	{config.FrontendNBD, nbd.Usable, attachNBD},
	{config.FrontendFuseLoop, usableAlways, attachFuseLoop},
}

// allWays can be asked for by name.
var allWays = append([]way{{config.FrontendNBDSocket, usableAlways, listenNBD}}, kernelWays...)

func usableAlways() error { return nil }

func attachFuseLoop(ctx context.Context, o frontend.Options, dev block.Device) (frontend.Attachment, error) {
	return fuseloop.Attach(ctx, o, dev)
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
		return exporter{log: log.With("volume", name), ways: waysFor(wanted), options: frontend.Options{
			Name: name, Dir: filepath.Join(cfg.RunDir, "frontend"), DeviceDir: cfg.DeviceDir}}
	}
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
}

// Attach shows dev in the first way that works.
func (e exporter) Attach(dev block.Device) (volume.Shown, error) {
	var failed []error
	for _, w := range e.ways {
		a, err := e.try(w, dev)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", w.name, err))
			continue
		}
		why := reasons(failed)
		e.log.Info("the volume is shown", "device", a.Path(), "frontend", w.name, "not", why)
		return volume.Shown{Path: a.Path(), By: w.name, Why: why,
			Detach: func(force bool) error { return e.detach(a, force) }}, nil
	}
	return volume.Shown{}, errors.Join(failed...)
}

func (e exporter) try(w way, dev block.Device) (frontend.Attachment, error) {
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

// detach takes the device away. One that is cut off and only waits for its last
// user counts as gone: it cannot reach the volume any more.
func (e exporter) detach(a frontend.Attachment, force bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), detachLimit)
	defer cancel()
	err := a.Detach(ctx, force)
	if errors.Is(err, frontend.ErrLingers) {
		e.log.Warn("the device is cut off and goes away when its last user closes it", "reason", err)
		return nil
	}
	return err
}
