package meta

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"gemel/node/replicator/disk"
)

// Metadata apart from the data: on a small device or file of its own, so that all
// of the backing device is data, such as that of a file system which was there
// before gemel. The tail comes first there and the bitmap behind it; so a backing
// device that grows moves nothing.
//
//	0                1 MiB
//	├───── tail ─────┤── bitmap ──┤
//	├slot 0┤ ring ┤slot 1┤

// Apart is where the replica's metadata lies, and the data that it is of.
type Apart struct {
	Meta, Data disk.Device
	// Backing names the device of the data whatever its path is, such as by its
	// serial number; empty: it has no such name. Metadata is refused on another.
	Backing string
}

// layoutApart computes where things lie on the metadata's own device for a
// backing device of size bytes.
func layoutApart(size int64) layout {
	return layout{device: size, data: size, bits: tailSize, pages: pagesFor(size), slot: [2]int64{0, tailSize - SlotSize}}
}

// NeedApart returns how many bytes the metadata needs on a device of its own for a
// backing device of size bytes.
func NeedApart(size int64) int64 { l := layoutApart(size); return l.page(l.pages) }

// CreateApart is Create with the metadata on a device of its own. With keep the
// content of the backing device stays as it is, and the peer is filled from it.
func CreateApart(a Apart, p Params, force, keep bool) (*Store, error) {
	if err := a.mayCreate(force, keep); err != nil {
		return nil, fmt.Errorf("create metadata: %w", err)
	}
	s := newStore(a.Data, p)
	s.dev, s.layout = a.Meta, layoutApart(a.Data.Size())
	s.super.Flags = s.super.Flags.With(External)
	if keep {
		s.super.Flags = s.super.Flags.With(Keep)
	}
	s.super.DataSize, s.super.Backing = s.layout.data, hashed(a.Backing)
	if err := s.super.invalid(); err != nil {
		return nil, fmt.Errorf("create metadata: %w", err)
	}
	if !keep {
		if err := zero(a.Data, 0, wipeSize); err != nil {
			return nil, fmt.Errorf("create metadata: %w", err)
		}
		if err := a.Data.Sync(); err != nil {
			return nil, fmt.Errorf("create metadata: %w", err)
		}
	}
	if err := s.layTail(); err != nil {
		return nil, fmt.Errorf("create metadata: %w", err)
	}
	return s, nil
}

// mayCreate refuses devices that are too small, and without force what carries
// anything that Probe knows.
func (a *Apart) mayCreate(force, keep bool) error {
	if a.Data.Size() < MinDevice {
		return fmt.Errorf("%w: it has %d bytes, at least %d are needed", ErrTooSmall, a.Data.Size(), MinDevice)
	}
	if err := a.room(a.Data.Size()); err != nil {
		return err
	}
	if force {
		return nil
	}
	found, err := probeApart(a.Meta)
	if err == nil && found != "" {
		return fmt.Errorf("%w: the metadata's device carries %s; nothing was written; use --force to overwrite it", ErrOccupied, found)
	}
	if err != nil || keep {
		return err
	}
	if found, err = Probe(a.Data); err == nil && found != "" {
		return fmt.Errorf("%w: it carries %s; nothing was written; use --keep-data to put gemel under it, or --force to overwrite it",
			ErrOccupied, found)
	}
	return err
}

// room refuses a metadata device that is too small for size bytes of data.
func (a *Apart) room(size int64) error {
	if need := NeedApart(size); a.Meta.Size() < need {
		return fmt.Errorf("%w: the metadata of %d bytes needs %d on its device, which has %d", ErrTooSmall, size, need, a.Meta.Size())
	}
	return nil
}

// OpenApart is Open with the metadata on a device of its own. A backing device
// that is another one, or smaller than it was, is refused by ErrForeign or
// ErrShrunk.
func OpenApart(a Apart, p Params) (*Store, error) {
	s, err := readApart(a.Meta)
	if err == nil {
		err = s.super.belongsTo(p)
	}
	if err == nil {
		err = s.super.isOf(&a)
	}
	if err != nil {
		return nil, fmt.Errorf("open metadata: %w", err)
	}
	if s.mend {
		if err := s.writeBoth(&s.super); err != nil {
			return nil, fmt.Errorf("open metadata: mend a slot: %w", err)
		}
	}
	if a.Data.Size() > s.super.DeviceSize {
		s.note = joined(s.note, enlarged(s.super.DeviceSize, a.Data.Size()))
	}
	return s, nil
}

// isOf returns why the backing device is not the one that the metadata is of.
func (s *Superblock) isOf(a *Apart) error {
	none := [16]byte{}
	switch got := hashed(a.Backing); {
	case got != none && s.Backing != none && got != s.Backing:
		return fmt.Errorf("%w: it is of another backing device than this one (%s); put the right one back, or, if the disk was replaced, "+
			"run `gemel volume create NAME --force` to fill the new one from the peer", ErrForeign, a.Backing)
	case a.Data.Size() < s.DeviceSize:
		return fmt.Errorf("%w: it had %d bytes and has %d now; nothing was changed; enlarge it again, or run "+
			"`gemel volume create NAME --force` to fill a smaller volume anew", ErrShrunk, s.DeviceSize, a.Data.Size())
	}
	return a.room(s.DeviceSize)
}

func hashed(name string) (h [16]byte) {
	if name != "" {
		sum := sha256.Sum256([]byte(name))
		copy(h[:], sum[:])
	}
	return h
}

// readApart loads the newest superblock of a device that holds metadata and
// nothing else; nothing is written.
func readApart(dev disk.Device) (*Store, error) {
	if dev.Size() < tailSize {
		return nil, fmt.Errorf("%w: the metadata's device has %d bytes, at least %d are needed", ErrNoMetadata, dev.Size(), tailSize)
	}
	var got [2]slotRead
	for i, off := range layoutApart(0).slot {
		got[i] = readSlot(dev, off, i)
	}
	newest, note, err := choose(got)
	if err == nil && !newest.Flags.Has(External) {
		err = fmt.Errorf("%w: it is of a device that holds data as well", ErrForeign)
	}
	if err != nil {
		return nil, err
	}
	return &Store{dev: dev, layout: layoutApart(newest.DataSize), super: newest, note: note, mend: note != ""}, nil
}

// probeApart says what the metadata's device carries; empty when it knows nothing.
func probeApart(dev disk.Device) (string, error) {
	s, err := readApart(dev)
	switch {
	case err == nil:
		return fmt.Sprintf("gemel metadata of volume %q in cluster %q", s.super.Volume, s.super.Cluster), nil
	case errors.Is(err, ErrDamaged), errors.Is(err, ErrNewer):
		return "gemel metadata that cannot be used here (" + err.Error() + ")", nil
	}
	return Probe(dev)
}

// growApart takes a larger backing device: only the bitmap gets more pages.
func (s *Store) growApart(size int64) error {
	from := s.at()
	if size < from.device {
		return fmt.Errorf("%w: the metadata was made for %d bytes and there are %d; nothing was changed; enlarge the device again",
			ErrShrunk, from.device, size)
	}
	room, err := s.dev.Measure()
	if err != nil {
		return err
	}
	if need := NeedApart(size); room < need {
		return fmt.Errorf("%w: the metadata of %d bytes needs %d on its device, which has %d; enlarge that as well", ErrTooSmall, size, need, room)
	}
	to := layoutApart(size)
	next := s.Super()
	next.Sequence++
	next.DeviceSize, next.DataSize = size, size
	if err := s.replace(&next); err != nil {
		return err
	}
	s.mu.Lock()
	s.layout = to
	s.mu.Unlock()
	return nil
}
