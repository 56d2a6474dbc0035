package systemd

import (
	"context"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"gemel/node/service"
)

const (
	active = "active"
	all    = dbus.All
	// pollSlow is the time between looks at a unit that only runs.
	pollSlow = 500 * time.Millisecond
	// lookWait bounds one question to systemd.
	lookWait = 5 * time.Second
)

// Manager is what is asked of systemd.
type Manager interface {
	GetUnitPropertiesContext(ctx context.Context, unit string) (map[string]any, error)
	GetUnitTypePropertiesContext(ctx context.Context, unit, unitType string) (map[string]any, error)
	StartUnitContext(ctx context.Context, name, mode string, ch chan<- string) (int, error)
	StopUnitContext(ctx context.Context, name, mode string, ch chan<- string) (int, error)
	KillUnitWithTarget(ctx context.Context, name string, target dbus.Who, signal int32) error
	ResetFailedUnitContext(ctx context.Context, name string) error
	Connected() bool
	Close()
}

// system connects to the box's systemd. The connection ends with its context, so
// that is nobody's.
func system() (Manager, error) {
	conn, err := dbus.NewWithContext(context.Background())
	if err != nil {
		return nil, fmt.Errorf("connect to systemd: %w; a box without it runs services with command instead of unit", err)
	}
	return conn, nil
}

// bus holds the connection to systemd, and makes a new one when it broke.
type bus struct {
	dial func() (Manager, error)
	mu   sync.Mutex
	conn Manager
}

func (b *bus) get() (Manager, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil && b.conn.Connected() {
		return b.conn, nil
	}
	if b.conn != nil {
		b.conn.Close()
		b.conn = nil
	}
	conn, err := b.dial()
	if err != nil {
		return nil, err
	}
	b.conn = conn
	return conn, nil
}

func (b *bus) do(call func(Manager) error) error {
	m, err := b.get()
	if err != nil {
		return err
	}
	return call(m)
}

func (b *bus) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil {
		b.conn.Close()
		b.conn = nil
	}
}

// unit is what systemd says of a unit.
type unit struct {
	load, active string // its LoadState and ActiveState
	file         string // UnitFileState: "enabled", "disabled", "static", ...
	result       string // why it is not active
	invocation   string // names this start
	job          bool   // a job for it is waiting or runs
	pid          int
}

// gone reports that nothing of the unit runs, and nothing will by itself.
func (u unit) gone() bool { return (u.active == "inactive" || u.active == "failed") && !u.job }

func (b *bus) look(ctx context.Context, name string) (unit, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	var u unit
	err := b.do(func(m Manager) error {
		p, err := m.GetUnitPropertiesContext(ctx, name)
		if err != nil {
			return err
		}
		u.load, u.active, u.file = text(p["LoadState"]), text(p["ActiveState"]), text(p["UnitFileState"])
		if id, ok := p["InvocationID"].([]byte); ok {
			u.invocation = hex.EncodeToString(id)
		}
		if job, ok := p["Job"].([]any); ok && len(job) > 0 {
			id, _ := job[0].(uint32)
			u.job = id != 0
		}
		if u.load != "loaded" {
			return nil
		}
		// A unit of another type has none of these.
		if p, err = m.GetUnitTypePropertiesContext(ctx, name, "Service"); err == nil {
			u.result = text(p["Result"])
			if pid, ok := p["MainPID"].(uint32); ok {
				u.pid = int(pid)
			}
		}
		return nil
	})
	if err != nil {
		return u, fmt.Errorf("ask systemd for %s: %w", name, err)
	}
	return u, nil
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// await looks until the unit is as wanted or ctx ends.
func (b *bus) await(ctx context.Context, name string, wanted func(unit) bool) (unit, error) {
	for begin := time.Now(); ; {
		began := time.Now()
		u, err := b.look(ctx, name)
		if err == nil && wanted(u) {
			return u, nil
		}
		select {
		case <-ctx.Done():
			return u, fmt.Errorf("waited in vain: %w", ctx.Err())
		case <-time.After(service.Pace(time.Since(begin), time.Since(began))):
		}
	}
}
