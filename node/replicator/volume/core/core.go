// Package core is the logic of one replicated volume as a plain state machine:
// which write waits for whom, which blocks the peer may lack, when acknowledged
// means acknowledged. Events go in as method calls, Actions come out of Take. It
// moves no data, reads no clock and draws no random numbers: payloads travel by
// ID, time comes with the events and generations from a seed. It is not safe for
// concurrent use.
//
// The rules it keeps:
//
//   - A write or flush completes only when done here and, while the peer belongs
//     to R, there; under protocols B and A earlier (protocol.go). R is the chosen in-sync set joined with every set that this
//     node's register accepted later.
//   - At every moment each block in which the peer may differ is marked in the
//     bitmap, under way, or acknowledged but not yet stable there. Losing the
//     peer turns the last two into the first.
//   - Before a write completes that the peer may lack, a new generation is on
//     stable storage, unless the peer is known to hold an older one already.
//   - Ranges under way never overlap, so the peer needs no order of its own.
package core

import (
	"errors"
	"fmt"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/activity"
	"gemel/node/replicator/handshake"
	"gemel/node/replicator/resync"
)

// Sentinel errors with which requests end.
var (
	ErrNotPrimary = errors.New("this replica is not Primary")
	ErrLetGo      = errors.New("the reign ended while the request was held; nothing was acknowledged")
	ErrDisk       = errors.New("the backing device failed")
	ErrMetadata   = errors.New("the metadata cannot be written")
)

// Config names a replica and its delays.
type Config struct {
	Self   arbiter.NodeID
	Usable int64 // bytes the backing device has room for, a multiple of block.Size
	// WriteTimeout is how long the peer may keep a request before it is dropped.
	WriteTimeout time.Duration
	// DiskTimeout is how long the local disk may keep a request before it is
	// given up; 0: for ever.
	DiskTimeout time.Duration
	OnError     OnError
	// BarrierAfter is how long acknowledged writes may stay unflushed at the peer.
	BarrierAfter time.Duration
	Resync       resync.Limits
	// Extent is the size in bytes of one piece of a resync or verify, at most
	// 512 KiB; 0: that.
	Extent    int64
	Checksums Checksums
	Protocol  block.Protocol
	// Log is what the activity log on disk said at the start; without it a crash
	// costs a resync of everything.
	Log activity.Set
	// LogSlots is how many extents can be hot; 0: activity.SlotsDefault.
	LogSlots int
	// LogExtent is the size of an extent of the log in bytes; 0: activity.ExtentSize.
	LogExtent int64
	// LogIdle is how long an extent stays in the log unused; 0: 15 s.
	LogIdle time.Duration
	// PageWords is how many words a page of the saved bitmap holds; 0: 510.
	PageWords int
	// Fill bounds in bytes what may be under way to the peer when a write
	// completes under protocol A; 0: 16 MiB.
	Fill int64
	// PullAhead drops the peer when that bound was met for PullAfter (0: 300 ms)
	// and goes on without it, rather than wait.
	PullAhead bool
	PullAfter time.Duration
	// Seed makes generations; two replicas must not share it, nor two starts.
	Seed uint64
}

// Meta is what must survive a restart, bitmap and register aside.
type Meta struct {
	Gen          block.Generations
	Size         int64 // agreed bytes of the volume, 0: open
	Created      bool
	Inconsistent bool
	Crashed      bool
	// Active is set while the replica is Primary: found at start it is a crash.
	Active bool
	// MayLack is the protocol of the Primary that this replica follows or
	// followed last: under B or A it may have completed writes that are not here.
	MayLack block.Protocol
	// BitmapValid: the saved bitmap covers every block that may differ, while
	// Active together with the activity log.
	BitmapValid bool
	ResyncFrom  block.Generation // source's generation while this is a target
	// Discard: the data was given up and is to be overwritten; KeepUndo: what
	// will be overwritten is kept first.
	Discard, KeepUndo bool
	// Outdated: an operator said that a newer generation exists elsewhere.
	Outdated bool
	// Keep: the replica was created over data that the volume is to begin with.
	Keep bool
	// Ending: the peer may have been told the end of a resync, and carry
	// Gen.Current, although Gen.Bitmap still counts.
	Ending bool
	Verify VerifyState
	// Room: between Size and it the disk is zeroes and the saved bitmap has no bits,
	// so that the volume can become so large at once; 0: no room.
	Room int64
}

// phase of the connection, seen from this replica.
type phase uint8

const (
	off       phase = iota // no connection
	idle                   // connected, nothing replicated (yet)
	syncing                // Primary: resync runs, writes are mirrored; Secondary: target
	finishing              // Primary: everything sent, waiting for the target to be whole
	inSync
)

// Core is one volume. Make it with New.
type Core struct {
	cfg  Config
	meta Meta
	rand uint64
	out  []Action

	metaVersion, metaDurable uint64
	saving                   saving
	saveSession              uint64
	saveTo                   block.Generation
	endVersion               uint64 // Secondary: metadata version to answer End after
	entrustVersion           uint64 // Secondary: metadata version to answer Entrust after
	endingVersion            uint64 // Primary: metadata version to send End after; 0: sent

	register arbiter.Record
	primary  bool
	reign    arbiter.Epoch
	chosen   arbiter.Accepted
	grow     arbiter.Accepted // newest accepted set with the peer in it
	lease    time.Duration    // boot time

	reqs    []*request
	free    []*request
	open    []*request // of the application, not completed
	active  []*request // hold their range
	waiting []*request // for a range, in order
	theirs  []*request // the peer's writes under way here
	seq     uint64     // order of what the peer sent
	taken   uint64     // and of what the application asked
	local   int        // local reads and writes under way
	appBusy int        // active writes of the application

	syncRound   uint64
	syncRunning bool
	syncSince   time.Duration // as far as a Tick saw it; 0: not yet
	syncWanted  bool

	hot      hot
	pages    pages
	dirty    *resync.Bitmap
	unstable []block.Range // acknowledged by the peer since its last barrier
	closing  []block.Range // covered by the barrier under way
	oldest   time.Duration // of unstable

	session       uint64
	phase         phase
	peer          handshake.State
	peerEpoch     arbiter.Epoch // of the connected Primary
	verdict       handshake.Kind
	bitsArrived   bool
	beginVersion  uint64
	began         bool
	waitPeer      bool // every write waits for the peer, R or not
	ready         bool // to grow
	peerMayHold   bool // the peer may carry our Current
	rotateVersion uint64
	barrierSeq    uint64
	barrierOut    bool
	barrierWanted bool
	tasks         []task     // Secondary: barriers, ends and terms in order
	asks          []*request // Secondary: questions behind a write
	pauses        pauses
	growth        growth
	verify        verify

	terms         terms
	turn          bool          // a write completed that the peer may lack: the next one says After
	flight        int64         // bytes of writes sent and not acknowledged
	squeezed      bool          // a completion waits for flight to shrink
	squeezedSince time.Duration // as far as a Tick saw it; 0: not, or it has eased
	behind        []*request    // Secondary: wait until what came before is written
	unwritten     int           // Secondary: writes of the application at the disk

	pace       *resync.Pace
	full       bool
	resyncIn   int64   // bytes of resync under way
	omitted    omitted // what it could not read
	losing     losing  // what a replica that was given up keeps first
	sums       bool    // this resync compares before it copies
	sameBefore int64   // count.Same when it began
	problem    error
	remote     remote // Primary: requests go to the peer's disk
	count      Counters
	seqState   uint64
}

// Counters count bytes of payload since New. Same was compared by a resync and
// did not have to be sent.
type Counters struct {
	Sent, Received, Resynced, Same int64
	Mended                         int64 // read from the peer because the disk here could not
}

type saving uint8

const (
	notSaving saving = iota
	savingForDemotion
	savingForEnd
	savingForCrash
)

// New starts a replica with what its metadata held. words is the saved bitmap,
// taken over. A replica that was Primary when it stopped has crashed: then what
// the activity log names may be out of sync as well, and the log counts until
// the bitmap that has it all is saved.
func New(cfg Config, meta Meta, words []uint64, register arbiter.Record) *Core {
	if cfg.Fill == 0 {
		cfg.Fill = fillDefault
	}
	if cfg.PullAfter == 0 {
		cfg.PullAfter = pullAfter
	}
	if cfg.Extent == 0 {
		cfg.Extent = maxExtent
	}
	if cfg.LogExtent == 0 {
		cfg.LogExtent = activity.ExtentSize
	}
	if cfg.LogIdle == 0 {
		cfg.LogIdle = idleAfter
	}
	c := &Core{cfg: cfg, meta: meta, register: register, rand: cfg.Seed, terms: terms{want: cfg.Protocol}}
	c.dirty = resync.NewBitmap(c.size(), words)
	c.startLog(cfg.Log.Number)
	c.newPages(meta.BitmapValid)
	if !meta.BitmapValid || meta.Active && !c.recoverLog(&cfg.Log) {
		c.setAll()
	}
	if meta.Active {
		c.meta.Crashed, c.saving = true, savingForCrash
		c.emit(Action{Kind: SaveBitmap})
	}
	if c.meta.Gen.Current == 0 {
		c.meta.Gen.Current = c.newGeneration()
	}
	if c.meta != meta {
		c.persist()
	}
	return c
}

// size is the volume's size, or the best guess while it is open.
func (c *Core) size() int64 {
	if c.meta.Size > 0 {
		return c.meta.Size
	}
	return c.cfg.Usable
}

// newGeneration draws the next number of the seed's sequence (splitmix64).
func (c *Core) newGeneration() block.Generation {
	for {
		c.rand += 0x9e3779b97f4a7c15
		z := c.rand
		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
		z = (z ^ (z >> 27)) * 0x94d049bb133111eb
		if z ^= z >> 31; z != 0 {
			return block.Generation(z)
		}
	}
}

func (c *Core) peerID() arbiter.NodeID { return 1 - c.cfg.Self }

// persist asks for the metadata as it is now to be made stable.
func (c *Core) persist() uint64 {
	c.metaVersion++
	c.emit(Action{Kind: Persist, Version: c.metaVersion})
	return c.metaVersion
}

// Meta returns the metadata to store and its version.
func (c *Core) Meta() (Meta, uint64) { return c.meta, c.metaVersion }

// Hello is what this replica says of itself to the peer.
func (c *Core) Hello() handshake.State {
	return handshake.State{
		Node: c.cfg.Self, Primary: c.primary, Reign: c.reign, Promised: c.register.Promised, Created: c.meta.Created, Inconsistent: c.meta.Inconsistent,
		Crashed: c.meta.Crashed, Bits: c.dirty.Bytes() > 0, Discard: c.meta.Discard, Keep: c.meta.Keep, Generations: c.meta.Gen,
		Size: c.meta.Size, Usable: c.room(),
	}
}

// Quiet reports whether nothing of an earlier role or connection is under way:
// only then a Secondary may shake hands or be promoted.
func (c *Core) Quiet() bool {
	return c.saving == notSaving && !c.hot.under && !c.pages.under && c.metaDurable == c.metaVersion && (c.primary || c.local == 0 && !c.syncRunning)
}

// tellQuiet wakes whoever waits for a Secondary to be Quiet: a handshake or a
// promotion.
func (c *Core) tellQuiet() {
	if !c.primary && c.phase == off && c.Quiet() {
		c.changed()
	}
}

func (c *Core) changed() {
	c.seqState++
	c.emit(Action{Kind: Changed})
}

// fail takes the replica out of service: its disk or metadata cannot be trusted.
func (c *Core) fail(err error) {
	if c.problem != nil {
		return
	}
	c.problem = err
	c.agreeTerms()
	c.changed()
}

// metadataFailed takes the replica out of service. A Primary whose peer holds
// everything keeps the connection, to go on through it.
func (c *Core) metadataFailed(now time.Duration, err error) {
	c.fail(fmt.Errorf("%w: %w", ErrMetadata, err))
	if !c.mayYield() {
		c.disconnect(now, c.problem)
	}
}

// Durable reports whether metadata of version is on stable storage.
func (c *Core) Durable(version uint64) bool { return c.metaDurable >= version }

// Problem is why the replica is out of service; nil when it is not.
func (c *Core) Problem() error { return c.problem }
