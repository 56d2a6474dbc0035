package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
	"gemel/node/arbiter/store"
	"gemel/node/arbiter/witness"
	"gemel/node/config"
	"gemel/node/event"
	"gemel/node/identity"
)

// runWitness is the witness daemon: the third voter's register behind the API.
func runWitness(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	id, err := identity.Load(cfg.Keys)
	if err != nil {
		return err
	}
	if err := id.Check(cfg.Cluster, identity.RoleWitness, cfg.Node); err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return err
	}
	file, err := store.Open(filepath.Join(cfg.StateDir, "witness"), cfg.Cluster)
	if err != nil {
		return err
	}
	history, err := openHistory(filepath.Join(cfg.StateDir, "witness-events.jsonl"))
	if err != nil {
		return errors.Join(err, file.Close())
	}
	desk := newWitnessDesk(cfg, file, history, log)
	server := api.NewServer(desk, api.Options{Identity: id, Nodes: cfg.NodeNames(), Log: log})
	address := net.JoinHostPort("", strconv.Itoa(cfg.Ports.API))
	return errors.Join(server.Run(ctx, address, cfg.WitnessSocket()), file.Close(), history.Close())
}

// openHistory keeps the newest 1000 events in memory, and up to 2 MiB on disk.
func openHistory(path string) (*event.History, error) {
	file, err := event.OpenFile(path, 1<<20)
	if err != nil {
		return nil, err
	}
	return event.NewHistory(1000, file)
}

// witnessDesk answers the witness's API: votes go to the register, status shows
// what it keeps.
type witnessDesk struct {
	api.Unsupported
	cfg     *config.Config
	log     *slog.Logger
	voter   *witness.Witness
	started time.Time
	history *event.History

	mu      sync.Mutex
	volumes map[string]*asked
}

// asked is what the desk saw of one volume.
type asked struct {
	promised arbiter.Epoch
	accepted arbiter.Accepted
	refusal  string // the newest; a candidate that asks again gets one note
}

func newWitnessDesk(cfg *config.Config, file *store.File, history *event.History, log *slog.Logger) *witnessDesk {
	d := &witnessDesk{cfg: cfg, log: log, started: time.Now(), history: history, volumes: map[string]*asked{}}
	for _, name := range file.Volumes() {
		r := file.Get(name)
		d.volumes[name] = &asked{promised: r.Promised, accepted: r.Accepted}
	}
	d.voter = witness.New(cfg.Cluster, file, bootTime, cfg.Timing.Lease)
	return d
}

// bootTime reads CLOCK_BOOTTIME, which does not stop while the box sleeps.
func bootTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("CLOCK_BOOTTIME: " + err.Error()) // exists since Linux 2.6.39
	}
	return time.Duration(t.Nano())
}

// number returns the caller's node number; the server let only data nodes through.
func (d *witnessDesk) number(c api.Caller) arbiter.NodeID {
	return arbiter.NodeID(max(0, d.cfg.NodeIndex(c.Name))) //nolint:gosec // 0 or 1
}

// Votes takes many votes at once; what they change is stored together.
func (d *witnessDesk) Votes(_ context.Context, c api.Caller, votes []ballot.Vote, answer ballot.Answer) error {
	replies, errs := d.voter.Votes(c.Cluster, d.number(c), votes)
	for i, r := range replies {
		switch {
		case r.Prepare != nil:
			d.saw(c, votes[i].Volume(), r.Prepare.Record, r.Prepare.OK, r.Prepare.Refusal, errs[i])
		case r.Accept != nil:
			d.saw(c, votes[i].Volume(), r.Accept.Record, r.Accept.OK, r.Accept.Refusal, errs[i])
		}
		if errs[i] != nil {
			r = ballot.Reply{Failure: &ballot.Failure{Message: errs[i].Error(), Code: voteCode(errs[i])}}
		}
		answer(i, r)
	}
	return nil
}

// voteCode names the refusals that are the caller's fault.
func voteCode(err error) string {
	for _, refusal := range []error{witness.ErrCluster, witness.ErrVolume, witness.ErrFull, witness.ErrCaller} {
		if errors.Is(err, refusal) {
			return api.CodeForbidden
		}
	}
	return api.CodeFailed
}

// saw writes down a vote that changed something, and every refused one.
func (d *witnessDesk) saw(c api.Caller, volume string, r arbiter.Record, ok bool, refusal string, err error) {
	if err != nil {
		d.log.Error("vote failed", "volume", volume, "node", c.Name, "error", err)
		return
	}
	d.mu.Lock()
	last := d.volumes[volume]
	if last == nil {
		last = &asked{}
		d.volumes[volume] = last
	}
	promised, accepted := r.Promised != last.promised, r.Accepted != last.accepted
	refused := !ok && refusal != "" && refusal != last.refusal
	last.promised, last.accepted, last.refusal = r.Promised, r.Accepted, refusal
	d.mu.Unlock()
	switch {
	case refused:
		d.note(volume, "vote.refused", fmt.Sprintf("Refused %s a vote.", c.Name), refusal)
	case accepted:
		d.note(volume, "vote.accepted", fmt.Sprintf("Recorded who holds every write: %s (epoch %d version %d).",
			strings.Join(d.names(r.Accepted.Set), " and "), r.Accepted.Epoch, r.Accepted.Version), "asked by "+c.Name)
	case promised:
		d.note(volume, "vote.promised", fmt.Sprintf("Promised %s to refuse reigns before epoch %d.", c.Name, r.Promised), "it asks to become Primary")
	}
}

func (d *witnessDesk) note(volume, kind, text, reason string) {
	d.history.Add(event.Event{Time: time.Now().UTC(), Node: d.cfg.Node, Volume: volume, Kind: kind, Text: text, Reason: reason})
	d.log.Info(text, "kind", kind, "volume", volume, "reason", reason)
}

func (d *witnessDesk) names(s arbiter.Set) []string {
	names := []string{}
	for i, name := range d.cfg.NodeNames() {
		if s.Has(arbiter.NodeID(i)) { //nolint:gosec // 0 or 1
			names = append(names, name)
		}
	}
	return names
}

// Status shows the records.
func (d *witnessDesk) Status(context.Context, api.Caller) (api.Status, error) {
	s := api.Status{Version: version, Cluster: d.cfg.Cluster, Node: d.cfg.Node, Role: identity.RoleWitness,
		Time: time.Now().UTC(), Uptime: time.Since(d.started), LastEvent: d.history.Last()}
	d.mu.Lock()
	names := slices.Sorted(maps.Keys(d.volumes))
	d.mu.Unlock()
	for _, name := range names {
		r := d.voter.Record(name)
		s.Records = append(s.Records, api.VoterRecord{Volume: name, Record: r, InSyncBy: d.names(r.Accepted.Set)})
	}
	return s, nil
}

// Events tells what the witness decided.
func (d *witnessDesk) Events(ctx context.Context, _ api.Caller, since uint64) (api.EventPage, error) {
	events, next := d.history.Wait(ctx, since)
	return api.EventPage{Events: events, Next: next}, nil
}
