package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/fencing/selfreboot"
)

const (
	rebootsFile = "reboots.json"
	// answerFirst lets the answer leave before the box goes.
	answerFirst = 300 * time.Millisecond
)

// rebooter is how this box reboots itself; selfreboot.Way is the real one.
type rebooter interface {
	Able() error
	Do(ctx context.Context) error
	String() string
}

// obedient reboots this box at the peer's word, where the configuration allows that. How often it did lies on disk,
// since nothing else outlives it.
type obedient struct {
	way  rebooter
	path string
	note func(kind, text, reason string)
	due  chan struct{}

	mu    sync.Mutex
	going bool // it was promised
}

// newObedient returns nil for a node that does not obey.
func newObedient(cfg *config.Config, w rebooter, note func(kind, text, reason string)) *obedient {
	device := cfg.Self().PeerReboot()
	if device == nil {
		return nil
	}
	if w == nil {
		w = selfreboot.New(device.Command)
	}
	return &obedient{way: w, path: filepath.Join(cfg.StateDir, rebootsFile), note: note, due: make(chan struct{}, 1)}
}

// run reboots the box when that was promised, until ctx ends.
func (b *obedient) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.due:
		}
		if !pause(ctx, answerFirst) {
			return
		}
		err := b.way.Do(ctx)
		b.mu.Lock()
		b.going = false
		b.mu.Unlock()
		if err != nil {
			b.note("peer-reboot.failed", "This box could not reboot itself.", err.Error())
		}
	}
}

// past are the times of the reboots that count for the back-off.
func (b *obedient) past(now time.Time) ([]time.Time, error) {
	var times []time.Time
	raw, err := os.ReadFile(b.path)
	if err == nil {
		err = json.Unmarshal(raw, &times)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("how often this box rebooted lately cannot be read: %w", err)
	}
	return slices.DeleteFunc(times, func(at time.Time) bool { return now.Sub(at) > restoreWithin }), nil
}

// remember writes the times down for good: what is not on the disk now is gone.
func (b *obedient) remember(times []time.Time) error {
	raw, err := json.Marshal(times)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(b.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(b.path+".new", b.path)
}

// promise says that the box will reboot, and has it done; or why not.
func (b *obedient) promise(why string, only bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.going { // over another link
		return nil
	}
	if err := b.way.Able(); err != nil {
		return err
	}
	now := time.Now().UTC()
	times, err := b.past(now)
	switch {
	case err != nil:
		return err
	case len(times) >= restores:
		return fmt.Errorf("it did so %d times within %v already; find out why", len(times), restoreWithin)
	case only:
		return nil
	}
	if err := b.remember(append(times, now)); err != nil {
		return fmt.Errorf("that it reboots cannot be written down, and it might do so for ever: %w", err)
	}
	b.going = true
	b.note("peer-reboot.obeyed", "This box reboots itself at once, at its peer's word.", why+"; by "+b.way.String())
	b.due <- struct{}{} // there is room: nothing else is promised
	return nil
}

// takeReboot answers the peer that asks this box to reboot itself.
func (a *Agent) takeReboot(o api.RebootOrder) error {
	refuse := func(format string, args ...any) error {
		return &api.Error{Code: api.CodeRefused, Message: a.cfg.Node + " does not reboot itself: " + fmt.Sprintf(format, args...)}
	}
	switch {
	case a.obedient == nil:
		return refuse("its configuration has no peer-reboot for it")
	case a.modes.mode().Maintenance:
		return refuse("maintenance is on")
	case o.Boot != a.heart.boot:
		return refuse("an earlier start of its agent is meant")
	}
	if !o.ByHand && !o.Try {
		if why := a.reignsOver(o); why != "" {
			return refuse("%s", why)
		}
	}
	if err := a.obedient.promise(o.Why, o.Try); err != nil {
		return refuse("%v", err)
	}
	return nil
}

// reignsOver says why the reign in whose name the order is given cannot be newer than what is held here.
func (a *Agent) reignsOver(o api.RebootOrder) string {
	own, err := a.owner(o.Volume)
	if err != nil {
		return err.Error()
	}
	if view := own.view.Load(); isPrimary(view.Role) && view.Epoch >= o.Epoch {
		return fmt.Sprintf("it reigns over %s in epoch %d, and epoch %d is not newer", o.Volume, view.Epoch, o.Epoch)
	}
	return ""
}
