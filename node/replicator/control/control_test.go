package control

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
	"gemel/node/arbiter/ballot/ballottest"
)

// fake answers with what a test put in.
type fake struct {
	Handler // nil: calling what a test did not prepare panics

	mu      sync.Mutex
	states  []VolumeState
	changed chan struct{}
	created CreateRequest
	err     error
}

func (f *fake) State() ([]VolumeState, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]VolumeState(nil), f.states...), f.changed
}

func (f *fake) bump() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.states[0].Seq++
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fake) Create(_ context.Context, q CreateRequest) error {
	f.created = q
	return f.err
}

func (f *fake) Votes(_ context.Context, votes []ballot.Vote, answer ballot.Answer) error {
	for i, v := range votes {
		answer(i, ballot.Reply{Prepare: &arbiter.PrepareReply{OK: true, Record: arbiter.Record{Promised: v.Epoch()}}})
	}
	return f.err
}

// start serves h on a socket of its own and returns a client.
func start(t *testing.T, h Handler) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "replicator.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, h) }()
	client := NewClient(path)
	t.Cleanup(func() {
		client.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Error("the socket is still there")
		}
	})
	return client
}

func newFake() *fake {
	return &fake{states: []VolumeState{{Name: "data", Seq: 7}}, changed: make(chan struct{})}
}

func TestCalls(t *testing.T) {
	f := newFake()
	c := start(t, f)
	states, err := c.State(t.Context())
	if err != nil || len(states) != 1 || states[0].Name != "data" {
		t.Fatalf("State: %v, %v", states, err)
	}
	if err := c.Create(t.Context(), CreateRequest{Volume: "data", Force: true}); err != nil {
		t.Fatal(err)
	}
	if f.created != (CreateRequest{Volume: "data", Force: true}) {
		t.Errorf("handler got %+v", f.created)
	}
	reply, err := ballottest.Prepare(t.Context(), c, arbiter.PrepareRequest{Volume: "data", Epoch: 4})
	if err != nil || !reply.OK || reply.Record.Promised != 4 {
		t.Errorf("Prepare: %+v, %v", reply, err)
	}
}

func TestErrorsKeepTheirCode(t *testing.T) {
	f := newFake()
	f.err = &Error{Code: CodeDeviceInUse, Message: "it is mounted"}
	c := start(t, f)
	err := c.Create(t.Context(), CreateRequest{})
	if CodeOf(err) != CodeDeviceInUse || err.Error() != "it is mounted" {
		t.Errorf("got %v with code %s", err, CodeOf(err))
	}
	f.err = errors.New("disk on fire")
	if err := c.Create(t.Context(), CreateRequest{}); CodeOf(err) != CodeInternal {
		t.Errorf("got %v with code %s", err, CodeOf(err))
	}
}

func TestBadRequests(t *testing.T) {
	c := start(t, newFake())
	for _, body := range []string{`{`, `{"volume":7}`, `{"volume":"data","forse":true}`,
		`{"volume":"` + strings.Repeat("x", maxBody) + `"}`} {
		r, err := c.http.Post("http://replicator"+PathCreate, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if err := readError(PathCreate, r); r.StatusCode != http.StatusBadRequest || CodeOf(err) != CodeBadRequest {
			t.Errorf("body %.30q: %s, %v", body, r.Status, err)
		}
		r.Body.Close()
	}
}

func TestWatch(t *testing.T) {
	f := newFake()
	f.states = append(f.states, VolumeState{Name: "home", Seq: 3})
	c := start(t, f)
	all, err := c.Watch(t.Context(), 0, 0, time.Minute)
	if err != nil || len(all.Volumes) != 2 || all.Run == 0 {
		t.Fatalf("a first watch must return all at once: %+v, %v", all, err)
	}
	if none, err := c.Watch(t.Context(), all.Run, all.Version, time.Millisecond); err != nil || len(none.Volumes) != 0 {
		t.Fatalf("a watch without change must end: %+v, %v", none, err)
	}
	go f.bump()
	next, err := c.Watch(t.Context(), all.Run, all.Version, time.Minute)
	if err != nil || len(next.Volumes) != 1 || next.Volumes[0].Name != "data" || next.Volumes[0].Seq != 8 {
		t.Fatalf("a watch must see the change and nothing else: %+v, %v", next, err)
	}
	if again, err := c.Watch(t.Context(), all.Run+1, next.Version, time.Minute); err != nil || len(again.Volumes) != 2 {
		t.Errorf("a watcher of another run must get all: %+v, %v", again, err)
	}
	f.mu.Lock()
	f.states[1].Resync = &Resync{}
	f.mu.Unlock()
	if moving, err := c.Watch(t.Context(), all.Run, next.Version, time.Millisecond); err != nil || len(moving.Volumes) != 1 ||
		moving.Volumes[0].Name != "home" {
		t.Errorf("what moves must be told at the end of the wait: %+v, %v", moving, err)
	}
	if one, err := c.StateOf(t.Context(), "home"); err != nil || len(one) != 1 || one[0].Seq != 3 {
		t.Errorf("state of one volume: %+v, %v", one, err)
	}
}

func TestNoReplicator(t *testing.T) {
	c := NewClient(filepath.Join(t.TempDir(), "none.sock"))
	defer c.Close()
	if _, err := c.State(t.Context()); !errors.Is(err, ErrNoReplicator) {
		t.Errorf("got %v", err)
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	l, err := Listen(path)
	if err != nil {
		t.Fatalf("a stale socket must not stop anybody: %v", err)
	}
	defer l.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket is %v, %v", info.Mode(), err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another replicator answers") {
		t.Errorf("a second replicator must be refused: %v", err)
	}
	plain := filepath.Join(t.TempDir(), "file")
	os.WriteFile(plain, []byte("precious"), 0o600)
	if _, err := Listen(plain); err == nil {
		t.Error("a file must not be removed")
	}
}
