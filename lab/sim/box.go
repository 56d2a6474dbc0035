package sim

import (
	"sync"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/disk/crashdisk"
	"gemel/node/replicator/meta"
)

// Sizes of the simulated volume.
const (
	deviceSize = meta.MinDevice
	blocks     = 256 // of the volume; the rest of the device's data area is not used
	blockSize  = 4096
	logExtent  = 16 * blockSize // of the activity log
	logSlots   = 6
)

var names = [3]string{"server1", "server2", "witness"}

// box is one server: its power, clock, disk, kernel and processes.
type box struct {
	w     *world
	id    arbiter.NodeID
	truth *truth // what was promised on this side; mostly the other's too
	dice  dice
	on    bool
	power int // counts power cuts
	// lost is when power was last cut, zero: never.
	lost   time.Duration
	paused time.Duration // true time until which nothing runs here

	rate   float64 // of the clock against true time
	booted time.Duration
	start  time.Duration // boot time at booted

	disk *crashdisk.Disk
	slow int // factor of the disk's latencies
	// badReads of the application's next reads fail, badWrites of the next
	// writes and syncs of data.
	badReads, badWrites int
	worn                block.Range // writes here fail until somebody looks after the disk
	misses              int         // writes of data that go astray
	hurts               []hurt      // blocks of metadata that were damaged

	image      *crashdisk.Disk // of an earlier time
	imageHurts []hurt          // that it has
	lives      int             // how often the replica was made anew
	expect     error           // what the disk is refused with; nil: it is the right one
	swapped    time.Duration   // when the disk was exchanged, zero: never
	problem    string          // why the volume does not run; empty: it does, or nobody tried
	blank      bool            // made anew, and not whole since
	restored   bool            // put back from an image, and not whole since

	soundSince time.Duration // since when it is Primary, and the peer holds everything
	bounded    bool          // it crashed so, and was not resynced since
	marked     int64         // blocks that the saved bitmap may name

	known int64   // blocks of the volume
	seen  []int64 // sizes of the device that were noted

	word    bool // its register rests on an operator's word
	gaveUp  bool // its data was given up
	stopped bool // an operator stopped its agent
	undo    *undoFile

	repl  *replicator
	agent *agent
	boots int // of the agent

	app    application
	device bool // the volume's block device is there
	nicUp  bool

	old         [][]byte // newest writes of the Primary that came here, of any reign
	replayArmed bool     // they come again on the next connection of a newer reign

	updates               int                 // of the metadata, counted since the world began
	cutUpdate, cutRequest int                 // power fails before that request of that update; 0: does not
	onCut                 func(r *replicator) // is told when it does

	cutMeta int // power fails before this request of the next metadata update; 0: does not
}

// Fresh devices are made once and cloned.
var fresh = [2]func() *crashdisk.Disk{
	sync.OnceValue(func() *crashdisk.Disk { return format(0) }),
	sync.OnceValue(func() *crashdisk.Disk { return format(1) }),
}

func params(id arbiter.NodeID) meta.Params {
	return meta.Params{Cluster: "sim", Volume: "data", Node: id, ID: [16]byte{1, byte(id)}}
}

func (b *box) params() meta.Params {
	p := params(b.id)
	p.ID[2], p.Seen = byte(b.lives), b.seen
	return p
}

func format(id arbiter.NodeID) *crashdisk.Disk {
	d := crashdisk.New(deviceSize)
	if _, err := meta.Create(d, params(id), false); err != nil {
		panic(err)
	}
	return d
}

func newBox(w *world, id arbiter.NodeID) *box {
	b := &box{w: w, id: id, dice: w.chance.disk[id], disk: fresh[id]().Clone(), slow: 1, nicUp: true}
	b.rate = 1 + (b.dice.Float64()*2-1)*clockDrift
	b.app.b, b.known, b.seen = b, w.plan.begin(), []int64{deviceSize}
	if b.known < blocks {
		b.litter()
	}
	return b
}

// clockDrift is how far a clock's rate may be off: two of them differ by less
// than the two percent that the lease allows for.
const clockDrift = 0.0099

// clock is CLOCK_BOOTTIME of the box.
func (b *box) clock() time.Duration {
	return b.start + time.Duration(float64(b.w.now-b.booted)*b.rate)
}

// after runs f once d has passed on this box's clock, unless its power failed
// meanwhile; while the box is paused f waits.
func (b *box) after(d time.Duration, f func()) {
	power := b.power
	b.w.after(time.Duration(float64(d)/b.rate), func() { b.run(power, f) })
}

func (b *box) run(power int, f func()) {
	if b.power != power || !b.on {
		return
	}
	if b.paused > b.w.now {
		b.w.after(b.paused-b.w.now, func() { b.run(power, f) })
		return
	}
	f()
}

// alive reports whether processes run on the box right now.
func (b *box) alive() bool { return b.on && b.paused <= b.w.now }

func (b *box) powerOn() {
	if b.on {
		return
	}
	b.w.tell("%s has power", names[b.id])
	b.on, b.paused = true, 0
	b.booted, b.start = b.w.now, b.dice.span(time.Second, 20*time.Second)
	b.after(b.dice.span(100*time.Millisecond, time.Second), b.startReplicator)
	b.after(b.dice.span(100*time.Millisecond, time.Second), b.startAgent)
}

// powerOff cuts the power: what is not flushed survives in part.
func (b *box) powerOff() {
	if !b.on {
		return
	}
	b.w.tell("%s loses power, %d sectors in its disk's cache", names[b.id], b.disk.Unflushed())
	if b.repl != nil {
		b.repl.die(false)
	}
	b.agent, b.on, b.problem = nil, false, ""
	b.power++
	b.lost = b.w.now
	b.disk = b.disk.Crash(b.dice.Uint64())
	b.device = false
	b.app.die()
	b.w.eachTruth(func(t *truth) { t.powerLost(b.id) })
	b.truth.older(b)
}

func (b *box) startReplicator() {
	if b.repl == nil && b.problem == "" {
		newReplicator(b)
	}
}

// killReplicator is SIGKILL, and a service manager that starts it again.
func (b *box) killReplicator(again time.Duration) {
	if b.repl == nil {
		return
	}
	b.w.tell("the replicator of %s is killed", names[b.id])
	b.repl.die(true)
	b.device = false
	b.app.abandon()
	if b.agent != nil {
		b.agent.replicatorGone()
	}
	b.after(again, b.startReplicator)
}

// repair is the administrator who mends a disk and restarts what gave it up.
func (b *box) repair() {
	b.badReads, b.badWrites, b.misses, b.worn = 0, 0, 0, block.Range{}
	if b.repl != nil && b.repl.core.Problem() != nil {
		b.killReplicator(time.Second)
	}
}

func (b *box) startAgent() {
	if b.agent == nil {
		b.boots++
		b.agent = newAgent(b)
	}
}

func (b *box) killAgent(again time.Duration) {
	if b.agent == nil {
		return
	}
	b.w.tell("the agent of %s is killed", names[b.id])
	b.agent = nil
	b.after(again, b.startAgent)
}
