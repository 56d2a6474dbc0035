package core

import (
	"errors"
	"fmt"
)

// Sentinel refusals of Outdate, and of Promote because of it.
var (
	ErrOutdated  = errors.New("this replica was marked Outdated by hand")
	ErrIsCurrent = errors.New("this replica follows a Primary, so its data is current")
	ErrNotWhole  = errors.New("this replica has no whole data that could be out of date")
	ErrIsPrimary = errors.New("this replica is Primary")
)

// Outdate marks this Secondary's data as out of date by an operator's word: it
// cannot become Primary until it has followed one, or the word is taken back (on
// is false).
func (c *Core) Outdate(on bool) (version uint64, err error) {
	switch {
	case c.primary:
		return 0, fmt.Errorf("%w: let the other node take the volume over first (gemel switchover)", ErrIsPrimary)
	case c.problem != nil:
		return 0, c.problem
	case !on && !c.meta.Outdated:
		return c.metaVersion, nil
	case on && c.phase != off && c.peer.Primary:
		return 0, fmt.Errorf("%w and becomes so again with every write; to fill it anew use `gemel volume invalidate`", ErrIsCurrent)
	case on && (c.meta.Created || c.meta.Inconsistent || c.meta.Discard):
		return 0, fmt.Errorf("%w; it cannot become Primary as it is", ErrNotWhole)
	case on && c.meta.Outdated:
		return c.metaVersion, nil
	}
	c.meta.Outdated = on
	c.changed()
	return c.persist(), nil
}

// current: this replica follows a Primary and has all that one has.
func (c *Core) current() {
	if c.meta.Outdated {
		c.meta.Outdated = false
		c.persist()
	}
}
