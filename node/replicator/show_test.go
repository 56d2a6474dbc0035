package replicator

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"gemel/node/block"
	"gemel/node/config"
	"gemel/node/frontend"
)

// fakeWay is a way that does not work at one of two places.
func fakeWay(name string, usable, attach error) way {
	return way{name, func() error { return usable },
		func(context.Context, frontend.Options, block.Device) (frontend.Attachment, error) {
			return fakeAttachment(name), attach
		}}
}

type fakeAttachment string

func (a fakeAttachment) Path() string                     { return "/dev/" + string(a) }
func (a fakeAttachment) Device() string                   { return a.Path() }
func (fakeAttachment) Detach(context.Context, bool) error { return frontend.ErrLingers }
func (fakeAttachment) Done() <-chan struct{}              { return nil }

func TestAutoTakesTheFirstThatWorks(t *testing.T) {
	no := errors.New("no such device")
	e := &exporter{options: frontend.Options{Name: "data", Dir: t.TempDir()}, log: slog.New(slog.DiscardHandler), ways: []way{
		fakeWay("best", no, nil), fakeWay("second", nil, errors.New("refused")), fakeWay("third", nil, nil), fakeWay("last", nil, nil)}}
	shown, err := e.Attach(nil)
	if err != nil || shown.By != "third" || shown.Path != "/dev/third" {
		t.Fatalf("shown %+v, %v", shown, err)
	}
	if shown.Why != "best: no such device; second: refused" {
		t.Errorf("why: %q", shown.Why)
	}
	if err := shown.Detach(true); err != nil {
		t.Errorf("a device that lingers is cut off, which is enough: %v", err)
	}
	e.ways = e.ways[:2]
	if _, err := e.Attach(nil); !errors.Is(err, no) || !strings.Contains(err.Error(), "second: refused") {
		t.Errorf("all refused: %v", err)
	}
}

func TestWaysFor(t *testing.T) {
	for _, name := range config.Frontends() {
		ways := waysFor(name)
		if name == config.FrontendAuto {
			if len(ways) != len(kernelWays) {
				t.Errorf("auto tries %d ways, want %d", len(ways), len(kernelWays))
			}
			continue
		}
		if len(ways) != 1 || ways[0].name != name {
			t.Errorf("%s: %d ways", name, len(ways))
		}
	}
}
