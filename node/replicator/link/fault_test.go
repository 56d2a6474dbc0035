package link

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gemel/node/replicator/wire"
)

var faultSeeds = flag.Int("link.seeds", 3, "how many random runs of path faults")

// What a cable does.
const (
	flows  = iota
	pulled // swallows both directions, as a pulled cable does
	deaf   // swallows what the dialer sends
	mute   // swallows what the accepter sends
	stalls // takes and gives nothing
)

// cable is a path between dialer and accepter with faults. A connection that lost
// something breaks when the cable works again, where TCP would send it again.
type cable struct {
	name   string
	socket net.Listener
	target string

	mu     sync.Mutex
	mode   int
	ready  *sync.Cond // the mode changed
	open   map[net.Conn]*sync.Once
	broken map[net.Conn]bool
	over   bool
	all    sync.WaitGroup
}

func newCable(t *testing.T, name, target string) *cable {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{name: name, socket: socket, target: target, open: map[net.Conn]*sync.Once{}, broken: map[net.Conn]bool{}}
	c.ready = sync.NewCond(&c.mu)
	c.all.Go(c.accept)
	t.Cleanup(func() {
		socket.Close()
		c.mu.Lock()
		c.over = true
		c.mu.Unlock()
		c.reset()
		c.all.Wait()
	})
	return c
}

func (c *cable) path() Path {
	return Path{Name: c.name, Local: netip.MustParseAddr("127.0.0.1"), Remote: addrPort(c.socket.Addr())}
}

func (c *cable) accept() {
	for {
		in, err := c.socket.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", c.target)
		if err != nil {
			in.Close()
			continue
		}
		c.mu.Lock()
		c.open[in], c.open[out] = &sync.Once{}, &sync.Once{}
		over := c.over
		c.mu.Unlock()
		if over {
			c.reset()
		}
		c.all.Go(func() { c.pour(out, in, deaf) })
		c.all.Go(func() { c.pour(in, out, mute) })
	}
}

// pour carries one direction, which the fault called mine swallows. A connection
// that lost something stays broken.
func (c *cable) pour(to, from net.Conn, mine int) {
	defer c.drop(to)
	defer c.drop(from)
	b := make([]byte, 32<<10)
	lost := false
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		c.mu.Lock()
		for c.mode == stalls && !c.over {
			c.ready.Wait()
		}
		if c.mode == pulled || c.mode == mine {
			lost, c.broken[from], c.broken[to] = true, true, true
		}
		c.mu.Unlock()
		if lost {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

func (c *cable) drop(conn net.Conn) {
	c.mu.Lock()
	once := c.open[conn]
	c.mu.Unlock()
	once.Do(func() { conn.Close() })
}

func (c *cable) set(mode int) {
	c.mu.Lock()
	c.mode = mode
	c.ready.Broadcast()
	var broken []net.Conn
	for conn := range c.broken {
		if mode == flows {
			broken = append(broken, conn)
			delete(c.broken, conn)
		}
	}
	c.mu.Unlock()
	for _, conn := range broken {
		c.drop(conn)
	}
}

// reset ends every connection over the cable at once.
func (c *cable) reset() {
	c.mu.Lock()
	all := make([]net.Conn, 0, len(c.open))
	for conn := range c.open {
		all = append(all, conn)
	}
	c.ready.Broadcast()
	c.mu.Unlock()
	for _, conn := range all {
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		c.drop(conn)
	}
}

// cabled puts the bench's dialer on cables with faults.
func (b *bench) cabled(t *testing.T, names ...string) []*cable {
	target := b.listener.Addrs()[0].String()
	b.dialer.Paths = nil
	all := make([]*cable, 0, len(names))
	for _, name := range names {
		c := newCable(t, name, target)
		all = append(all, c)
		b.dialer.Paths = append(b.dialer.Paths, c.path())
	}
	return all
}

// await polls until ok, or fails the test with what it waited for.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func stateOf(c *Conn, name string) (s PathState) {
	for _, p := range c.Paths() {
		if p.Name == name {
			s = p
		}
	}
	return s
}

// traffic sends numbered messages of random sizes until told to stop, and checks
// that the other side gets every one once and in order.
type traffic struct {
	t         *testing.T
	from, to  *Conn
	stop      chan struct{}
	sent, got uint64
	all       sync.WaitGroup
}

func startTraffic(t *testing.T, from, to *Conn, seed uint64, inline bool) *traffic {
	x := &traffic{t: t, from: from, to: to, stop: make(chan struct{})}
	x.all.Go(func() { x.send(rand.New(rand.NewPCG(seed, 1)), inline) })
	x.all.Go(x.receive)
	return x
}

const lastMessage = 1 << 40

func (x *traffic) send(random *rand.Rand, inline bool) {
	data := make([]byte, wire.MaxPayload)
	for n := uint64(0); ; n++ {
		size := 4096 << random.IntN(9)
		h := wire.Header{Type: wire.TypeWrite, ID: n, Span: uint32(size)}
		select {
		case <-x.stop:
			h.Epoch = lastMessage
		default:
		}
		binary.BigEndian.PutUint64(data, n)
		binary.BigEndian.PutUint64(data[size-8:], n)
		var err error
		if inline && random.IntN(2) == 0 {
			err = x.from.SendNow([]Outgoing{{Header: h, Payload: data[:size]}})
		} else {
			err = x.from.Send(h, data[:size])
		}
		if err != nil {
			x.t.Errorf("message %d: %v", n, err)
			return
		}
		if x.sent = n; h.Epoch == lastMessage {
			return
		}
	}
}

func (x *traffic) receive() {
	for n := uint64(0); ; n++ {
		m, err := x.to.Receive()
		if err != nil {
			x.t.Errorf("waiting for message %d: %v", n, err)
			return
		}
		if m.ID != n || binary.BigEndian.Uint64(m.Payload) != n || binary.BigEndian.Uint64(m.Payload[len(m.Payload)-8:]) != n {
			x.t.Errorf("message %d came, number %d was due", m.ID, n)
		}
		x.got = n
		last := m.Epoch == lastMessage
		m.Release()
		if last {
			return
		}
	}
}

func (x *traffic) finish() {
	close(x.stop)
	x.all.Wait()
	if x.got != x.sent {
		x.t.Errorf("%d messages were sent, %d came", x.sent+1, x.got+1)
	}
}

// TestRandomFaults has traffic both ways over three cables and breaks them at
// random, at least one of them whole at any time: every message arrives once and
// in order, and the session lives.
func TestRandomFaults(t *testing.T) {
	for seed := range *faultSeeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { randomFaults(t, uint64(seed)) })
	}
}

func randomFaults(t *testing.T, seed uint64) {
	bench := newBench(t, 60*time.Second)
	cables := bench.cabled(t, "first", "second", "third")
	bench.dialer.PathTimeout, bench.dialer.HoldDown = 40*time.Millisecond, 50*time.Millisecond
	a, b := bench.pair(t)
	there := startTraffic(t, a, b, seed, true)
	back := startTraffic(t, b, a, seed+1000, false)
	random := rand.New(rand.NewPCG(seed, 0))
	modes := make([]int, len(cables))
	for range 25 {
		i := random.IntN(len(cables))
		mode := []int{flows, flows, flows, pulled, deaf, mute, stalls}[random.IntN(7)]
		whole := 0
		for j := range modes {
			if j != i && modes[j] == flows {
				whole++
			}
		}
		if mode != flows && whole == 0 {
			mode = flows
		}
		modes[i] = mode
		cables[i].set(mode)
		if whole > 0 && random.IntN(3) == 0 {
			cables[i].reset()
		}
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
	}
	for _, c := range cables {
		c.set(flows)
	}
	there.finish()
	back.finish()
	moves := 0
	for _, p := range a.Paths() {
		moves += p.Moves
	}
	t.Logf("%d messages there, %d back, %d moves", there.sent, back.sent, moves)
	if a.Err() != nil || b.Err() != nil {
		t.Errorf("the session ended: %v, %v", a.Err(), b.Err())
	}
}

// TestEachFault breaks the path in use in every way, with nothing else said: the
// session moves, and moves back when the path is well again.
func TestEachFault(t *testing.T) {
	for name, mode := range map[string]int{"cut": pulled, "deaf": deaf, "mute": mute, "stalls": stalls, "reset": flows} {
		t.Run(name, func(t *testing.T) {
			bench := newBench(t, timeout)
			cables := bench.cabled(t, "private", "lan")
			bench.dialer.PathTimeout, bench.dialer.HoldDown = 50*time.Millisecond, 100*time.Millisecond
			a, b := bench.pair(t)
			var mu sync.Mutex
			var moves []Move
			a.Watch(nil, func(m Move) {
				mu.Lock()
				defer mu.Unlock()
				moves = append(moves, m)
			})
			traffic := startTraffic(t, a, b, 1, true)
			drain := startTraffic(t, b, a, 2, false)
			await(t, "both paths connected", func() bool {
				return stateOf(a, "private").State == InUse && stateOf(a, "lan").State == Standby
			})
			cables[0].set(mode)
			if mode == flows {
				cables[0].reset()
			}
			await(t, "a move", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(moves) > 0
			})
			cables[0].set(flows)
			await(t, "the way back", func() bool {
				return stateOf(a, "private").State == InUse && stateOf(b, "private").State == InUse
			})
			traffic.finish()
			drain.finish()
			mu.Lock()
			t.Logf("moves: %v", moves)
			mu.Unlock()
		})
	}
}

// TestOnePathOutlivesItsConnection: with a single path a broken connection is
// replaced by another one over the same path.
func TestOnePathOutlivesItsConnection(t *testing.T) {
	bench := newBench(t, timeout)
	bench.cabled(t, "private")
	a, b := bench.pair(t)
	traffic := startTraffic(t, a, b, 1, true)
	await(t, "a second connection", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.standby) == 1
	})
	a.mu.Lock()
	a.lane.raw.Close() // as a firewall that forgets a connection
	a.mu.Unlock()
	await(t, "a move", func() bool { return stateOf(a, "private").Moves == 1 })
	traffic.finish()
}

// TestRestartedPeer: a peer that does not know the session ends it at once, long
// before any timeout; it must not be resumed.
func TestRestartedPeer(t *testing.T) {
	bench := newBench(t, time.Hour)
	cables := bench.cabled(t, "private", "lan")
	a, b := bench.pair(t)
	await(t, "both paths", func() bool { return stateOf(a, "lan").State == Standby })
	bench.listener.mu.Lock()
	clear(bench.listener.sessions) // as a new process has none
	bench.listener.mu.Unlock()
	for _, c := range cables {
		c.reset()
	}
	_, err := a.Receive()
	if !errors.Is(err, errUnknownSession) {
		t.Errorf("got %v", err)
	}
	b.Close(nil)
}

// TestPeerThatIsGone: when nobody listens on any path any more, the session ends
// at once.
func TestPeerThatIsGone(t *testing.T) {
	bench := newBench(t, time.Hour)
	cables := bench.cabled(t, "private", "lan")
	a, _ := bench.pair(t)
	await(t, "both paths", func() bool { return stateOf(a, "lan").State == Standby })
	for _, c := range cables {
		c.socket.Close()
		c.reset()
	}
	if _, err := a.Receive(); !errors.Is(err, ErrPeerClosed) {
		t.Errorf("got %v", err)
	}
}

// TestAllPathsSilent: the session ends after the peer timeout.
func TestAllPathsSilent(t *testing.T) {
	bench := newBench(t, 500*time.Millisecond)
	cables := bench.cabled(t, "private", "lan")
	a, b := bench.pair(t)
	for _, c := range cables {
		c.set(pulled)
	}
	for _, c := range []*Conn{a, b} {
		if _, err := c.Receive(); !errors.Is(err, ErrPeerTimeout) {
			t.Errorf("got %v", err)
		}
	}
}

// TestForeignLane: a connection that cannot prove the session's key does not get
// into it.
func TestForeignLane(t *testing.T) {
	bench := newBench(t, timeout)
	a, b := bench.pair(t)
	key := a.key
	key.key = []byte("another")
	if _, err := bench.dialer.another(t.Context(), 0, &key); wire.ReasonOf(err) != wire.WrongEcho {
		t.Errorf("the answer was taken: %v", err)
	}
	key.id[0]++
	if _, err := bench.dialer.another(t.Context(), 0, &key); !errors.Is(err, errUnknownSession) {
		t.Errorf("got %v", err)
	}
	if a.Err() != nil || b.Err() != nil {
		t.Errorf("the session ended: %v, %v", a.Err(), b.Err())
	}
}

// TestPeerWithoutPaths: a peer that lacks the feature, and has others, gets one
// connection, and the session ends with it.
func TestPeerWithoutPaths(t *testing.T) {
	a, b := newBench(t, timeout).pair(t)
	a.Close(nil)
	b.Close(nil)
	peer := hello(1)
	peer.Features = ^wire.FeaturePaths
	c := &Conn{pace: newPace(timeout, 0, 0), peer: peer, dialer: &Dialer{}}
	c.lostWhy = errors.New("the connection broke")
	c.road("private")
	c.dialMissing(c.now())
	if c.roads[0].dialing {
		t.Error("a second connection is dialed")
	}
	if err := c.over(0); !errors.Is(err, c.lostWhy) {
		t.Errorf("got %v", err)
	}
}

// TestOtherVersions says hello by hand, as other releases would.
func TestOtherVersions(t *testing.T) {
	bench := newBench(t, timeout)
	opened := make(chan *Conn, 1)
	bench.listener.Handle("data", func(p *Pending) {
		c, err := p.Accept(hello(1))
		if err != nil {
			t.Error(err)
		}
		opened <- c
	})
	for _, c := range []struct {
		low, high uint16
		features  uint32
		reason    wire.Reason
	}{
		{wire.VersionMax + 1, wire.VersionMax + 4, 1, wire.NoVersion},
		{0, wire.VersionMin - 1, 1, wire.NoVersion},
		{wire.VersionMax, wire.VersionMin - 1, 1, wire.NoVersion},
		{0, wire.VersionMax + 9, ^uint32(0), ""},
	} {
		l, err := bench.dialer.connect(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		h := hello(0)
		h.VersionMin, h.VersionMax, h.Features, h.Nonce[0] = c.low, c.high, c.features, 7
		if err := l.talk(wire.Header{Type: wire.TypeHello}, wire.AppendHello(nil, &h)); err != nil {
			t.Fatal(err)
		}
		answer, err := l.hello(wire.TypeHelloReply)
		if c.reason != "" {
			if !errors.Is(err, ErrPeerRefused) || !strings.Contains(err.Error(), string(c.reason)) {
				t.Errorf("%d to %d: %v", c.low, c.high, err)
			}
			continue
		}
		if err != nil || answer.Features != wire.FeaturePaths {
			t.Fatalf("features %#x, %v", answer.Features, err)
		}
		h.Echo = answer.Nonce
		if err := l.talk(wire.Header{Type: wire.TypeHelloConfirm}, wire.AppendHello(nil, &h)); err != nil {
			t.Fatal(err)
		}
		conn := <-opened
		if conn.Version() != wire.VersionMax {
			t.Errorf("version %d", conn.Version())
		}
		conn.Close(nil)
		conn.Wait()
		l.raw.Close()
	}
}

// TestPlain has no TLS, and says the same things.
func TestPlain(t *testing.T) {
	bench := makeBench(t, timeout, true)
	cables := bench.cabled(t, "private", "lan")
	a, b := bench.pair(t)
	there, back := startTraffic(t, a, b, 1, true), startTraffic(t, b, a, 2, false)
	await(t, "both paths", func() bool { return stateOf(a, "lan").State == Standby })
	cables[0].reset()
	await(t, "a move", func() bool { return stateOf(a, "lan").Moves+stateOf(a, "private").Moves > 0 })
	there.finish()
	back.finish()
	other := *bench.dialer // the session still opens lanes with the first
	other.Plain = false
	if _, err := other.Dial(t.Context(), hello(0)); err == nil {
		t.Error("TLS met a plain listener and was content")
	}
}
