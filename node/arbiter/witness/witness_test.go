package witness

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/arbiter/store"
)

const term = 8 * time.Second

// memory is a store that can fail.
type memory struct {
	records map[string]arbiter.Record
	err     error
}

func (m *memory) Get(volume string) arbiter.Record {
	if r, known := m.records[volume]; known {
		return r
	}
	return arbiter.Record{Fresh: true}
}

func (m *memory) Save(volume string, record arbiter.Record) error {
	if m.err == nil {
		m.records[volume] = record
	}
	return m.err
}

func newWitness(now *time.Duration) (*Witness, *memory) {
	m := &memory{records: map[string]arbiter.Record{}}
	return New("lab", m, func() time.Duration { return *now }, term), m
}

func prepare(w *Witness, volume string, epoch arbiter.Epoch) (arbiter.PrepareReply, error) {
	req := arbiter.PrepareRequest{Volume: volume, Epoch: epoch}
	return w.Prepare(context.Background(), "lab", epoch.Owner(), req)
}

func TestVolumesAreApart(t *testing.T) {
	now := time.Duration(0)
	w, _ := newWitness(&now)
	for volume, epoch := range map[string]arbiter.Epoch{"data": 9, "home": 2} {
		if reply, err := prepare(w, volume, epoch); err != nil || !reply.OK {
			t.Errorf("%s: %+v, %v", volume, reply, err)
		}
	}
}

func TestNoAnswerLeavesBeforeItIsStable(t *testing.T) {
	now := time.Duration(0)
	w, m := newWitness(&now)
	m.err = errors.New("disk full")
	if _, err := prepare(w, "data", 4); !errors.Is(err, m.err) {
		t.Fatalf("error is %v, want the store's", err)
	}
	if got := w.Record("data"); got.Promised != 0 {
		t.Errorf("the promise that was not stored is kept: %+v", got)
	}
	m.err = nil
	if reply, err := prepare(w, "data", 4); err != nil || !reply.OK || m.records["data"].Promised != 4 {
		t.Errorf("afterwards: %+v, %v, stored %+v", reply, err, m.records)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	now := time.Duration(0)
	w, _ := newWitness(&now)
	cases := []struct {
		cluster string
		caller  arbiter.NodeID
		volume  string
		want    error
	}{
		{"other", 0, "data", ErrCluster},
		{"lab", 1, "data", ErrCaller},
		{"lab", 0, "", ErrVolume},
		{"lab", 0, strings.Repeat("v", maxName+1), ErrVolume},
	}
	for _, c := range cases {
		req := arbiter.PrepareRequest{Volume: c.volume, Epoch: 4}
		if _, err := w.Prepare(context.Background(), c.cluster, c.caller, req); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestARestartedWitnessKeepsPromisesAndWaitsForLeases(t *testing.T) {
	now := time.Duration(0)
	path := filepath.Join(t.TempDir(), "witness")
	run := func() (*Witness, *store.File) {
		f, err := store.Open(path, "lab")
		if err != nil {
			t.Fatal(err)
		}
		return New("lab", f, func() time.Duration { return now }, term), f
	}
	ctx := context.Background()
	w, f := run()
	set := arbiter.Accepted{Epoch: 4, Version: 2, Set: arbiter.Both}
	_, first := prepare(w, "data", 4)
	accepted, second := w.Accept(ctx, "lab", 0, arbiter.AcceptRequest{Volume: "data", Accepted: set})
	renewed, third := w.Renew(ctx, "lab", 0, arbiter.RenewRequest{Volume: "data", Epoch: 4, Term: term})
	if err := errors.Join(first, second, third, f.Close()); err != nil || !accepted.OK || !renewed.OK {
		t.Fatalf("%+v, %+v, %v", accepted, renewed, err)
	}
	w, f = run()
	defer func() { _ = f.Close() }()
	if reply, err := prepare(w, "data", 5); err != nil || reply.Wait != term || reply.Record.Accepted != set {
		t.Errorf("just restarted: %+v, %v", reply, err)
	}
	if err := w.Release(ctx, "lab", 0, arbiter.ReleaseRequest{Volume: "data", Epoch: 4}); err != nil {
		t.Error(err)
	}
	if reply, err := prepare(w, "data", 5); err != nil || !reply.OK {
		t.Errorf("after the release: %+v, %v", reply, err)
	}
}

func TestConcurrentVotesKeepOnePromise(t *testing.T) {
	now := time.Duration(0)
	w, _ := newWitness(&now)
	var all sync.WaitGroup
	for epoch := arbiter.Epoch(2); epoch < 40; epoch++ {
		all.Go(func() { _, _ = prepare(w, "data", epoch) })
	}
	all.Wait()
	if got := w.Record("data").Promised; got != 39 {
		t.Errorf("promised %d, want the highest, 39", got)
	}
}
