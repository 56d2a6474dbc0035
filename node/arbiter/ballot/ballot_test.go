package ballot_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
)

// registers answers at once, but for one volume whose disk hangs.
type registers struct{ hang chan struct{} }

func (registers) Prepare(_ context.Context, q arbiter.PrepareRequest) (arbiter.PrepareReply, error) {
	return arbiter.PrepareReply{OK: true, Record: arbiter.Record{Promised: q.Epoch}}, nil
}

func (registers) Accept(context.Context, arbiter.AcceptRequest) (arbiter.AcceptReply, error) {
	return arbiter.AcceptReply{}, errors.New("no disk")
}

func (r registers) Renew(_ context.Context, q arbiter.RenewRequest) (arbiter.RenewReply, error) {
	if q.Volume == "stuck" {
		<-r.hang
	}
	return arbiter.RenewReply{OK: true}, nil
}

func (registers) Release(context.Context, arbiter.ReleaseRequest) error { return nil }

func (r registers) Votes(ctx context.Context, votes []ballot.Vote, answer ballot.Answer) error {
	return ballot.Cast(ctx, r, votes, func(error) string { return "broken" }, answer)
}

func renew(volume string) ballot.Vote {
	return ballot.Vote{Renew: &arbiter.RenewRequest{Volume: volume, Epoch: 4, Term: time.Second}}
}

// flushed is a reader of what was flushed so far.
type flushed struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (f *flushed) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.Write(p)
}

func (f *flushed) flush() error { f.more <- struct{}{}; return nil }

func (f *flushed) String() string { f.mu.Lock(); defer f.mu.Unlock(); return f.text.String() }

func TestAHangingRegisterHoldsUpNobodyElse(t *testing.T) {
	r := registers{make(chan struct{})}
	votes := []ballot.Vote{renew("stuck"), renew("data"), {Prepare: &arbiter.PrepareRequest{Volume: "home", Epoch: 6}},
		{Accept: &arbiter.AcceptRequest{Volume: "data"}}, {Release: &arbiter.ReleaseRequest{Volume: "data", Epoch: 4}}, {}}
	out := &flushed{more: make(chan struct{}, 10)}
	done := make(chan error, 1)
	go func() { done <- ballot.Write(t.Context(), out, out.flush, votes, r) }()
	for strings.Count(out.String(), "\n") < len(votes)-1 {
		<-out.more
	}
	close(r.hang)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := make([]ballot.Reply, len(votes))
	if err := ballot.Read(strings.NewReader(out.String()), len(votes), func(i int, r ballot.Reply) { got[i] = r }); err != nil {
		t.Fatal(err)
	}
	if got[0].Renew == nil || !got[1].Renew.OK || got[2].Prepare.Record.Promised != 6 || got[4].Failure != nil {
		t.Errorf("answers %+v", got)
	}
	if got[3].Failure == nil || got[3].Failure.Code != "broken" || got[3].Failure.Message != "no disk" || got[5].Failure == nil {
		t.Errorf("failures %+v, %+v", got[3].Failure, got[5].Failure)
	}
}

func TestTheEndOfTheCallEndsTheWaiting(t *testing.T) {
	r := registers{make(chan struct{})}
	defer close(r.hang)
	ctx, cancel := context.WithCancel(t.Context())
	answered := 0
	err := r.Votes(ctx, []ballot.Vote{renew("stuck"), renew("data")}, func(int, ballot.Reply) { answered++; cancel() })
	if !errors.Is(err, context.Canceled) || answered != 1 {
		t.Errorf("%v after %d answers", err, answered)
	}
}

func TestReadRefusesNonsense(t *testing.T) {
	for _, text := range []string{"", "{\"n\":0}\n", "{\"n\":0}\n{\"n\":0}\n", "{\"n\":2}\n", "{\"n\":-1}\n", "[]", "{\"n\":0}\n{\"n\":1"} {
		if err := ballot.Read(strings.NewReader(text), 2, func(int, ballot.Reply) {}); err == nil {
			t.Errorf("%q is taken for the answers to two votes", text)
		}
	}
	if err := ballot.Read(strings.NewReader("{\"n\":1}\n{\"n\":0}\n"), 2, func(int, ballot.Reply) {}); err != nil {
		t.Error(err)
	}
}

// The largest message fits into what the API takes.
func TestTheLargestMessageFits(t *testing.T) {
	const most = 64 << 10
	name, large := strings.Repeat("v", 128), arbiter.Accepted{Epoch: 1 << 60, Version: 1 << 31, Set: 3}
	for _, v := range []ballot.Vote{
		{Prepare: &arbiter.PrepareRequest{Volume: name, Epoch: 1 << 60, Known: large}},
		{Accept: &arbiter.AcceptRequest{Volume: name, Accepted: large}},
		{Renew: &arbiter.RenewRequest{Volume: name, Epoch: 1 << 60, Term: time.Hour}},
	} {
		all := make([]ballot.Vote, ballot.Max)
		for i := range all {
			all[i] = v
		}
		if raw, err := json.Marshal(all); err != nil || len(raw) > most {
			t.Errorf("%d votes take %d bytes of %d: %v", len(all), len(raw), most, err)
		}
	}
}
