package witness

import (
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
	"gemel/node/arbiter/store"
)

const term = 8 * time.Second

// memory is a store that can fail.
type memory struct {
	records map[string]arbiter.Record
	err     error
	saves   int
}

func (m *memory) Get(volume string) arbiter.Record {
	if r, known := m.records[volume]; known {
		return r
	}
	return arbiter.Record{Fresh: true}
}

func (m *memory) Save(records map[string]arbiter.Record) error {
	m.saves++
	if m.err == nil {
		maps.Copy(m.records, records)
	}
	return m.err
}

func newWitness(now *time.Duration) (*Witness, *memory) {
	m := &memory{records: map[string]arbiter.Record{}}
	return New("lab", m, func() time.Duration { return *now }, term), m
}

func prepare(w *Witness, volume string, epoch arbiter.Epoch) (arbiter.PrepareReply, error) {
	r, err := ask(w, "lab", epoch.Owner(), ballot.Vote{Prepare: &arbiter.PrepareRequest{Volume: volume, Epoch: epoch}})
	if err != nil {
		return arbiter.PrepareReply{}, err
	}
	return *r.Prepare, nil
}

func ask(w *Witness, cluster string, caller arbiter.NodeID, v ballot.Vote) (ballot.Reply, error) {
	replies, errs := w.Votes(cluster, caller, []ballot.Vote{v})
	return replies[0], errs[0]
}

// preparing is a vote for the promise of epoch 4.
func preparing(volume string) ballot.Vote {
	return ballot.Vote{Prepare: &arbiter.PrepareRequest{Volume: volume, Epoch: 4}}
}

func TestManyVotesAreStoredAtOnce(t *testing.T) {
	now := time.Duration(0)
	w, m := newWitness(&now)
	now = term // leases of before the start are over
	set := arbiter.Accepted{Epoch: 4, Version: 1, Set: 1}
	votes := []ballot.Vote{preparing("data"), preparing("home"), {Accept: &arbiter.AcceptRequest{Volume: "data", Accepted: set}},
		{Prepare: &arbiter.PrepareRequest{Volume: "data", Epoch: 5}}, {Renew: &arbiter.RenewRequest{Volume: "home", Epoch: 4, Term: term}}}
	replies, errs := w.Votes("lab", 0, votes)
	if !errors.Is(errs[3], ErrCaller) || errors.Join(errs[0], errs[1], errs[2], errs[4]) != nil {
		t.Fatal(errs)
	}
	if !replies[0].Prepare.OK || !replies[1].Prepare.OK || !replies[2].Accept.OK || replies[4].Renew == nil {
		t.Errorf("replies %+v", replies)
	}
	if m.saves != 1 || m.records["data"].Accepted != set || m.records["home"].Promised != 4 {
		t.Errorf("%d writes left %+v", m.saves, m.records)
	}
}

// A write that fails answers for what was to be stored, and for nothing else.
func TestAFailedWriteAnswersNobodyWhoRestsOnIt(t *testing.T) {
	now := time.Duration(0)
	w, m := newWitness(&now)
	now = term // leases of before the start are over
	if _, errs := w.Votes("lab", 0, []ballot.Vote{preparing("home")}); errs[0] != nil {
		t.Fatal(errs)
	}
	m.err = errors.New("disk full")
	renew := func(volume string) ballot.Vote {
		return ballot.Vote{Renew: &arbiter.RenewRequest{Volume: volume, Epoch: 4, Term: term}}
	}
	replies, errs := w.Votes("lab", 0, []ballot.Vote{preparing("data"), renew("data"), renew("home")})
	if !errors.Is(errs[0], m.err) || !errors.Is(errs[1], m.err) || errs[2] != nil || replies[2].Renew == nil {
		t.Errorf("%+v, %v", replies, errs)
	}
	if w.Record("data").Promised != 0 || w.Record("home").Promised != 4 {
		t.Errorf("records %+v, %+v", w.Record("data"), w.Record("home"))
	}
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
		if _, err := ask(w, c.cluster, c.caller, preparing(c.volume)); !errors.Is(err, c.want) {
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
	w, f := run()
	set := arbiter.Accepted{Epoch: 4, Version: 2, Set: arbiter.Both}
	_, first := prepare(w, "data", 4)
	accepted, second := ask(w, "lab", 0, ballot.Vote{Accept: &arbiter.AcceptRequest{Volume: "data", Accepted: set}})
	renewed, third := ask(w, "lab", 0, ballot.Vote{Renew: &arbiter.RenewRequest{Volume: "data", Epoch: 4, Term: term}})
	if err := errors.Join(first, second, third, f.Close()); err != nil || !accepted.Accept.OK || !renewed.Renew.OK {
		t.Fatalf("%+v, %+v, %v", accepted, renewed, err)
	}
	w, f = run()
	defer func() { _ = f.Close() }()
	if reply, err := prepare(w, "data", 5); err != nil || reply.Wait != term || reply.Record.Accepted != set {
		t.Errorf("just restarted: %+v, %v", reply, err)
	}
	if _, err := ask(w, "lab", 0, ballot.Vote{Release: &arbiter.ReleaseRequest{Volume: "data", Epoch: 4}}); err != nil {
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
