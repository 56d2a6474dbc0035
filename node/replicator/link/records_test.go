package link

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand"
	"net"
	"strings"
	"testing"
	"time"
)

// ends are the two ends of one TCP connection after a TLS handshake: ours, and
// crypto/tls.
type ends struct {
	ours   *lane
	theirs *tls.Conn
}

// joined makes the handshake; dials says whether ours begins it.
func joined(t *testing.T, dials bool, server *tls.Config) ends {
	t.Helper()
	var client *tls.Config
	if server == nil {
		server, client = certificates(t)
	} else {
		client = &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	e := ends{}
	if dials {
		e = ends{newLane("x", dialed, client, true, timeout), tls.Server(accepted, server)}
	} else {
		e = ends{newLane("x", accepted, server, false, timeout), tls.Client(dialed, client)}
	}
	for _, c := range []net.Conn{dialed, accepted} {
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	}
	done := make(chan error, 1)
	go func() { done <- e.theirs.Handshake() }()
	if err := errors.Join(e.ours.handshake(t.Context()), <-done); err != nil {
		t.Fatal(err)
	}
	return e
}

// carry sends random pieces from one end to the other and wants them to arrive.
func carry(t *testing.T, seed int64, send func([]byte) error, from io.Reader) {
	t.Helper()
	rng := rand.New(rand.NewSource(seed))
	all := make([]byte, 3<<20+rng.Intn(1<<20))
	rng.Read(all)
	sent := make(chan error, 1)
	go func() {
		var err error
		for rest := all; len(rest) > 0 && err == nil; {
			n := min(len(rest), 1+rng.Intn(1<<(1+rng.Intn(20))))
			err = send(bytes.Clone(rest[:n]))
			rest = rest[n:]
		}
		sent <- err
	}()
	got := make([]byte, len(all))
	reads := rand.New(rand.NewSource(seed + 1))
	for at := 0; at < len(got); {
		n, err := from.Read(got[at : at+min(len(got)-at, 1+reads.Intn(1<<(1+reads.Intn(18))))])
		if at += n; err != nil {
			t.Fatalf("after %d bytes: %v", at, err)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, all) {
		t.Error("something else has arrived")
	}
}

// split sends p in several parts, as a session does.
func (e ends) split(p []byte) error {
	at := len(p) / 3
	return e.ours.write([][]byte{p[:at:at], nil, p[at : 2*at : 2*at], p[2*at:]})
}

func (e ends) send(p []byte) error {
	_, err := e.theirs.Write(p)
	return err
}

func TestRecordsAreThoseOfTLS(t *testing.T) {
	for _, dials := range []bool{true, false} {
		e := joined(t, dials, nil)
		e.ours.data.to.most = 7 // records, then another key
		for seed := range int64(3) {
			carry(t, seed, e.split, e.theirs)
			carry(t, seed+10, e.send, e.ours.in)
			e.ours.widen()
		}
	}
}

func TestTicketsAreLeftAlone(t *testing.T) {
	server, _ := certificates(t)
	server = server.Clone()
	server.ClientAuth, server.SessionTicketsDisabled = tls.RequestClientCert, false
	e := joined(t, true, server)
	carry(t, 1, e.send, e.ours.in)
	carry(t, 2, e.split, e.theirs)
}

func TestAnOrderlyEndIsAnEnd(t *testing.T) {
	e := joined(t, true, nil)
	if err := e.theirs.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.ours.in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

// A server that does not know the client's certificate says so when the client
// believes the handshake over.
func TestAnAlertIsToldInWords(t *testing.T) {
	server, _ := certificates(t)
	b := newBench(t, timeout)
	b.dialer.TLS = b.dialer.TLS.Clone()
	b.dialer.TLS.Certificates = server.Certificates // of another authority
	_, err := b.dialer.Dial(t.Context(), hello(0))
	if alert := (tls.AlertError)(0); !errors.As(err, &alert) && (err == nil || !strings.Contains(err.Error(), "tls:")) {
		t.Errorf("got %v", err)
	}
}

// twoOf is both directions between two ends of ours with given keys.
func twoOf(t *testing.T, id uint16) (a, b *records, wire *bytes.Buffer) {
	t.Helper()
	wire = &bytes.Buffer{}
	state := &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: id}
	secret := func() *secrets {
		return &secrets{bytes.Repeat([]byte{1}, suites[id].hash().Size()), bytes.Repeat([]byte{2}, suites[id].hash().Size())}
	}
	a, err := newRecords(wire, bufio.NewReader(wire), state, secret(), true)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = newRecords(wire, bufio.NewReaderSize(wire, 100), state, secret(), false); err != nil {
		t.Fatal(err)
	}
	return a, b, wire
}

func TestEverySuite(t *testing.T) {
	for id := range suites {
		a, b, _ := twoOf(t, id)
		if err := a.write([][]byte{bytes.Repeat([]byte{7}, 40<<10)}); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 40<<10)
		if _, err := io.ReadFull(b, got); err != nil || got[0] != 7 || got[len(got)-1] != 7 {
			t.Errorf("%s: %v", tls.CipherSuiteName(id), err)
		}
	}
}

func TestNewKeysOnRequest(t *testing.T) {
	a, b, _ := twoOf(t, tls.TLS_AES_128_GCM_SHA256)
	b.asked.Store(true)
	before := bytes.Clone(b.to.secret)
	if err := b.write([][]byte{{1}}); err != nil || bytes.Equal(before, b.to.secret) || b.asked.Load() {
		t.Errorf("the keys are the old ones, %v", err)
	}
	if _, err := io.ReadFull(a, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// Whatever is changed on the way, nothing is taken that was not sent.
func TestDamagedRecordsAreRefused(t *testing.T) {
	const id = tls.TLS_AES_128_GCM_SHA256
	a, _, wire := twoOf(t, id)
	if err := a.write([][]byte{[]byte("what was sent")}); err != nil {
		t.Fatal(err)
	}
	good := bytes.Clone(wire.Bytes())
	for at := range good {
		for _, direct := range []int{4, 100} {
			_, b, wire := twoOf(t, id)
			wire.Write(good)
			wire.Bytes()[at] ^= 1
			wire.Write(make([]byte, 300))
			if n, err := b.Read(make([]byte, direct)); n != 0 || err == nil {
				t.Errorf("byte %d: %d bytes were taken, %v", at, n, err)
			}
		}
	}
	_, b, wire := twoOf(t, id)
	wire.Write(good)
	wire.Write(good) // once more, as a replay
	got, err := io.ReadAll(b)
	if string(got) != "what was sent" || !errors.Is(err, errRecord) {
		t.Errorf("%q, %v", got, err)
	}
	_, b, wire = twoOf(t, id)
	wire.Write(good[:len(good)-1])
	if _, err := b.Read(make([]byte, 100)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a record cut short: %v", err)
	}
}
