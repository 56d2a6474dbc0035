package core

import (
	"errors"
	"fmt"
	"time"

	"gemel/node/replicator/resync"
)

var (
	errPrimary  = errors.New("Primary")
	errOnlyCopy = errors.New("this is the only copy: the disk of the other node failed while it was Primary; let this node take over first")
	errGivenUp  = errors.New("the data of this replica was given up; the handshake is repeated")
)

// losing is the state of a replica whose data was given up, while the source
// that will overwrite it is connected.
type losing struct {
	bits  *resync.Bitmap // what the source named, nil: nothing yet
	begin Msg            // the source's Begin, which waits
	asked bool           // SaveUndo was asked for
	done  bool           // everything is kept
}

// Discard gives this Secondary's data up: from the moment the metadata of the
// returned version is stable it can only be overwritten. With undo, what will be
// overwritten is kept first; with all, every block is copied anew.
func (c *Core) Discard(now time.Duration, undo, all bool) (version uint64, err error) {
	switch {
	case c.primary:
		return 0, fmt.Errorf("give the data up: it is %w and in use; let it go first", errPrimary)
	case c.problem != nil:
		return 0, fmt.Errorf("give the data up: %w", c.problem)
	case c.onlyCopy():
		return 0, fmt.Errorf("give the data up: %w", errOnlyCopy)
	}
	c.disconnect(now, errGivenUp)
	if c.meta.Inconsistent { // nothing is left to keep
		if all {
			c.meta.Gen.Current = c.newGeneration() // no bits count from it
		}
		return c.persist(), nil
	}
	c.meta.Discard, c.meta.KeepUndo = true, undo
	if all {
		c.setAll()
	}
	c.changed()
	return c.persist(), nil
}

// Changed is how many bytes this replica marks as changed without its peer; zero
// while its marks mean nothing.
func (c *Core) Changed() int64 {
	if c.meta.Created || c.meta.Inconsistent {
		return 0
	}
	return c.dirty.Bytes() + c.resyncIn + c.omitted.bytes
}

// lose notes what the source is going to overwrite.
func (c *Core) lose(m Msg) {
	if c.phase != idle || !c.meta.Discard {
		return
	}
	if c.losing.bits == nil {
		c.losing.bits = resync.NewBitmap(c.meta.Size, nil)
	}
	c.losing.bits.Or(int(m.ID), m.Words)
}

// keepFirst holds Begin until what it will overwrite is kept.
func (c *Core) keepFirst(m Msg) bool {
	if !c.meta.Discard || !c.meta.KeepUndo || c.losing.done {
		return false
	}
	c.losing.begin = m
	if !c.losing.asked {
		c.losing.asked = true
		c.emit(Action{Kind: SaveUndo, Version: c.session})
		c.changed()
	}
	return true
}

// Losing returns the words of a bitmap of what is going to be overwritten: what
// the source named and what this replica marked itself, or everything.
func (c *Core) Losing() []uint64 {
	all := resync.NewBitmap(c.meta.Size, nil)
	if c.losing.begin.Full {
		all.SetAll()
		return all.Words()
	}
	all.Or(0, c.dirty.Words())
	if c.losing.bits != nil {
		all.Or(0, c.losing.bits.Words())
	}
	return all.Words()
}

// UndoSaved tells that SaveUndo of version ended. After an error nothing is
// overwritten: the connection ends.
func (c *Core) UndoSaved(now time.Duration, version uint64, err error) {
	if c.phase == off || version != c.session || !c.losing.asked {
		return
	}
	c.losing.asked, c.losing.done = false, err == nil
	if err != nil {
		c.disconnect(now, fmt.Errorf("keep what would be overwritten: %w", err))
		return
	}
	c.becomeTarget(now, c.losing.begin)
}
