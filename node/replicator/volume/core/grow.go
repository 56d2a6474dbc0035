package core

import (
	"errors"
	"fmt"
	"time"

	"gemel/node/block"
)

// Growing. The volume takes a larger size while it is used and while both nodes
// stay whole: before anybody may use the new part it is zeroes on both disks, so
// nothing has to be copied and no bit is set. The Primary leads:
//
//  1. It asks the peer how far that could grow (GrowAsk), which measures its device
//     and answers (GrowReach): the smaller of both is the aim.
//  2. Each blanks its disk up to the aim: zeroes on the disk, no bits in the saved
//     bitmap, then Meta.Room on stable storage. The peer says so (GrowReady).
//  3. The Primary has the peer take the size (GrowTake). It does, on stable storage
//     (GrowTaken); then the Primary does, and only then a request may use it.
//
// Room tells for ever that a replica may take the size at once: if a connection
// ends in the middle of 3, the one that missed it takes it at the next handshake.
// What lies in front of Room is never blanked again, since the peer may have
// taken it meanwhile.

// Sentinel refusals of Grow, and how one can end.
var (
	ErrShrink    = errors.New("a volume in use cannot become smaller")
	ErrNoRoom    = errors.New("there is no room to grow")
	ErrGrowing   = errors.New("it is growing already")
	ErrGrowEnded = errors.New("the connection ended before the new size was agreed on; run it again")
)

// GrowStep tells what a Grow message wants.
type GrowStep uint8

// Steps; the ID of the message is a size in bytes.
const (
	GrowAsk    GrowStep = iota + 1 // to the Secondary: how far could you grow, at most to ID
	GrowReach                      // so far; not above the size: not at all
	GrowReady                      // blank up to ID
	GrowTake                       // to the Secondary: ID is the size from now on
	GrowTaken                      // so recorded
	GrowFailed                     // the disk could not be blanked
)

// growth is a growth under way.
type growth struct {
	running  bool   // Primary: it was asked for
	aim      int64  // how far both have room; 0: not known yet
	theirs   int64  // Primary: the peer is blank up to here
	said     bool   // Secondary: Ready was sent; Primary: Take was
	blanking int64  // this disk is being blanked up to here; 0: it is not
	version  uint64 // of the metadata that holds Room
	taken    uint64 // of the one that holds the size; it counts once that is stable
	before   int64  // the size until then
	err      error  // why the last one ended
}

// Growth is what is shown of a growth. To is 0 until both have said how far they
// can grow; Err is why the last one did not come about.
type Growth struct {
	Running bool
	To      int64
	Err     error
}

// MayGrow returns why the volume cannot grow to want bytes, or as far as there is
// room if that is 0, whatever the devices' sizes are.
func (c *Core) MayGrow(want int64) error {
	size := c.meta.Size
	switch {
	case !c.primary:
		return ErrNotPrimary
	case c.problem != nil:
		return c.problem
	case c.growth.running:
		return fmt.Errorf("%w to %d bytes", ErrGrowing, c.growth.aim)
	case want != 0 && want < size:
		return fmt.Errorf("%w: it has %d bytes, %d were asked for; nothing was changed; "+
			"for a smaller one make a new volume and copy the files", ErrShrink, size, want)
	case want%block.Size != 0:
		return fmt.Errorf("%w: %d bytes are not a multiple of %d", ErrNoRoom, want, block.Size)
	case c.phase != inSync:
		return fmt.Errorf("%w: both must be Connected and UpToDate; nothing was changed; wait for the resync, or connect the peer", ErrNotInSync)
	}
	return nil
}

// Grow makes the volume larger while it is used: as far as both nodes have room,
// or to want bytes. room is how much this node's data area holds. It goes on by
// itself; View tells how it ends.
func (c *Core) Grow(room, want int64) error {
	if err := c.MayGrow(want); err != nil {
		return err
	}
	size := c.meta.Size
	switch {
	case want > room, room <= size:
		return fmt.Errorf("%w on this node: the volume has %d bytes, its device has room for %d; enlarge the device first", ErrNoRoom, size, room)
	case want == size:
		return fmt.Errorf("%w: it has these %d bytes already", ErrNoRoom, size)
	}
	if want != 0 {
		room = want
	}
	c.growth.running, c.growth.err = true, nil
	c.tellGrow(GrowAsk, room/block.Size*block.Size)
	c.changed()
	return nil
}

func (c *Core) tellGrow(step GrowStep, size int64) {
	c.send(Msg{Kind: Grow, Step: step, ID: uint64(size)})
}

// growAsked takes a message of the Primary.
func (c *Core) growAsked(now time.Duration, m Msg) {
	size := int64(m.ID)
	switch {
	case c.phase != inSync || size%block.Size != 0:
		c.disconnect(now, fmt.Errorf("the Primary asked to grow to %d bytes, which does not belong here", size))
	case m.Step == GrowAsk:
		c.growth.aim, c.growth.said = 0, false
		c.emit(Action{Kind: Measure, Version: m.ID})
	case m.Step == GrowTake && size == c.meta.Size:
		c.growOn()
	case m.Step == GrowTake && size > c.meta.Size && size <= c.meta.Room:
		c.raise(size)
	default:
		c.disconnect(now, fmt.Errorf("the Primary grew to %d bytes, and there is room for %d here", size, c.meta.Room))
	}
}

// growAnswered takes a message of the Secondary.
func (c *Core) growAnswered(m Msg) {
	g, size := &c.growth, int64(m.ID)
	switch {
	case !g.running:
	case m.Step == GrowReach && size <= c.meta.Size:
		c.endGrowth(fmt.Errorf("%w at the peer: the volume has %d bytes, its device has room for %d; enlarge that as well",
			ErrNoRoom, c.meta.Size, max(size, c.meta.Size)))
	case m.Step == GrowReach:
		g.aim, g.theirs, g.said = size, 0, false
		c.blankTo(size)
		c.changed()
	case m.Step == GrowReady:
		g.theirs = size
	case m.Step == GrowFailed:
		c.endGrowth(errors.New("the peer could not blank the new part of its device; its log says why"))
	case m.Step == GrowTaken && size == g.aim && size > c.meta.Size:
		c.raise(size)
	}
	c.growOn()
}

// Measured tells how many bytes the data area here has room for, after Measure
// was asked for with Version.
func (c *Core) Measured(asked uint64, room int64) {
	if c.primary || c.phase != inSync {
		return
	}
	g := &c.growth
	g.aim, g.said = min(int64(asked), room)/block.Size*block.Size, false
	c.tellGrow(GrowReach, g.aim)
	if g.aim <= c.meta.Size {
		g.aim = 0
		return
	}
	c.blankTo(g.aim)
	c.growOn()
}

// blankTo has the disk blanked up to size, unless it is. One that runs goes on.
func (c *Core) blankTo(size int64) {
	from := max(c.meta.Size, c.meta.Room)
	if size <= from || c.growth.blanking != 0 {
		return
	}
	c.growth.blanking = size
	c.emit(Action{Kind: Blank, Range: block.Range{Off: from, Len: size - from}})
}

// Blanked tells that what Blank named is zeroes on stable storage, and that the
// saved bitmap has no bits there.
func (c *Core) Blanked(err error) {
	g := &c.growth
	to := g.blanking
	if g.blanking = 0; err != nil {
		if !c.primary && c.phase != off && g.aim != 0 {
			c.tellGrow(GrowFailed, 0)
		}
		g.aim = 0
		c.endGrowth(fmt.Errorf("the new part could not be blanked: %w", err))
		return
	}
	c.meta.Room = max(c.meta.Room, to)
	g.version = c.persist()
	if g.aim > c.meta.Room { // it was asked for more meanwhile
		c.blankTo(g.aim)
	}
}

// growOn takes the steps that are due.
func (c *Core) growOn() {
	g := &c.growth
	if c.metaDurable < g.version || c.metaDurable < g.taken || g.aim == 0 || c.phase != inSync {
		return
	}
	switch {
	case c.primary && g.running && c.meta.Size >= g.aim:
		c.endGrowth(nil)
	case c.meta.Room < g.aim:
	case c.primary && g.running && g.theirs >= g.aim && !g.said:
		g.said = true
		c.tellGrow(GrowTake, g.aim)
	case !c.primary && c.meta.Size >= g.aim:
		c.tellGrow(GrowTaken, c.meta.Size)
		g.aim = 0
	case !c.primary && !g.said:
		g.said = true
		c.tellGrow(GrowReady, g.aim)
	}
}

// endGrowth ends the growth that this node leads.
func (c *Core) endGrowth(err error) {
	if g := &c.growth; g.running {
		g.running, g.aim, g.theirs, g.said, g.err = false, 0, 0, false, err
		c.changed()
	}
}

// breakGrowth: the connection ended. What was blanked stays so.
func (c *Core) breakGrowth() {
	if g := &c.growth; g.aim != 0 && c.meta.Size >= g.aim {
		c.endGrowth(nil)
	}
	c.endGrowth(ErrGrowEnded)
	c.growth.aim = 0
}

// raise makes the volume larger; requests may use the new part once the metadata
// is stable.
func (c *Core) raise(size int64) {
	c.growth.before = c.sizeNow()
	c.meta.Size = size
	c.dirty.Grow(size)
	c.growPages()
	c.hot.log.Grow(int((size + c.hot.extent - 1) / c.hot.extent))
	c.growth.taken = c.persist()
	c.changed()
}

// sizeNow is the size on stable storage, which requests may use.
func (c *Core) sizeNow() int64 {
	if c.metaDurable < c.growth.taken {
		return c.growth.before
	}
	return c.size()
}

// room is what this replica tells of its room: all of its device while it is new;
// then only what is blank, which it can take at once.
func (c *Core) room() int64 {
	if c.meta.Created {
		return c.cfg.Usable
	}
	return max(c.meta.Size, c.meta.Room)
}

// growPages adds the pages of a larger volume; stable storage has them without
// bits.
func (c *Core) growPages() {
	p := &c.pages
	swept := p.cursor == len(p.all)
	for n := (len(c.dirty.Words()) + p.words - 1) / p.words; len(p.all) < n; {
		p.all, p.chosen = append(p.all, page{stable: p.taken}), append(p.chosen, 0)
	}
	if swept {
		p.cursor = len(p.all)
	}
}
