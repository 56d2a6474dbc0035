package volume

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	mathrand "math/rand"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gemel/node/arbiter"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/control"
	"gemel/node/replicator/disk"
	"gemel/node/replicator/link"
	"gemel/node/replicator/meta"
)

// pair is two volumes on files, connected over loopback TLS.
type pair struct {
	t       testing.TB
	v       [2]*Volume
	disks   [2]*disk.Disk
	paths   [2]string
	faulty  [2]*faultyDisk // what the volumes work on
	dialer  *link.Dialer
	listen  *link.Listener
	cut     sync.Mutex // held: Connect waits
	cutLost bool
	signal  [2]chan struct{}

	stops [2]func()
	tune  func(*Options)
}

func newPair(t testing.TB, size int64) *pair { return newPairWith(t, size, 0) }

// newPairWith is newPair with a limit of what the disks may take for a request.
func newPairWith(t testing.TB, size int64, diskTimeout time.Duration) *pair {
	return newPairTuned(t, size, func(o *Options) { o.DiskTimeout = diskTimeout })
}

// newPairTuned is newPair with other options.
func newPairTuned(t testing.TB, size int64, tune func(*Options)) *pair {
	p := &pair{t: t, tune: tune}
	server, client := testTLS(t)
	var err error
	p.listen, err = link.Listen(link.Options{Cluster: "test", Node: 1, TLS: server, PeerTimeout: 5 * time.Second,
		Addresses: []link.Address{{Link: "loop", At: netip.MustParseAddrPort("127.0.0.1:0")}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.listen.Close)
	at := p.listen.Addrs()[0].(*net.TCPAddr).AddrPort()
	p.dialer = &link.Dialer{TLS: client, PeerTimeout: 5 * time.Second,
		Paths: []link.Path{{Name: "loop", Remote: at}}}
	for i := range p.v {
		p.paths[i] = filepath.Join(t.TempDir(), fmt.Sprintf("disk%d", i))
		if err := os.WriteFile(p.paths[i], nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(p.paths[i], size); err != nil {
			t.Fatal(err)
		}
		p.signal[i] = make(chan struct{}, 1)
		p.open(i, true)
	}
	return p
}

func (p *pair) open(i int, create bool) {
	p.t.Helper()
	d, err := disk.Open(p.paths[i])
	if err != nil {
		p.t.Fatal(err)
	}
	params := meta.Params{Cluster: "test", Volume: "data", Node: arbiter.NodeID(i)}
	var store *meta.Store
	if create {
		store, err = meta.Create(d, params, false)
	} else {
		store, err = meta.Open(d, params)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	connect, remove := Dial(p.dialer), func() {}
	if i == 1 {
		connect, remove = Accept(p.listen, "data")
	}
	p.faulty[i] = &faultyDisk{Device: d}
	o := Options{Cluster: "test", Name: "data", Node: arbiter.NodeID(i), Backing: p.paths[i], Disk: p.faulty[i], Store: store,
		Connect: p.gate(connect), PeerTimeout: 5 * time.Second, ConnectInterval: 20 * time.Millisecond,
		Seed: mathrand.Uint64(), Changed: func() {
			select {
			case p.signal[i] <- struct{}{}:
			default:
			}
		}}
	p.tune(&o)
	v, err := New(o)
	if err != nil {
		p.t.Fatal(err)
	}
	p.v[i], p.disks[i] = v, d
	p.stops[i] = sync.OnceFunc(func() {
		remove()
		v.Close()
		d.Close()
	})
	p.t.Cleanup(p.stops[i])
}

// stop ends node i's replicator as a crash does.
func (p *pair) stop(i int) { p.stops[i]() }

// gate holds new connections back while the cable is pulled.
func (p *pair) gate(c Connect) Connect {
	return func(ctx context.Context, h Hello) (*link.Conn, error) {
		p.cut.Lock()
		lost := p.cutLost
		p.cut.Unlock()
		if lost {
			return nil, link.ErrUnreachable
		}
		return c(ctx, h)
	}
}

func (p *pair) pull(lost bool) {
	p.cut.Lock()
	p.cutLost = lost
	p.cut.Unlock()
	if !lost {
		return
	}
	for _, v := range p.v {
		v.mu.Lock()
		if v.conn != nil {
			v.conn.Close(link.ErrUnreachable)
		}
		v.mu.Unlock()
	}
}

// until waits for volume i to be as wanted.
func (p *pair) until(i int, what string, want func(control.VolumeState) bool) control.VolumeState {
	p.t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		if s := p.v[i].State(); want(s) {
			return s
		}
		select {
		case <-p.signal[i]:
		case <-time.After(50 * time.Millisecond): // counters change without a word
		case <-deadline:
			p.t.Fatalf("node %d: %s: still %+v\npeer %+v", i, what, p.v[i].State(), p.v[1-i].State())
		}
	}
}

// record makes the register of node i accept a, and the Primary hear of it.
func (p *pair) record(i int, a arbiter.Accepted) {
	p.t.Helper()
	r, err := p.v[i].Accept(arbiter.AcceptRequest{Accepted: a})
	if err != nil || !r.OK {
		p.t.Fatalf("accept %+v: %+v %v", a, r, err)
	}
}

func (p *pair) promote(i int, epoch arbiter.Epoch, birth bool) {
	p.t.Helper()
	if r, err := p.v[i].Prepare(arbiter.PrepareRequest{Epoch: epoch}); err != nil || !r.OK {
		p.t.Fatalf("prepare: %+v %v", r, err)
	}
	a := arbiter.Accepted{Epoch: epoch, Version: 1, Set: arbiter.Only(arbiter.NodeID(i))}
	p.record(i, a)
	if _, err := p.v[i].Promote(control.PromoteRequest{Chosen: a, Birth: birth}); err != nil {
		p.t.Fatal(err)
	}
}

// choose records set as version of node i's reign and tells the replica.
func (p *pair) choose(i int, epoch arbiter.Epoch, version uint32, set arbiter.Set) {
	p.t.Helper()
	a := arbiter.Accepted{Epoch: epoch, Version: version, Set: set}
	p.record(i, a)
	if err := p.v[i].Lease(control.LeaseRequest{Epoch: epoch, Until: int64(Now() + time.Hour)}); err != nil {
		p.t.Fatal(err)
	}
	if err := p.v[i].Chosen(control.ChosenRequest{Chosen: a}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) identical() {
	p.t.Helper()
	size := p.v[0].SizeBytes()
	a, b := buffer.Aligned(1<<20), buffer.Aligned(1<<20)
	for off := int64(0); off < size; off += 1 << 20 {
		n := min(1<<20, size-off)
		if err := p.disks[0].ReadAt(a[:n], off); err != nil {
			p.t.Fatal(err)
		}
		if err := p.disks[1].ReadAt(b[:n], off); err != nil {
			p.t.Fatal(err)
		}
		if !bytes.Equal(a[:n], b[:n]) {
			p.t.Fatalf("replicas differ within %d+%d", off, n)
		}
	}
}

func ready(s control.VolumeState) bool     { return s.ReadyToGrow }
func connected(s control.VolumeState) bool { return s.Connection == control.Connected }

// write writes n random runs of up to most bytes with some workers at once.
func write(t testing.TB, v *Volume, seed int64, n int, most int64) {
	t.Helper()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := mathrand.New(mathrand.NewSource(seed*10 + int64(w)))
			b := buffer.Aligned(int(most))
			for range n / 4 {
				length := (1 + rng.Int63n(most/4096)) * 4096
				rng.Read(b[:length])
				off := rng.Int63n((v.SizeBytes()-length)/4096) * 4096
				if err := v.WriteAt(b[:length], off, rng.Intn(50) == 0); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
}

func TestLifeOfAVolume(t *testing.T) {
	p := newPair(t, 48<<20)
	p.until(0, "connect", connected)
	p.promote(0, 2, true)
	write(t, p.v[0], 1, 100, 64<<10) // while the first sync runs
	first := p.until(0, "first sync", ready)
	if first.Counters.Resynced < 40<<20 {
		t.Errorf("the first sync copied %d bytes only", first.Counters.Resynced)
	}
	p.choose(0, 2, 2, arbiter.Both)
	write(t, p.v[0], 2, 200, 64<<10)
	if err := p.v[0].Flush(); err != nil {
		t.Fatal(err)
	}
	p.identical()
	if s := p.v[1].State(); s.Disk != control.UpToDate || s.Epoch != 2 {
		t.Errorf("secondary: %+v", s)
	}

	p.pull(true)
	p.until(0, "loss", func(s control.VolumeState) bool { return s.WantShrink })
	held := make(chan error, 1)
	page := buffer.Aligned(4096)
	copy(page, "written while the peer was lost")
	go func() { held <- p.v[0].WriteAt(page, 8192, true) }()
	if r, _ := p.v[0].Accept(arbiter.AcceptRequest{Accepted: arbiter.Accepted{Epoch: 2, Version: 3, Set: arbiter.Only(0)}}); !r.OK {
		t.Fatalf("shrink refused: %+v", r)
	}
	select {
	case err := <-held:
		t.Fatalf("a write was acknowledged before the shrink was chosen: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	p.choose(0, 2, 3, arbiter.Only(0))
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	if r, _ := p.v[0].Accept(arbiter.AcceptRequest{Accepted: arbiter.Accepted{Epoch: 2, Version: 4, Set: arbiter.Both}}); r.OK {
		t.Fatal("the register let an absent peer in")
	}
	before := p.v[0].State()
	p.pull(false)
	after := p.until(0, "second sync", ready)
	if copied := after.Counters.Resynced - before.Counters.Resynced; copied == 0 || copied > 2*before.OutOfSync {
		t.Errorf("resync copied %d bytes, %d were out of sync", copied, before.OutOfSync)
	}
	p.identical()

	p.choose(0, 2, 4, arbiter.Both)
	if err := p.v[0].Demote(t.Context(), control.DemoteRequest{Clean: true}); err != nil {
		t.Fatal(err)
	}
	p.promote(1, 5, false)
	p.until(1, "switchover without a resync", ready)
	if s := p.v[1].State(); s.Counters.Resynced != p.v[0].State().Counters.Resynced && s.OutOfSync != 0 {
		t.Errorf("after a clean hand-over: %+v", s)
	}
	got := buffer.Aligned(4096)
	if err := p.v[1].ReadAt(got, 8192); err != nil || !bytes.Equal(got, page) {
		t.Errorf("the other node reads %q, %v", got[:40], err)
	}
	if err := p.v[0].WriteAt(page, 0, false); err == nil {
		t.Error("a Secondary took a write")
	}
}

func TestAWriteLongerThanAMessage(t *testing.T) {
	p := newPair(t, 24<<20)
	p.promote(0, 2, true)
	p.until(0, "first sync", ready)
	p.choose(0, 2, 2, arbiter.Both)
	long := buffer.Aligned(3<<20 + 4096)
	mathrand.New(mathrand.NewSource(1)).Read(long)
	if err := p.v[0].WriteAt(long, 8192, true); err != nil {
		t.Fatal(err)
	}
	p.identical()
	got := buffer.Aligned(len(long))
	if err := p.v[0].ReadAt(got, 8192); err != nil || !bytes.Equal(got, long) {
		t.Errorf("something else is read, %v", err)
	}
}

func TestLettingGoEndsHeldWrites(t *testing.T) {
	p := newPair(t, 24<<20)
	p.promote(0, 2, true)
	p.until(0, "first sync", ready)
	p.choose(0, 2, 2, arbiter.Both)
	p.pull(true)
	p.until(0, "loss", func(s control.VolumeState) bool { return s.WantShrink })
	held := make(chan error, 1)
	go func() { held <- p.v[0].WriteAt(bytes.Repeat([]byte{7}, 4096), 4096, false) }()
	p.until(0, "the write to be under way", func(s control.VolumeState) bool { return s.OutOfSync > 0 })
	if err := p.v[0].Demote(t.Context(), control.DemoteRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := <-held; err == nil {
		t.Fatal("a held write was acknowledged on letting go")
	}
	p.promote(1, 5, false)
	p.pull(false)
	p.until(1, "resync away", ready)
	p.identical()
	b := buffer.Aligned(4096)
	if err := p.v[1].ReadAt(b, 4096); err != nil || b[0] != 0 {
		t.Errorf("the write that was never acknowledged is there: %d %v", b[0], err)
	}
}

func BenchmarkReplicatedWrites(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			p := newPair(b, 256<<20)
			p.promote(0, 2, true)
			p.until(0, "first sync", ready)
			p.choose(0, 2, 2, arbiter.Both)
			b.SetBytes(int64(size))
			b.SetParallelism(4)
			blocks := p.v[0].SizeBytes()/int64(size) - 1
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				buf := buffer.Aligned(size)
				rng := mathrand.New(mathrand.NewSource(mathrand.Int63()))
				for pb.Next() {
					if err := p.v[0].WriteAt(buf, rng.Int63n(blocks)*int64(size), false); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkFUA writes one block after the other, each stable on both disks.
func BenchmarkFUA(b *testing.B) {
	p := newPair(b, 256<<20)
	p.promote(0, 2, true)
	p.until(0, "first sync", ready)
	p.choose(0, 2, 2, arbiter.Both)
	buf := buffer.Aligned(4096)
	buf[0] = 1
	for i := range int64(4096) { // the files get their blocks now, not in the measured part
		if err := p.v[0].WriteAt(buf, i*4096, false); err != nil {
			b.Fatal(err)
		}
	}
	for name, write := range map[string]func(off int64) error{
		"fua": func(off int64) error { return p.v[0].WriteAt(buf, off, true) },
		"write and flush": func(off int64) error {
			if err := p.v[0].WriteAt(buf, off, false); err != nil {
				return err
			}
			return p.v[0].Flush()
		},
	} {
		b.Run(name, func(b *testing.B) {
			for i := range int64(b.N) {
				if err := write(i % 4096 * 4096); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFirstSync reports the rate of a full resync.
func BenchmarkFirstSync(b *testing.B) {
	b.SetBytes(256 << 20)
	for range b.N {
		b.StopTimer()
		p := newPair(b, 256<<20)
		chunk := buffer.Aligned(1 << 20)
		rand.Read(chunk)         // zeroes would not be sent
		for i := range p.disks { // the files get their blocks now, not in the measured part
			for off := int64(0); off+1<<20 <= p.disks[i].Size()-4<<20; off += 1 << 20 {
				if err := p.disks[i].WriteAt(chunk, off); err != nil {
					b.Fatal(err)
				}
			}
		}
		p.promote(0, 2, true)
		b.StartTimer()
		p.until(0, "first sync", ready)
	}
}

// testTLS makes both sides of mutual TLS with one throw-away certificate.
func testTLS(t testing.TB) (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"peer"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	certs := []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	server = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: certs, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	client = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: certs, RootCAs: pool, ServerName: "peer"}
	return server, client
}
