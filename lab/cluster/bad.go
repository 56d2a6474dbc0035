package cluster

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"

	"gemel/lab/badcable"
	"gemel/lab/chassis"
)

// Direction is one way through a cable, as seen from its box.
type Direction string

// Directions of a cable.
const (
	BothWays Direction = ""
	In       Direction = "in"  // to the box
	Out      Direction = "out" // from the box
)

// attendRelay is the kind of the attendant that carries frames through a bad cable.
const attendRelay = "relay"

// DegradeCable makes one direction of a box's cable, or both, as bad as quality says;
// the other direction stays as it is. The zero quality makes it good again. It holds
// over resets of the box, and takes effect at once if the box is on.
func (c *Cluster) DegradeCable(ctx context.Context, node, cable string, way Direction, quality badcable.Quality) error {
	if err := quality.Check(); err != nil {
		return fmt.Errorf("degrade cable %s of %s: %w", cable, node, err)
	}
	return c.changeCable(ctx, node, cable, func(both *badcable.Both) error {
		switch way {
		case BothWays:
			both.In, both.Out = quality, quality
		case In:
			both.In = quality
		case Out:
			both.Out = quality
		default:
			return fmt.Errorf("direction %q: %w; it is in or out, as seen from %s", way, ErrNoCable, node)
		}
		return nil
	})
}

// CutCable lets nothing through a box's cable any more, while both ends still see a
// carrier: a switch that died with its lights on.
func (c *Cluster) CutCable(ctx context.Context, node, cable string, way Direction) error {
	return c.DegradeCable(ctx, node, cable, way, badcable.Quality{Cut: true})
}

// MendCable makes a cable good again. It does not plug one that is pulled.
func (c *Cluster) MendCable(ctx context.Context, node, cable string) error {
	return c.DegradeCable(ctx, node, cable, BothWays, badcable.Quality{})
}

// changeCable remembers what a cable is like, then makes it so.
func (c *Cluster) changeCable(ctx context.Context, node, cable string, change func(*badcable.Both) error) error {
	box, err := boxNamed(node)
	if err != nil {
		return err
	}
	sw, err := box.cable(cable)
	if err != nil {
		return err
	}
	var both badcable.Both
	var refused error
	err = changeState(c.dir, func(s *State) {
		both = s.Bad[cableKey(node, sw)]
		if refused = change(&both); refused != nil {
			return
		}
		s.Bad[cableKey(node, sw)] = both
		if both.Good() {
			delete(s.Bad, cableKey(node, sw))
		}
	})
	if err = errors.Join(err, refused); err != nil {
		return err
	}
	c.Note("cable", "The %s cable of %s is %s from now on.", sw, node, both)
	rack, err := chassis.Open(c.lab)
	if err != nil {
		return err
	}
	defer rack.Close()
	if both.Good() {
		return errors.Join(c.dismiss(ctx, attendRelay, node, sw), rack.ClosePlace(node, sw))
	}
	if err := c.spoil(ctx, rack, node, sw); err != nil && !errors.Is(err, chassis.ErrNoCable) {
		return err
	}
	return nil
}

// spoil puts a relay into a cable, in the place of an older one.
func (c *Cluster) spoil(ctx context.Context, rack *chassis.Chassis, node, sw string) error {
	if _, err := rack.OpenPlace(node, sw); err != nil {
		return err
	}
	if err := c.dismiss(ctx, attendRelay, node, sw); err != nil {
		return err
	}
	if err := c.engage(attendRelay, node, sw); err != nil {
		return fmt.Errorf("bad cable of %s to %s: %w", node, sw, err)
	}
	return nil
}

// runRelay is the relay's own process: it carries frames as the state says until its
// cable or its process ends.
func runRelay(ctx context.Context, lab, node, sw string, ready func()) error {
	state, err := loadState(Dir(lab))
	if err != nil {
		return err
	}
	rack, err := chassis.Open(lab)
	if err != nil {
		return err
	}
	place, err := rack.OpenPlace(node, sw)
	rack.Close()
	if err != nil {
		return err
	}
	// The same cable of the same lab is bad in the same way every time.
	seed := fnv.New64a()
	_, _ = seed.Write([]byte(lab + "/" + cableKey(node, sw)))
	relay, err := badcable.NewRelay(chassis.Path(lab), place.Near, place.Far, state.Bad[cableKey(node, sw)], seed.Sum64())
	if err != nil {
		return err
	}
	defer relay.Close()
	ready()
	return relay.Run(ctx)
}
