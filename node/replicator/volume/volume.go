// Package volume moves the data of one replicated volume: it feeds the core
// with what happens and carries its actions out on disk, metadata and link. It
// decides nothing itself; what is complete, who is source and when to freeze is
// package core's business. It knows neither configuration nor control socket.
//
// One mutex guards the core. An application's write runs in its caller's
// goroutine: it sends what is small, leaves the rest to the connection's writer,
// and writes the local disk meanwhile. The peer's writes and a resync's reads
// run in goroutines of their own, a bounded number of them at the disk at once.
package volume

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/control"
	"gemel/node/replicator/digest"
	"gemel/node/replicator/disk"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/link"
	"gemel/node/replicator/meta"
	"gemel/node/replicator/resync"
	"gemel/node/replicator/vigil"
	"gemel/node/replicator/volume/core"
	"gemel/node/replicator/wire"
)

// Exporter shows a block.Device to the kernel, or to programs.
type Exporter interface {
	Attach(dev block.Device) (Shown, error)
}

// Shown is a device that is shown.
type Shown struct {
	Path string // what is opened or mounted
	By   string // name of the frontend
	Why  string // why it is not a better one, in words; empty: it is the best, or the one asked for
	// Detach takes the device away; it fails while somebody uses it, unless
	// force is set.
	Detach func(force bool) error
	// Resize gives the device another size in bytes, without its users noticing
	// more than that; nil when the frontend cannot.
	Resize func(size int64) error
	// Leave ends the serving of a device that outlives this process; its users
	// wait for the next. nil when the device would end with the process.
	Leave func()
}

// Connect opens one connection to the peer, by dialing or by waiting for the
// peer to dial. hello makes this side's introduction just before it is sent.
type Connect func(ctx context.Context, hello Hello) (*link.Conn, error)

// Options of New. Everything but Exporter, Changed and Log is required.
type Options struct {
	Cluster string
	Name    string
	Node    arbiter.NodeID
	Backing string // path, for the state
	Disk    disk.Device
	Store   *meta.Store
	Connect Connect
	// Exporter is nil when the volume is used through the Volume itself.
	Exporter Exporter
	// PeerTimeout is the link's; a request may take six times as long.
	PeerTimeout     time.Duration
	DiskTimeout     time.Duration // of one request at the backing device; 0: for ever
	ConnectInterval time.Duration // between tries
	Protocol        block.Protocol
	OnError         core.OnError
	CongestionFill  int64         // bytes under way to the peer under protocol A; 0: 16 MiB
	PullAhead       bool          // on congestion go on without the peer
	Lease           time.Duration // longest lease this voter may have granted before its restart
	Resync          resync.Limits
	ReceiveLimit    int64 // bytes received and not yet written; 0: 64 MiB
	Checksums       core.Checksums
	AfterSplit      handshake.Policy // what settles a split brain without a human
	LogSlots        int              // extents of 4 MiB that can be hot; 0: activity.SlotsDefault
	UndoDir         string           // for what a replica that was given up will lose
	// Moves is told the size in bytes of a backing device that was enlarged before
	// its metadata goes to the new end, Moved once it lies there; they must not
	// block long.
	Moves, Moved func(size int64)
	// Changed is called, without locks held, after every change of State that a
	// watcher should see; it must not block.
	Changed func()
	// Log is told in one sentence what happened; it must not block.
	Log   func(text string, err error)
	Vigil *vigil.Vigil // told of requests; nil: nobody is
	Seed  uint64       // of generations; random, unlike at any other start
}

// Limits of what is under way.
const (
	diskOps      = 32       // reads and writes of peer and resync at the disk at once
	inlineMost   = 64 << 10 // bytes of a peer's write that its receiver may do itself,
	aloneAfter   = 4        // after so many messages that came one by one
	receiveLimit = 64 << 20 // bytes received and not yet written, unless Options say otherwise
	tick         = 100 * time.Millisecond
	writeWaits   = 6 // of PeerTimeout until a silent request drops the peer
)

// Volume is a running volume. Close it to end its goroutines; the application
// must be gone by then.
type Volume struct {
	o Options

	mu       sync.Mutex
	changes  *sync.Cond // metadata stable, role or connection changed
	core     *core.Core
	register arbiter.Register
	payloads map[core.ID]*payload
	gather   bool          // what ends is put on a list, by the one who holds mu now
	ended    *payload      // the list
	compares []core.Action // sums that are to be compared now
	out      []outgoing    // to the peer, in order
	outReady *sync.Cond
	sending  bool // somebody took messages out and sends them
	spareOut []outgoing
	messages []link.Outgoing // of the one who sends
	conn     *link.Conn
	sumKey   digest.Key // of the session
	session  uint64
	received int64 // bytes received and not yet written
	room     *sync.Cond

	metaWanted                 uint64
	recordWanted, recordStable uint64
	record                     arbiter.Record // the register as it is on stable storage
	metaReady                  *sync.Cond
	saveWanted, pagesWanted    bool // of the bitmap
	bitsReady                  *sync.Cond
	logWanted                  bool
	logReady                   *sync.Cond
	metaFailed                 error

	standAlone bool
	reason     string        // why not connected
	promise    arbiter.Epoch // the peer's, as of its last hello
	met        Meeting       // the peer of the last meeting; zero: none since the start
	renewal    renewing
	saying     uint64     // said in the hello of this connection, until the peer speaks
	undoFile   string     // the last one written since the start
	keeping    sync.Mutex // while one is written
	clash      *Clash     // why both stand apart, as of the last meeting; nil: they do not
	move       *control.Move
	shown      Shown      // Detach is nil while no device is shown
	shownSize  int64      // bytes of it
	unfit      int64      // size that it could not take
	fitting    bool       // it is being resized
	blanked    int64      // end of what was blanked of the new part of the disk; 0: it is not
	moving     sync.Mutex // while the metadata goes to the end of a larger device
	counters   counters
	dirtyState bool   // Changed is due
	seq        uint64 // changes that the core does not count
	verifies   int    // that were started

	crew    *crew         // at the disk
	kick    chan struct{} // connect again now
	ctx     context.Context
	cancel  context.CancelFunc
	closed  bool
	running sync.WaitGroup
}

type counters struct{ read, written, flushes int64 }

var (
	_ block.Device       = (*Volume)(nil)
	_ block.WriteStarter = (*Volume)(nil)
)

// New starts the volume as Secondary and begins to connect to its peer.
func New(o Options) (*Volume, error) {
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, new(unix.Timespec)); err != nil {
		return nil, fmt.Errorf("volume %s: this kernel has no CLOCK_BOOTTIME: %w", o.Name, err)
	}
	words, damaged := o.Store.LoadBitmap()
	set, err := o.Store.ReadLog()
	if err != nil {
		return nil, fmt.Errorf("volume %s: %w", o.Name, err)
	}
	if o.Log == nil {
		o.Log = func(string, error) {}
	}
	if !set.Known && o.Store.Super().Flags.Has(meta.PrimaryActive) {
		o.Log(fmt.Sprintf("volume %s: it stopped as Primary, and its activity log is damaged (%s); everything is resynced",
			o.Name, set.Why), nil)
	}
	if damaged > 0 && o.Store.Super().Flags.Has(meta.BitmapValid) {
		o.Log(fmt.Sprintf("volume %s: %d pages of the bitmap were damaged or unreadable; their blocks are resynced", o.Name, damaged), nil)
	}
	v := &Volume{o: o, payloads: map[core.ID]*payload{}, kick: make(chan struct{}, 1)}
	if v.o.ReceiveLimit == 0 {
		v.o.ReceiveLimit = receiveLimit
	}
	v.crew = newCrew(diskOps, &v.running)
	v.changes, v.outReady = sync.NewCond(&v.mu), sync.NewCond(&v.mu)
	v.room, v.metaReady = sync.NewCond(&v.mu), sync.NewCond(&v.mu)
	v.bitsReady, v.logReady = sync.NewCond(&v.mu), sync.NewCond(&v.mu)
	v.ctx, v.cancel = context.WithCancel(context.Background())
	v.renewal.Every = RenewEvery
	super := o.Store.Super()
	v.register, v.record = arbiter.Boot(super.Register, Now(), o.Lease), super.Register
	v.core = core.New(core.Config{Self: o.Node, Usable: o.Store.DataSize(), WriteTimeout: writeWaits * o.PeerTimeout,
		BarrierAfter: time.Second, DiskTimeout: o.DiskTimeout, Resync: o.Resync, Checksums: o.Checksums, Log: set, LogSlots: o.LogSlots,
		PageWords: meta.PageWords, Protocol: o.Protocol, OnError: o.OnError, Fill: o.CongestionFill,
		PullAhead: o.PullAhead, Seed: o.Seed}, metaOf(&super), words, super.Register)
	v.mu.Lock()
	v.run()
	v.mu.Unlock()
	v.running.Add(5)
	go v.keepMeta()
	go v.keepBits()
	go v.keepLog()
	go v.keepConnected()
	go v.keepTime()
	return v, nil
}

// Now is CLOCK_BOOTTIME, the clock of every time in this package.
func Now() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // New found that it works
	return time.Duration(ts.Nano())
}

// Close ends the connection and stops. A Primary is not demoted: the next
// start takes it for crashed, so demote first.
func (v *Volume) Close() error {
	v.mu.Lock()
	v.closed = true
	conn := v.conn
	v.cancel()
	v.changes.Broadcast()
	v.outReady.Broadcast()
	v.room.Broadcast()
	v.metaReady.Broadcast()
	v.bitsReady.Broadcast()
	v.logReady.Broadcast()
	v.mu.Unlock()
	v.crew.leave()
	if conn != nil {
		conn.Close(errors.New("the replicator stops"))
	}
	v.running.Wait()
	return nil
}

func (v *Volume) keepTime() {
	defer v.running.Done()
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-v.ctx.Done():
			return
		case <-t.C:
		}
		v.event(func(now time.Duration) {
			v.core.Tick(now)
			v.renew(now)
		})
	}
}

// event feeds the core and carries its actions out.
func (v *Volume) event(f func(now time.Duration)) {
	v.mu.Lock()
	f(Now())
	v.run()
	v.unlock()
}

// touched makes watchers look again; v.mu is held.
func (v *Volume) touched() {
	v.seq++
	v.dirtyState = true
}

// unlock gives the mutex back and tells watchers.
func (v *Volume) unlock() {
	tell := v.dirtyState
	v.dirtyState = false
	v.mu.Unlock()
	if tell && v.o.Changed != nil {
		v.o.Changed()
	}
}

// SizeBytes returns the size of the volume in bytes.
func (v *Volume) SizeBytes() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.core.View(0).Size
}

// ReadAt reads from the local disk; the answer is held while the lease is out.
func (v *Volume) ReadAt(p []byte, off int64) error {
	v.mu.Lock()
	v.o.Vigil.Request()
	ok := v.core.View(0).Primary && off >= 0 && off+int64(len(p)) <= v.core.View(0).Size
	remote := v.core.Remote()
	v.mu.Unlock()
	if !ok {
		return fmt.Errorf("volume %s: read %d+%d: %w, or the range is outside", v.o.Name, off, len(p), core.ErrNotPrimary)
	}
	if remote {
		return v.readElsewhere(p, off, errRemote)
	}
	if err := v.o.Disk.ReadAt(p, off); err != nil {
		v.o.Log(fmt.Sprintf("volume %s: %d bytes at %d cannot be read here; the peer is asked", v.o.Name, len(p), off), err)
		return v.readElsewhere(p, off, err)
	}
	if v.readCounts(len(p)) {
		return nil
	}
	return v.holdRead()
}

// WriteAt returns when the write is complete under the volume's protocol; with
// fua it is stable then on every node of the in-sync set. One message to the peer
// takes 1 MiB; a longer write is made of several, one after the other.
func (v *Volume) WriteAt(p []byte, off int64, fua bool) error {
	for ; len(p) > wire.MaxPayload; p, off = p[wire.MaxPayload:], off+wire.MaxPayload {
		if err := v.writeOne(p[:wire.MaxPayload], off, fua); err != nil {
			return err
		}
	}
	return v.writeOne(p, off, fua)
}

func (v *Volume) writeOne(p []byte, off int64, fua bool) error {
	r := block.Range{Off: off, Len: int64(len(p))}
	if r.Empty() {
		return nil
	}
	v.mu.Lock()
	take := v.core.Write
	if fua {
		take = v.core.WriteFUA
	}
	id, err := take(Now(), r)
	return v.await("write", id, p, err)
}

// StartWrite writes the local disk, and leaves the rest of the wait to whoever hears
// of the write's end; see block.WriteStarter.
func (v *Volume) StartWrite(p []byte, off int64, fua bool, done block.WriteDone) bool {
	if len(p) == 0 || len(p) > wire.MaxPayload {
		return false
	}
	v.mu.Lock()
	take := v.core.Write
	if fua {
		take = v.core.WriteFUA
	}
	id, err := take(Now(), block.Range{Off: off, Len: int64(len(p))})
	if err != nil {
		v.run()
		v.unlock()
		return false // WriteAt tells why
	}
	v.o.Vigil.Request()
	pay := appPayload(p)
	pay.end = done
	v.payloads[id] = pay
	mine := v.carry(id)
	v.talk()
	v.unlock()
	if mine != nil {
		v.writeLocal(mine, p)
	}
	return true
}

// Flush returns when every write completed before is stable on every node of
// the in-sync set.
func (v *Volume) Flush() error {
	v.mu.Lock()
	id, err := v.core.Flush(Now())
	return v.await("flush", id, nil, err)
}

// await gives a request its payload, does its local write or sync in this
// goroutine if it may start at once, and waits for its end. v.mu is held, and
// given back.
func (v *Volume) await(what string, id core.ID, p []byte, err error) error {
	if err != nil {
		v.run()
		v.unlock()
		return fmt.Errorf("volume %s: %s: %w", v.o.Name, what, err)
	}
	v.o.Vigil.Request()
	pay := appPayload(p)
	v.payloads[id] = pay
	mine := v.carry(id)
	v.talk()
	v.unlock()
	switch {
	case mine == nil:
	case mine.Kind == core.Sync:
		v.syncLocal()
	default:
		v.writeLocal(mine, p)
	}
	err = <-pay.done
	recycle(pay)
	if err != nil {
		return fmt.Errorf("volume %s: %s: %w", v.o.Name, what, err)
	}
	return nil
}

// writeLocal writes the local disk and tells the core.
func (v *Volume) writeLocal(a *core.Action, p []byte) {
	id := a.ID
	err := v.toDisk(a, p)
	v.mu.Lock()
	v.counters.written += int64(len(p))
	v.renewal.Moved = true
	if pay := v.payloads[id]; pay != nil && pay.received {
		v.received -= int64(len(p))
		v.room.Broadcast()
	}
	v.gather = true
	v.core.LocalDone(Now(), id, err)
	v.carry(0)
	v.unref(id)
	ended := v.gathered()
	if len(v.out) > 0 { // talking may take long
		ended.tell(true)
		ended = nil
	}
	v.talk()
	v.unlock()
	ended.tell(false)
}

func (v *Volume) readLocal(id core.ID, r block.Range, p []byte) {
	err := v.o.Disk.ReadAt(p, r.Off)
	blank := err == nil && allZero(p)
	v.mu.Lock()
	v.payloads[id].blank = blank
	v.core.LocalDone(Now(), id, err)
	v.run()
	v.unref(id)
	v.unlock()
}

// run carries the core's actions out and lets the writer send; v.mu is held.
func (v *Volume) run() {
	v.carry(0)
	if len(v.out) > 0 && !v.sending {
		v.outReady.Signal()
	}
}

// carry carries the core's actions out, sending aside. The local write of
// inline, or a sync that starts with it, is left to the caller and returned.
func (v *Volume) carry(inline core.ID) (mine *core.Action) {
	for {
		actions := v.core.Take()
		if len(actions) == 0 && len(v.compares) == 0 {
			return mine
		}
		for i := range actions {
			a := actions[i]
			if inline == 0 || mine != nil || a.Kind != core.Sync && (a.Kind != core.Write || a.ID != inline) {
				v.carryOut(&a)
				continue
			}
			if mine = &a; a.Kind == core.Write {
				v.payloads[a.ID].refs++
			} else {
				v.counters.flushes++
			}
		}
		v.compare()
	}
}

func (v *Volume) carryOut(a *core.Action) {
	switch a.Kind {
	case core.Write:
		what, pay := *a, v.payloads[a.ID]
		pay.refs++
		v.crew.do(func() { v.writeLocal(&what, pay.buf) })
	case core.Read:
		id, r := a.ID, a.Range
		pay := &payload{buf: buffer.Get(int(r.Len)), pooled: true, refs: 2}
		v.payloads[id] = pay
		v.crew.do(func() { v.readLocal(id, r, pay.buf) })
	case core.Digest, core.ReadDigest:
		v.carryOutDigest(a)
	case core.Compare:
		v.compares = append(v.compares, *a)
	case core.Sync:
		v.counters.flushes++
		v.running.Add(1)
		go func() {
			defer v.running.Done()
			v.syncLocal()
		}()
	case core.Send:
		v.queue(a.Msg)
	case core.Complete:
		v.payloads[a.ID].err = a.Err
		v.unref(a.ID)
	case core.Release:
		v.unref(a.ID)
	case core.Persist:
		v.metaWanted = a.Version
		v.metaReady.Signal()
	case core.SaveBitmap:
		v.saveWanted = true
		v.bitsReady.Signal()
	case core.SavePages:
		v.pagesWanted = true
		v.bitsReady.Signal()
	case core.Log:
		v.logWanted = true
		v.logReady.Signal()
	case core.Drop:
		v.drop(a.Err)
	case core.SaveUndo:
		v.saveUndo(a.Version)
	case core.Measure:
		v.running.Add(1)
		go v.measure(a.Version)
	case core.Blank:
		v.running.Add(1)
		go v.blankNew(a.Range)
	case core.Changed:
		v.dirtyState = true
		v.fit()
		v.changes.Broadcast()
	}
}

func (v *Volume) syncLocal() {
	err := v.o.Disk.Sync()
	v.mu.Lock()
	v.core.SyncDone(Now(), err)
	v.carry(0)
	v.talk()
	v.unlock()
}
