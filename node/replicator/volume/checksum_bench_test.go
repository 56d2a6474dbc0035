package volume

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/replicator/buffer"
	"gemel/node/replicator/volume/core"
)

// gigabit is what a gigabit cable carries of payload, bytes per second.
const gigabit = 117_500_000

// cable carries connections to a listener at the rate of a cable, each way, and
// counts what went over it.
type cable struct {
	listener net.Listener
	to       string
	wg       sync.WaitGroup
	mu       sync.Mutex
	carried  int64
	open     []net.Conn
}

func newCable(tb testing.TB, to netip.AddrPort) *cable {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	c := &cable{listener: l, to: to.String()}
	c.wg.Go(c.serve)
	tb.Cleanup(func() {
		_ = l.Close()
		c.mu.Lock()
		for _, conn := range c.open {
			_ = conn.Close()
		}
		c.mu.Unlock()
		c.wg.Wait()
	})
	return c
}

func (c *cable) at() netip.AddrPort { return c.listener.Addr().(*net.TCPAddr).AddrPort() }

func (c *cable) serve() {
	for {
		a, err := c.listener.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", c.to)
		if err != nil {
			_ = a.Close()
			continue
		}
		c.mu.Lock()
		c.open = append(c.open, a, b)
		c.mu.Unlock()
		c.wg.Go(func() { c.carry(a, b) })
		c.wg.Go(func() { c.carry(b, a) })
	}
}

// carry is one direction of a connection.
func (c *cable) carry(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	chunk := make([]byte, 64<<10)
	for free := time.Now(); ; {
		n, err := from.Read(chunk)
		if err != nil {
			return
		}
		c.mu.Lock()
		c.carried += int64(n)
		c.mu.Unlock()
		if now := time.Now(); free.Before(now) {
			free = now
		}
		free = free.Add(time.Duration(n) * time.Second / gigabit)
		time.Sleep(time.Until(free) - time.Millisecond)
		if _, err := to.Write(chunk[:n]); err != nil {
			return
		}
	}
}

// cpuTime is what this process, both replicas and the cable, has used.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkResyncOfAnIdenticalDisk has a replica that holds everything already
// filled anew over a gigabit cable; x-link is how much faster than the cable it
// went.
func BenchmarkResyncOfAnIdenticalDisk(b *testing.B) {
	const size = 1 << 30
	b.SetBytes(size)
	for range b.N {
		b.StopTimer()
		p := newPairTuned(b, size, func(o *Options) { o.Checksums = core.ChecksumsOn })
		p.pull(true)
		chunk := buffer.Aligned(1 << 20)
		for i := range p.disks { // the same on both, and nowhere zero
			for off := int64(0); off+1<<20 <= p.v[i].SizeBytes(); off += 1 << 20 {
				for j := 0; j < len(chunk); j += 512 {
					chunk[j] = byte(off>>20) + byte(j>>9) | 1
				}
				if err := p.disks[i].WriteAt(chunk, off); err != nil {
					b.Fatal(err)
				}
			}
		}
		p.promote(0, 2, true)
		p.cut.Lock() // nobody dials
		c := newCable(b, p.dialer.Paths[0].Remote)
		p.dialer.Paths[0].Remote = c.at()
		p.cut.Unlock()
		b.StartTimer()
		begun, cpu := time.Now(), cpuTime()
		p.pull(false)
		s := p.until(0, "in sync", ready)
		took := time.Since(begun)
		b.StopTimer()
		c.mu.Lock()
		b.ReportMetric(float64(s.Counters.Same)/took.Seconds()/gigabit, "x-link")
		b.ReportMetric(float64(c.carried)/1e6, "MB-sent")
		b.ReportMetric((cpuTime() - cpu).Seconds(), "cpu-s")
		c.mu.Unlock()
	}
}
