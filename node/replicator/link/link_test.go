package link

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gemel/node/replicator/wire"
)

// timeout is long enough that a loaded machine does not reach it by accident.
const timeout = 20 * time.Second

// certificates makes one authority's server and client configuration.
func certificates(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "box"}, DNSNames: []string{"box"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	own := []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	server = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: own, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	client = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: own, RootCAs: pool, ServerName: "box"}
	return server, client
}

func hello(node uint8) wire.Hello {
	h := wire.Hello{Cluster: "lab", Volume: "data", DataSize: 1 << 20}
	h.Node = 0
	if node == 1 {
		h.Node = 1
	}
	return h
}

// bench is a listener of node 1 and a dialer of node 0.
type bench struct {
	listener *Listener
	dialer   *Dialer
	server   *tls.Config
	client   *tls.Config

	mu      sync.Mutex
	refused []error
}

func newBench(t *testing.T, peerTimeout time.Duration) *bench {
	t.Helper()
	return makeBench(t, peerTimeout, false)
}

func makeBench(t *testing.T, peerTimeout time.Duration, plain bool) *bench {
	t.Helper()
	b := &bench{}
	b.server, b.client = certificates(t)
	l, err := Listen(Options{
		Addresses: []Address{{"private", netip.MustParseAddrPort("127.0.0.1:0")}},
		TLS:       b.server, Cluster: "lab", Node: 1, PeerTimeout: peerTimeout, Plain: plain,
		Refused: func(_ net.Addr, err error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.refused = append(b.refused, err)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	b.listener = l
	b.dialer = &Dialer{TLS: b.client, PeerTimeout: peerTimeout, Plain: plain, Paths: []Path{{
		Name: "private", Local: netip.MustParseAddr("127.0.0.1"), Remote: addrPort(l.Addrs()[0])}}}
	return b
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

func (b *bench) refusals() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.refused)
}

// pair returns both ends of an open connection.
func (b *bench) pair(t *testing.T) (dialed, accepted *Conn) {
	t.Helper()
	got := make(chan *Conn, 1)
	remove := b.listener.Handle("data", func(p *Pending) {
		c, err := p.Accept(hello(1))
		if err != nil {
			t.Errorf("accept: %v", err)
		}
		got <- c
	})
	defer remove()
	dialed, err := b.dialer.Dial(t.Context(), hello(0))
	if err != nil {
		t.Fatal(err)
	}
	accepted = <-got
	if accepted == nil {
		t.FailNow()
	}
	t.Cleanup(func() {
		for _, c := range []*Conn{dialed, accepted} {
			c.Close(nil)
			c.Wait()
		}
	})
	return dialed, accepted
}

func TestConversation(t *testing.T) {
	a, b := newBench(t, timeout).pair(t)
	if a.Path() != "private" || b.Path() != "private" || a.Peer().Node != 1 || b.Peer().Node != 0 || a.Version() != 1 {
		t.Errorf("paths %q and %q, peers %+v and %+v", a.Path(), b.Path(), a.Peer(), b.Peer())
	}
	const messages = 200
	data := bytes.Repeat([]byte{1, 2, 3, 4}, 16<<10)
	go func() {
		for i := range messages {
			n := 4096 << (i % 5)
			a.Send(wire.Header{Type: wire.TypeWrite, ID: uint64(i), Offset: int64(i) * 65536, Span: uint32(n)}, data[:n])
		}
	}()
	go echo(b)
	for i := range messages {
		m, err := a.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if m.Type != wire.TypeWriteAck || m.ID != uint64(i) || m.Offset != int64(i)*65536 {
			t.Fatalf("answer %d is %+v", i, m.Header)
		}
	}
}

// echo acknowledges every write until the connection ends.
func echo(c *Conn) {
	for {
		m, err := c.Receive()
		if err != nil {
			return
		}
		c.Send(wire.Header{Type: wire.TypeWriteAck, ID: m.ID, Offset: m.Offset, Span: m.Span}, nil)
		m.Release()
	}
}

func TestCloseTellsThePeerWhy(t *testing.T) {
	a, b := newBench(t, timeout).pair(t)
	a.Close(errors.New("the volume is detached"))
	_, err := b.Receive()
	if !errors.Is(err, ErrPeerClosed) || !strings.Contains(err.Error(), "the volume is detached") {
		t.Errorf("got %v", err)
	}
	<-b.Done()
	if err := a.Send(wire.Header{Type: wire.TypeBarrier}, nil); err == nil || a.Err().Error() != "the volume is detached" {
		t.Errorf("send after close: %v, reason %v", err, a.Err())
	}
	if _, err := a.Receive(); err == nil {
		t.Error("receive after close works")
	}
	a.Close(errors.New("another reason"))
	if a.Err().Error() != "the volume is detached" {
		t.Error("the first reason must stay")
	}
}

// TestStalledPeer: a peer that does not read costs no more than the queue and
// the timeout, and Close frees whoever waits.
func TestStalledPeer(t *testing.T) {
	a, _ := newBench(t, timeout).pair(t)
	data := make([]byte, wire.MaxPayload)
	failed := make(chan error)
	go func() {
		for {
			if err := a.Send(wire.Header{Type: wire.TypeWrite, Span: wire.MaxPayload}, data); err != nil {
				failed <- err
				return
			}
		}
	}()
	for a.Queued() <= QueueLimit {
		time.Sleep(time.Millisecond)
	}
	if a.Queued() > QueueLimit+wire.MaxPayload+wire.HeaderSize {
		t.Errorf("%d bytes wait", a.Queued())
	}
	if a.TrySend(wire.Header{Type: wire.TypePing}, nil) {
		t.Error("TrySend went into a full queue")
	}
	a.Close(nil)
	if err := <-failed; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestStalledPeerIsGivenUp(t *testing.T) {
	a, _ := newBench(t, 500*time.Millisecond).pair(t)
	data := make([]byte, wire.MaxPayload)
	for a.Send(wire.Header{Type: wire.TypeWrite, Span: wire.MaxPayload}, data) == nil {
	}
	if a.Err() == nil {
		t.Error("no reason")
	}
}

func TestPingsKeepAnIdleConnection(t *testing.T) {
	a, b := newBench(t, 800*time.Millisecond).pair(t)
	go echo(b)
	go func() {
		time.Sleep(2 * time.Second)
		b.Send(wire.Header{Type: wire.TypeBarrier, ID: 9}, nil)
	}()
	m, err := a.Receive()
	if err != nil || m.ID != 9 {
		t.Fatalf("idle connection: %+v, %v", m.Header, err)
	}
	if a.RTT() <= 0 || a.LastHeard() > time.Minute {
		t.Errorf("rtt %v, last heard %v", a.RTT(), a.LastHeard())
	}
}

// TestSilentPeer puts the peer behind a relay that stops.
func TestSilentPeer(t *testing.T) {
	b := newBench(t, 500*time.Millisecond)
	cut := relay(t, b)
	a, _ := b.pair(t)
	close(cut)
	_, err := a.Receive()
	if !errors.Is(err, ErrPeerTimeout) {
		t.Errorf("got %v", err)
	}
}

// relay redirects the dialer through a copy loop that swallows everything once
// the returned channel is closed, as a pulled cable does.
func relay(t *testing.T, b *bench) chan struct{} {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := b.dialer.Paths[0].Remote.String()
	b.dialer.Paths[0].Remote = addrPort(l.Addr())
	cut := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		t.Cleanup(func() { in.Close(); out.Close() })
		running.Go(func() { pour(in, out, cut) })
		pour(out, in, cut)
	})
	t.Cleanup(func() { l.Close() })
	return cut
}

func pour(to, from net.Conn, cut chan struct{}) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		select {
		case <-cut:
		default:
			to.Write(b[:n])
		}
	}
}

func TestRefusals(t *testing.T) {
	b := newBench(t, timeout)
	b.listener.Handle("data", func(p *Pending) { p.Refuse(errors.New("this volume is StandAlone")) })
	b.listener.Handle("mute", func(*Pending) {})
	for name, c := range map[string]struct {
		change func(*wire.Hello)
		want   string
	}{
		"by the volume":  {func(*wire.Hello) {}, "this volume is StandAlone"},
		"no answer":      {func(h *wire.Hello) { h.Volume = "mute" }, "did not answer"},
		"other cluster":  {func(h *wire.Hello) { h.Cluster = "other" }, string(wire.ForeignCluster)},
		"unknown volume": {func(h *wire.Hello) { h.Volume = "none" }, string(wire.ForeignVolume)},
		"same node":      {func(h *wire.Hello) { h.Node = 1 }, string(wire.ForeignNode)},
		"broken hello":   {func(h *wire.Hello) { h.DataSize = 1 }, string(wire.BadValue)},
	} {
		h := hello(0)
		c.change(&h)
		before := b.refusals()
		_, err := b.dialer.Dial(t.Context(), h)
		if !errors.Is(err, ErrPeerRefused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if b.refusals() != before+1 {
			t.Errorf("%s: not told to the listener's owner", name)
		}
	}
}

func TestWrongAnswers(t *testing.T) {
	b := newBench(t, timeout)
	b.listener.Handle("data", func(p *Pending) {
		if c, err := p.Accept(hello(0)); err == nil { // the dialer is node 0 itself
			c.Close(nil)
		}
	})
	if _, err := b.dialer.Dial(t.Context(), hello(0)); wire.ReasonOf(err) != wire.ForeignNode {
		t.Errorf("got %v", err)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	b := newBench(t, timeout)
	_, stranger := certificates(t)
	b.dialer.TLS = stranger
	if _, err := b.dialer.Dial(t.Context(), hello(0)); err == nil {
		t.Error("a server of another authority was accepted")
	}
	stranger.RootCAs = b.client.RootCAs
	if _, err := b.dialer.Dial(t.Context(), hello(0)); err == nil {
		t.Error("a client of another authority was accepted")
	}
	b.dialer.TLS = &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}
	if _, err := b.dialer.Dial(t.Context(), hello(0)); err == nil {
		t.Error("a configuration without verification was accepted")
	}
	if _, err := Listen(Options{TLS: &tls.Config{MinVersion: tls.VersionTLS13}}); err == nil {
		t.Error("a listener that asks for no certificate was accepted")
	}
}

// TestDamageOnTheWay speaks the protocol by hand after the opening.
func TestDamageOnTheWay(t *testing.T) {
	for want, message := range map[wire.Reason][]byte{
		wire.OutOfSequence: wire.AppendMessage(nil, wire.Header{Type: wire.TypePing, Seq: 2}, nil),
		wire.OutOfPlace:    wire.AppendMessage(nil, wire.Header{Type: wire.TypeHello}, nil),
		wire.NotGemel:      bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 4),
		wire.Oversized:     wire.AppendHeader(nil, &wire.Header{Type: wire.TypeWrite, Length: 1 << 30, Span: 1 << 30}),
		wire.BadPayloadSum: append(wire.AppendHeader(nil, &wire.Header{Type: wire.TypeWrite, Length: 4096, Span: 4096, PayloadCRC: 1}), make([]byte, 4096)...),
	} {
		a, b := newBench(t, timeout).pair(t)
		a.lane.write([][]byte{message})
		if _, err := b.Receive(); wire.ReasonOf(err) != want {
			t.Errorf("want %s, got %v", want, err)
		}
	}
}

func TestDialSaysWhyForEachPath(t *testing.T) {
	b := newBench(t, timeout)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	good := b.dialer.Paths[0]
	b.dialer.Paths = []Path{{Name: "first", Remote: addrPort(free.Addr())}, {Name: "second", Remote: addrPort(free.Addr())}}
	_, err = b.dialer.Dial(t.Context(), hello(0))
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "link first") || !strings.Contains(err.Error(), "link second") {
		t.Errorf("got %v", err)
	}
	b.dialer.Paths[1] = good
	if a, _ := b.pair(t); a.Path() != "private" {
		t.Errorf("path %q", a.Path())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.dialer.Dial(ctx, hello(0)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkThroughput(b *testing.B) {
	b.Run("tls", func(b *testing.B) { throughput(b, false) })
	b.Run("plain", func(b *testing.B) { throughput(b, true) })
}

func throughput(b *testing.B, plain bool) {
	a, peer, done := benchPair(b, plain)
	defer done()
	go echo(peer)
	data := make([]byte, 256<<10)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	go func() {
		for range b.N {
			a.Send(wire.Header{Type: wire.TypeWrite, Span: uint32(len(data))}, data)
		}
	}()
	for range b.N {
		if _, err := a.Receive(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestSendNowBesideSend has many senders of both kinds: nothing is lost, mixed
// up or out of sequence, whoever writes to the socket.
func TestSendNowBesideSend(t *testing.T) {
	b := newBench(t, timeout)
	from, to := b.pair(t)
	const senders, each = 6, 40
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			for n := range each {
				body := bytes.Repeat([]byte{byte(s)}, 1<<(n%9+12))
				h := wire.Header{Type: wire.TypeWrite, ID: uint64(s)<<32 + uint64(n), Epoch: 1, Span: uint32(len(body))}
				var err error
				if s%2 == 0 {
					err = from.Send(h, body)
				} else {
					err = from.SendNow([]Outgoing{{Header: h, Payload: body}, {Header: wire.Header{Type: wire.TypeBarrier, ID: 1}}})
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	next := [senders]uint64{}
	for got := 0; got < senders*each; {
		m, err := to.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if m.Type == wire.TypeWrite {
			s, n := m.ID>>32, m.ID&0xffffffff
			if n != next[s] || len(m.Payload) != 1<<(n%9+12) || m.Payload[0] != byte(s) || m.Payload[len(m.Payload)-1] != byte(s) {
				t.Fatalf("sender %d: message %d of %d bytes came, number %d was due", s, n, len(m.Payload), next[s])
			}
			next[s]++
			got++
		}
		m.Release()
	}
	all.Wait()
}

// BenchmarkRoundTrip is a small write there and its answer back, both sent by
// the goroutine that has them, as an idle volume does.
func BenchmarkRoundTrip(b *testing.B) {
	b.Run("tls", func(b *testing.B) { roundTrip(b, false) })
	b.Run("plain", func(b *testing.B) { roundTrip(b, true) })
}

func roundTrip(b *testing.B, plain bool) {
	a, peer, done := benchPair(b, plain)
	defer done()
	go func() {
		answer := make([]Outgoing, 1)
		for {
			m, err := peer.Receive()
			if err != nil {
				return
			}
			answer[0].Header = wire.Header{Type: wire.TypeWriteAck, ID: m.ID, Offset: m.Offset, Span: m.Span}
			peer.SendNow(answer)
			m.Release()
		}
	}()
	write := []Outgoing{{Header: wire.Header{Type: wire.TypeWrite, Span: 4096}, Payload: make([]byte, 4096)}}
	b.SetBytes(4096)
	b.ReportAllocs()
	for b.Loop() {
		a.SendNow(write)
		if _, err := a.Receive(); err != nil {
			b.Fatal(err)
		}
	}
}

// benchPair returns both ends of an open connection.
func benchPair(b *testing.B, plain bool) (dialed, accepted *Conn, done func()) {
	t := &testing.T{}
	bench := makeBench(t, timeout, plain)
	got := make(chan *Conn, 1)
	bench.listener.Handle("data", func(p *Pending) {
		c, _ := p.Accept(hello(1))
		got <- c
	})
	dialed, err := bench.dialer.Dial(context.Background(), hello(0))
	if err != nil {
		b.Fatal(err)
	}
	accepted = <-got
	return dialed, accepted, func() {
		for _, c := range []*Conn{dialed, accepted} {
			c.Close(nil)
			c.Wait()
		}
		bench.listener.Close()
	}
}
