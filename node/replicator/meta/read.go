package meta

import (
	"errors"
	"fmt"
	"slices"

	"gemel/node/replicator/buffer"
	"gemel/node/replicator/disk"
)

// slotRead is what one slot turned out to hold.
type slotRead struct {
	super Superblock
	err   error
}

// find loads the newest superblock of a device whose metadata lay at the end of
// one of the sizes in seen when it was used last, the likeliest first; none if
// nobody knows. Nothing is written.
func find(dev disk.Device, seen []int64) (*Store, error) {
	s, err := read(dev, dev.Size())
	if err == nil || errors.Is(err, ErrNewer) {
		return s, err
	}
	for _, size := range seen {
		if size > 0 && size < dev.Size() {
			if before, older := read(dev, size); older == nil {
				before.note = joined(before.note, enlarged(size, dev.Size()))
				return before, nil
			}
		}
	}
	if size := slices.Max(append([]int64{0}, seen...)); size > dev.Size() {
		return nil, fmt.Errorf("%w: it had %d bytes when it was used last and has %d now, and its end with the metadata is gone; "+
			"nothing was changed; enlarge it again to %d bytes, or run `gemel volume create NAME --force` to fill a smaller volume anew",
			ErrShrunk, size, dev.Size(), size)
	}
	return nil, err
}

func enlarged(from, to int64) string {
	return fmt.Sprintf("the device was enlarged from %d to %d bytes; `gemel volume resize` makes use of it", from, to)
}

// joined adds more to a note.
func joined(note, more string) string {
	if note == "" {
		return more
	}
	return note + "; " + more
}

// read loads the newest superblock of a device of size bytes, or of one that
// once had them; nothing is written.
func read(dev disk.Device, size int64) (*Store, error) {
	if size < MinDevice {
		return nil, fmt.Errorf("%w: the device has %d bytes, the smallest volume needs %d",
			ErrNoMetadata, size, MinDevice)
	}
	l := layoutOf(size)
	var got [2]slotRead
	for i, off := range l.slot {
		got[i] = readSlot(dev, off, i)
	}
	newest, note, err := choose(got)
	if err != nil {
		return nil, err
	}
	if newest.DeviceSize != l.device || newest.DataSize != l.data {
		return nil, fmt.Errorf("%w: it was made for a device of %d bytes, this one has %d",
			ErrForeign, newest.DeviceSize, l.device)
	}
	return &Store{dev: dev, layout: l, super: newest, note: note, mend: note != ""}, nil
}

func readSlot(dev disk.Device, off int64, slot int) slotRead {
	b := buffer.Get(SlotSize)
	defer buffer.Put(b)
	if err := dev.ReadAt(b, off); err != nil {
		return slotRead{err: err}
	}
	s, err := decode(b, slot)
	return slotRead{super: s, err: err}
}

// choose picks the superblock to go on with, and says what is to be mended. Slot
// 0 is always written first, so it is never behind unless it is unreadable.
func choose(got [2]slotRead) (newest Superblock, note string, err error) {
	a, b := got[0], got[1]
	switch {
	case errors.Is(a.err, ErrNewer):
		return newest, "", a.err
	case errors.Is(b.err, ErrNewer):
		return newest, "", b.err
	case a.err == nil && b.err == nil && a.super == b.super:
		return a.super, "", nil
	case a.err == nil && b.err == nil && b.super.Sequence > a.super.Sequence:
		return b.super, "slot 0 was behind slot 1 and is written again", nil
	case a.err == nil && b.err == nil:
		return a.super, "slot 1 was behind slot 0 and is written again", nil
	case a.err == nil:
		return a.super, fmt.Sprintf("slot 1 could not be used (%v) and is written again", b.err), nil
	case b.err == nil:
		return b.super, fmt.Sprintf("slot 0 could not be used (%v) and is written again", a.err), nil
	case errors.Is(a.err, errBlank) && errors.Is(b.err, errBlank):
		return newest, "", fmt.Errorf("%w; run `gemel volume create` if this is the right device", ErrNoMetadata)
	}
	return newest, "", fmt.Errorf("%w: slot 0: %w; slot 1: %w; the replica must be created again and resynced from its peer",
		ErrDamaged, a.err, b.err)
}

// Probe says what a device carries in words for people, gemel metadata of any
// volume included; empty when it knows nothing there. It writes nothing.
func Probe(dev disk.Device) (string, error) {
	if dev.Size() >= MinDevice {
		s, err := read(dev, dev.Size())
		switch {
		case err == nil:
			return fmt.Sprintf("gemel metadata of volume %q in cluster %q", s.super.Volume, s.super.Cluster), nil
		case errors.Is(err, ErrDamaged), errors.Is(err, ErrNewer), errors.Is(err, ErrForeign):
			return "gemel metadata that cannot be used here (" + err.Error() + ")", nil
		}
	}
	return disk.Probe(dev)
}
