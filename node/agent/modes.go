package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gemel/node/api"
	"gemel/node/failover"
)

const (
	modesFile  = "modes.json"
	modesEvery = time.Second // how often an end that was set is looked for
	// peerTellWait is how long an order of maintenance waits for the peer's heartbeat that
	// says the same.
	peerTellWait = 3 * time.Second
)

// modes is what operators told this node to leave alone. It lies on disk, so that it
// outlives restarts, and whether maintenance is on travels in every heartbeat: the
// newer word wins on both nodes.
type modes struct {
	path  string
	node  string
	now   func() time.Time
	note  func(kind, text, reason string)
	apply func(failover.Mode) // tells every machine
	kick  func()              // sends heartbeats now

	mu     sync.Mutex
	kept   keptModes
	peer   api.Maintenance // the peer's newest word
	change chan struct{}   // closed and renewed when the peer's word changed
	hold   chan struct{}   // closed when maintenance ends; nil: it is off
}

type keptModes struct {
	Maintenance api.Maintenance `json:"maintenance"`
	Standby     time.Time       `json:"standby,omitzero"` // since when; zero: not
}

func newModes(dir, node string, note func(kind, text, reason string)) *modes {
	m := &modes{path: filepath.Join(dir, modesFile), node: node, now: time.Now, note: note,
		apply: func(failover.Mode) {}, kick: func() {}, change: make(chan struct{})}
	raw, err := os.ReadFile(m.path)
	if err == nil {
		err = json.Unmarshal(raw, &m.kept)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.kept = keptModes{}
		note("maintenance.forgotten", "Whether maintenance or standby was on could not be read; both count as off.", err.Error())
	}
	m.holdServices()
	return m
}

// mode is what the machines are told.
func (m *modes) mode() failover.Mode {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.modeLocked()
}

func (m *modes) modeLocked() failover.Mode {
	return failover.Mode{Maintenance: m.kept.Maintenance.On, Standby: !m.kept.Standby.IsZero()}
}

// word is what heartbeats say.
func (m *modes) word() api.Maintenance {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept.Maintenance
}

// standby reports since when this node is on standby; zero: it is not.
func (m *modes) standby() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept.Standby
}

// hear takes the peer's word from a heartbeat.
func (m *modes) hear(w api.Maintenance, from string) {
	m.mu.Lock()
	if w != m.peer {
		m.peer = w
		close(m.change)
		m.change = make(chan struct{})
	}
	newer := w.Newer(m.kept.Maintenance)
	m.mu.Unlock()
	if newer {
		m.setMaintenance(w, "told by "+from)
	}
}

// setMaintenance makes w the word of this node and tells everybody.
func (m *modes) setMaintenance(w api.Maintenance, why string) {
	m.mu.Lock()
	if !w.Newer(m.kept.Maintenance) {
		m.mu.Unlock()
		return
	}
	was := m.kept.Maintenance
	m.kept.Maintenance = w
	err := m.save()
	m.holdServices()
	mode := m.modeLocked()
	m.mu.Unlock()
	m.tellMaintenance(was, w, why)
	m.tellUnsaved(err)
	m.apply(mode)
	m.kick()
}

func (m *modes) tellMaintenance(was, w api.Maintenance, why string) {
	switch {
	case w.On && w.Until.IsZero():
		m.note("maintenance.on", "Maintenance is on: nothing is taken over by itself, and no service is restarted.", why)
	case w.On:
		m.note("maintenance.on", "Maintenance is on until "+w.Until.Format(time.RFC3339)+
			": nothing is taken over by itself, and no service is restarted.", why)
	case was.On:
		m.note("maintenance.off", "Maintenance is off: the pair acts by itself again.", why)
	}
}

func (m *modes) tellUnsaved(err error) {
	if err != nil {
		m.note("maintenance.unsaved", "What was ordered holds, but would not survive a restart of this agent.", err.Error())
	}
}

// order turns maintenance on or off, and waits until the peer says the same.
func (m *modes) order(ctx context.Context, on bool, until time.Time) (peerTold bool) {
	m.mu.Lock()
	w := api.Maintenance{Serial: max(m.kept.Maintenance.Serial, m.peer.Serial) + 1, On: on, Until: until}
	m.mu.Unlock()
	m.setMaintenance(w, "an operator asked for it on "+m.node)
	ctx, cancel := context.WithTimeout(ctx, peerTellWait)
	defer cancel()
	for {
		m.mu.Lock()
		told, change := m.peer == m.kept.Maintenance, m.change
		m.mu.Unlock()
		if told {
			return true
		}
		select {
		case <-change:
		case <-ctx.Done():
			return false
		}
	}
}

// setStandby returns when the mark is on stable storage.
func (m *modes) setStandby(on bool) error {
	m.mu.Lock()
	was := m.kept.Standby
	switch {
	case !on:
		m.kept.Standby = time.Time{}
	case was.IsZero():
		m.kept.Standby = m.now().UTC()
	}
	err := m.save()
	if err != nil {
		m.kept.Standby = was
	}
	mode := m.modeLocked()
	m.mu.Unlock()
	if err != nil {
		return err
	}
	m.apply(mode)
	m.kick()
	return nil
}

// run ends a maintenance whose time is over, until ctx ends.
func (m *modes) run(ctx context.Context) {
	for pause(ctx, modesEvery) {
		w := m.word()
		if w.On && !w.Until.IsZero() && m.now().After(w.Until) {
			m.setMaintenance(api.Maintenance{Serial: w.Serial + 1}, "its time, set with --for, is over")
		}
	}
}

// holdServices keeps who waits in whileHeld as long as maintenance is on.
func (m *modes) holdServices() {
	switch {
	case m.kept.Maintenance.On && m.hold == nil:
		m.hold = make(chan struct{})
	case !m.kept.Maintenance.On && m.hold != nil:
		close(m.hold)
		m.hold = nil
	}
}

// held returns a channel that closes when maintenance ends; nil when it is off.
func (m *modes) held() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hold
}

// save returns when all is on stable storage.
func (m *modes) save() error {
	raw, err := json.Marshal(m.kept)
	if err != nil {
		return fmt.Errorf("keep maintenance and standby: %w", err)
	}
	if err := keepFile(m.path, append(raw, '\n')); err != nil {
		return fmt.Errorf("keep maintenance and standby: %w", err)
	}
	return nil
}

// keepFile replaces a small file; it returns when that is on stable storage.
func keepFile(path string, content []byte) error {
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // in the state directory
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(temp, path), syncDir(filepath.Dir(path)))
}

func syncDir(path string) error {
	dir, err := os.Open(path) //nolint:gosec // the state directory
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
