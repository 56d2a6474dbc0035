package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot"
	"gemel/node/arbiter/ballot/ballottest"
	"gemel/node/event"
	"gemel/node/identity"
	"gemel/node/replicator/control"
)

// desk is a Handler that remembers who asked.
type desk struct {
	Unsupported
	mu    sync.Mutex
	calls []string
	last  Caller
	hold  chan struct{} // Switchover waits for it when set
}

func (d *desk) note(what string, c Caller) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls, d.last = append(d.calls, what), c
}

func (d *desk) Beat(_ context.Context, c Caller, b Beat) (Beat, error) {
	d.note("beat", c)
	return Beat{Node: "server1", Seq: b.Seq, Link: b.Link}, nil
}

func (d *desk) Votes(_ context.Context, c Caller, votes []ballot.Vote, answer ballot.Answer) error {
	for i, v := range votes {
		switch {
		case v.Prepare != nil:
			d.note("prepare", c)
			answer(i, ballot.Reply{Prepare: &arbiter.PrepareReply{OK: true, Record: arbiter.Record{Promised: v.Epoch()}, Wait: 7}})
		case v.Accept != nil:
			d.note("accept", c)
			answer(i, ballot.Reply{Accept: &arbiter.AcceptReply{OK: true, Record: arbiter.Record{Accepted: v.Accept.Accepted}}})
		case v.Renew != nil:
			d.note("renew", c)
			answer(i, ballot.Reply{Renew: &arbiter.RenewReply{Refusal: "old epoch"}})
		case v.Release != nil:
			d.note("release", c)
			answer(i, ballot.Reply{})
		}
	}
	return nil
}

func (d *desk) HandOver(_ context.Context, c Caller, _ HandOver) error {
	d.note("handover", c)
	return nil
}

func (d *desk) Reboot(_ context.Context, c Caller, _ RebootOrder) error {
	d.note("reboot", c)
	return nil
}

func (d *desk) Clients(_ context.Context, c Caller, m Clients) (ClientsTaken, error) {
	d.note("clients", c)
	return ClientsTaken{Seq: uint64(len(m.Add))}, nil
}

func (d *desk) Status(_ context.Context, c Caller) (Status, error) {
	d.note("status", c)
	return Status{Node: "server1"}, nil
}

func (d *desk) Events(ctx context.Context, c Caller, since uint64) (EventPage, error) {
	d.note("events", c)
	if since == 9 {
		<-ctx.Done()
		return EventPage{Next: 9}, nil
	}
	return EventPage{Events: []event.Event{{Kind: "test.one"}}, Next: since + 1}, nil
}

func (d *desk) Switchover(ctx context.Context, c Caller, _ Order) error {
	d.note("switchover", c)
	if d.hold == nil {
		return nil
	}
	select {
	case <-d.hold:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *desk) Grab(_ context.Context, c Caller, o Order) error {
	d.note("grab", c)
	if o.Stale {
		return nil
	}
	return errors.New("server2 holds newer data; start it, or add --stale")
}

func (d *desk) CreateVolume(context.Context, Caller, control.CreateRequest) error {
	return &Error{Code: CodeUnknownVolume, Message: "no volume of that name"}
}

// bench is a server of server1 on loopback and on a unix socket.
type bench struct {
	desk    *desk
	keys    string
	address string
	socket  string
	log     *lockedBuffer
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{desk: &desk{}, keys: t.TempDir(), log: &lockedBuffer{}, socket: filepath.Join(t.TempDir(), "agent.sock")}
	plan := identity.Plan{Cluster: "lab", Nodes: []string{"server1", "server2", "server3"}, Witness: "witness", Admins: []string{"admin"}}
	if _, err := identity.Init(b.keys, plan); err != nil {
		t.Fatal(err)
	}
	s := NewServer(b.desk, Options{Identity: b.identity(t, "server1"), Nodes: []string{"server1", "server2"},
		Log: slog.New(slog.NewTextHandler(b.log, nil)), LogPerSecond: 100})
	network, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unix, err := ListenUnix(b.socket)
	if err != nil {
		t.Fatal(err)
	}
	b.address = network.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, network, unix) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return b
}

func (b *bench) identity(t *testing.T, name string) *identity.Identity {
	t.Helper()
	id, err := identity.Load(filepath.Join(b.keys, name))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// as returns a client that shows the keys of name.
func (b *bench) as(t *testing.T, name string) *Client {
	t.Helper()
	c := NewClient(Target{Address: b.address, Local: "127.0.0.1", TLS: b.identity(t, name).ClientTLS("server1"), Timeout: 10 * time.Second})
	t.Cleanup(c.Close)
	return c
}

func (b *bench) local(t *testing.T) *Client {
	t.Helper()
	c := NewUnixClient(b.socket)
	t.Cleanup(c.Close)
	return c
}

func TestEverythingArrives(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	c := b.as(t, "server2")
	own := arbiter.Epoch(3) // epochs of node 1 are odd
	beat, err := c.Beat(ctx, Beat{Node: "server2", Boot: "a", Seq: 1, Link: "private"})
	if err != nil || beat.Node != "server1" || beat.Link != "private" {
		t.Errorf("beat: %+v, %v", beat, err)
	}
	p, err := ballottest.Prepare(ctx, c, arbiter.PrepareRequest{Volume: "data", Epoch: own})
	if err != nil || !p.OK || p.Record.Promised != own || p.Wait != 7 {
		t.Errorf("prepare: %+v, %v", p, err)
	}
	a, err := ballottest.Accept(ctx, c, arbiter.AcceptRequest{Volume: "data", Accepted: arbiter.Accepted{Epoch: own, Version: 1, Set: 2}})
	if err != nil || a.Record.Accepted.Set != 2 {
		t.Errorf("accept: %+v, %v", a, err)
	}
	if r, err := ballottest.Renew(ctx, c, arbiter.RenewRequest{Epoch: own}); err != nil || r.OK || r.Refusal != "old epoch" {
		t.Errorf("renew: %+v, %v", r, err)
	}
	if err := ballottest.Release(ctx, c, arbiter.ReleaseRequest{Epoch: own}); err != nil {
		t.Error(err)
	}
	if err := c.HandOver(ctx, HandOver{Volume: "data", Epoch: own}); err != nil {
		t.Error(err)
	}
	if err := c.Reboot(ctx, RebootOrder{Volume: "data", Epoch: own}); err != nil {
		t.Error(err)
	}
	taken, err := c.Clients(ctx, Clients{Volume: "data", Add: []Connection{{Client: netip.MustParseAddrPort("[2001:db8::1]:9")}}})
	if err != nil || taken.Seq != 1 {
		t.Errorf("clients: %+v, %v", taken, err)
	}
	if err := c.Switchover(ctx, Order{Volume: "data"}); err != nil {
		t.Error(err)
	}
	if page, err := c.Events(ctx, 4, 0); err != nil || page.Next != 5 || len(page.Events) != 1 {
		t.Errorf("events: %+v, %v", page, err)
	}
	if got := strings.Join(b.desk.calls, " "); got != "beat prepare accept renew release handover reboot clients switchover events" {
		t.Errorf("handler saw %s", got)
	}
	if b.desk.last.Name != "server2" || b.desk.last.Role != identity.RoleNode || b.desk.last.Local || b.desk.last.Remote == "" {
		t.Errorf("caller: %+v", b.desk.last)
	}
	if b.log.String() != "" {
		t.Errorf("logged: %s", b.log)
	}
}

func TestWhoMayAsk(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	forbidden := &Error{Code: CodeForbidden}
	for name, c := range map[string]*Client{
		"admin": b.as(t, "admin"), "witness": b.as(t, "witness"), "local": b.local(t), "itself": b.as(t, "server1"),
	} {
		if _, err := c.Beat(ctx, Beat{Node: name, Boot: "a", Seq: 1}); !errors.Is(err, forbidden) {
			t.Errorf("beat of %s: %v", name, err)
		}
		if _, err := ballottest.Prepare(ctx, c, arbiter.PrepareRequest{Epoch: 3}); !errors.Is(err, forbidden) {
			t.Errorf("vote of %s: %v", name, err)
		}
		if err := c.Reboot(ctx, RebootOrder{ByHand: true}); !errors.Is(err, forbidden) {
			t.Errorf("a reboot asked for by %s: %v", name, err)
		}
		if _, err := c.Status(ctx); err != nil {
			t.Errorf("status for %s: %v", name, err)
		}
		if err := c.Switchover(ctx, Order{}); (name == "witness") != errors.Is(err, forbidden) {
			t.Errorf("order of %s: %v", name, err)
		}
	}
	c := b.as(t, "server2")
	for _, e := range []arbiter.Epoch{0, 2, 8} {
		if _, err := ballottest.Prepare(ctx, c, arbiter.PrepareRequest{Epoch: e}); !errors.Is(err, forbidden) {
			t.Errorf("vote for epoch %d of the other node: %v", e, err)
		}
		if err := c.Reboot(ctx, RebootOrder{Volume: "data", Epoch: e}); !errors.Is(err, forbidden) {
			t.Errorf("a reboot for epoch %d: %v", e, err)
		}
		if _, err := ballottest.Accept(ctx, c, arbiter.AcceptRequest{Accepted: arbiter.Accepted{Epoch: e}}); !errors.Is(err, forbidden) {
			t.Errorf("accept for epoch %d: %v", e, err)
		}
		if _, err := ballottest.Renew(ctx, c, arbiter.RenewRequest{Epoch: e}); !errors.Is(err, forbidden) {
			t.Errorf("renew for epoch %d: %v", e, err)
		}
		if err := ballottest.Release(ctx, c, arbiter.ReleaseRequest{Epoch: e}); !errors.Is(err, forbidden) {
			t.Errorf("release for epoch %d: %v", e, err)
		}
	}
	if !strings.Contains(b.log.String(), `remote=127.0.0.1:`) || !strings.Contains(b.log.String(), "epoch 8 does not belong to node") {
		t.Errorf("log lacks the refusal:\n%s", b.log)
	}
}

func TestStrangersAreRefusedAndLogged(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	// server3 has keys of the cluster, but is not in the configuration.
	if _, err := b.as(t, "server3").Status(ctx); !errors.Is(err, ErrUnreachable) {
		t.Errorf("server3: %v", err)
	}
	other := t.TempDir()
	if _, err := identity.Init(other, identity.Plan{Cluster: "prod", Nodes: []string{"server2"}}); err != nil {
		t.Fatal(err)
	}
	id, err := identity.Load(filepath.Join(other, "server2"))
	if err != nil {
		t.Fatal(err)
	}
	config := id.ClientTLS("server1")
	config.VerifyConnection = nil // it would take any server
	c := NewClient(Target{Address: b.address, TLS: config, Timeout: 10 * time.Second})
	defer c.Close()
	if _, err := c.Status(ctx); !errors.Is(err, ErrUnreachable) {
		t.Errorf("other cluster: %v", err)
	}
	eventually(t, func() bool {
		log := b.log.String()
		return strings.Contains(log, `server3`) && strings.Contains(log, "is not expected here") && strings.Contains(log, "certificate of another cluster")
	})
	if len(b.desk.calls) != 0 {
		t.Errorf("a stranger reached the handler: %v", b.desk.calls)
	}
}

// eventually waits for what another goroutine is about to do.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("did not happen within 10 s")
}

func TestReplayedBeats(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	c := b.as(t, "server2")
	for _, step := range []struct {
		beat Beat
		ok   bool
	}{
		{Beat{Node: "server2", Boot: "a", Seq: 5, Link: "lan"}, true},
		{Beat{Node: "server2", Boot: "a", Seq: 5, Link: "lan"}, false},
		{Beat{Node: "server2", Boot: "a", Seq: 4, Link: "lan"}, false},
		{Beat{Node: "server2", Boot: "a", Seq: 4, Link: "private"}, true},
		{Beat{Node: "server2", Boot: "b", Seq: 1, Link: "lan"}, true},
		{Beat{Node: "server2", Boot: "a", Seq: 9, Link: "lan"}, false},
		{Beat{Node: "server2", Boot: "b", Seq: 2, Link: "lan"}, true},
	} {
		_, err := c.Beat(ctx, step.beat)
		if (err == nil) != step.ok || err != nil && !errors.Is(err, &Error{Code: CodeReplayed}) {
			t.Errorf("%+v: %v", step.beat, err)
		}
	}
	if _, err := c.Beat(ctx, Beat{Node: "server1", Boot: "c", Seq: 1}); !errors.Is(err, &Error{Code: CodeForbidden}) {
		t.Errorf("beat in another's name: %v", err)
	}
	if !strings.Contains(b.log.String(), "code=replayed") {
		t.Errorf("not logged:\n%s", b.log)
	}
}

func TestTooLargeAndNonsense(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	_, err := b.as(t, "server2").Beat(ctx, Beat{Node: "server2", Boot: strings.Repeat("x", MaxRequest), Seq: 1})
	if !errors.Is(err, &Error{Code: CodeTooLarge}) || !strings.Contains(b.log.String(), "code=too-large") {
		t.Errorf("too large: %v\n%s", err, b.log)
	}
	c := b.local(t)
	for path, method := range map[string]string{"/v1/none": http.MethodGet, PathBeat: http.MethodGet, PathGrab: http.MethodPost,
		PathEvents + "?since=x": http.MethodGet} {
		r, _ := http.NewRequestWithContext(ctx, method, "http://local"+path, strings.NewReader("{nonsense"))
		resp, err := c.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode < 400 || !bytes.Contains(raw, []byte(`"code":"`)) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, raw)
		}
	}
}

func TestErrorsKeepTheirWords(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	c := b.local(t)
	err := c.Grab(ctx, Order{Volume: "data"})
	if !errors.Is(err, &Error{Code: CodeRefused}) || err.Error() != "server2 holds newer data; start it, or add --stale" {
		t.Errorf("refusal: %v", err)
	}
	if err := c.Grab(ctx, Order{Stale: true}); err != nil {
		t.Error(err)
	}
	if err := c.CreateVolume(ctx, control.CreateRequest{}); !errors.Is(err, &Error{Code: CodeUnknownVolume}) {
		t.Errorf("create: %v", err)
	}
	if err := c.Connect(ctx, control.ConnectRequest{}); !errors.Is(err, &Error{Code: CodeUnsupported}) {
		t.Errorf("connect: %v", err)
	}
	if !b.desk.last.Local {
		t.Error("the unix socket's caller is not local")
	}
}

func TestNobodyAnswers(t *testing.T) {
	if _, err := NewUnixClient(filepath.Join(t.TempDir(), "none.sock")).Status(context.Background()); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	c := NewClient(Target{Address: l.Addr().String(), TLS: &tls.Config{MinVersion: tls.VersionTLS13}})
	if _, err := c.Status(context.Background()); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
}

func TestEventsWaitEnds(t *testing.T) {
	b := newBench(t)
	page, err := b.local(t).Events(context.Background(), 9, 20*time.Millisecond)
	if err != nil || page.Next != 9 {
		t.Errorf("%+v, %v", page, err)
	}
}

// The order ends with its caller, not before: its context lives as long as the
// connection does.
func TestOrderEndsWithItsCaller(t *testing.T) {
	b := newBench(t)
	b.desk.hold = make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.local(t).Switchover(ctx, Order{}) }()
	eventually(t, func() bool {
		b.desk.mu.Lock()
		defer b.desk.mu.Unlock()
		return len(b.desk.calls) == 1
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestListenUnixGuardsALivingSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "x.sock")
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ListenUnix(path); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("second listener: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed process leaves it
	_ = l.Close()
	if l, err = ListenUnix(path); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

func TestThrottle(t *testing.T) {
	var out bytes.Buffer
	th := newThrottle(slog.New(slog.NewTextHandler(&out, nil)), 2)
	now := time.Unix(1000, 0)
	th.now = func() time.Time { return now }
	for range 10 {
		th.warn("refused")
	}
	if n := strings.Count(out.String(), "refused"); n != 2 {
		t.Errorf("%d lines in one second", n)
	}
	now = now.Add(time.Second)
	th.warn("refused")
	if !strings.Contains(out.String(), "not_logged_before=8") {
		t.Errorf("the rest is not counted: %s", out.String())
	}
}
