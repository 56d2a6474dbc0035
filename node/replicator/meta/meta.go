// Package meta keeps what a replica must remember: the superblock and the
// bitmap of out-of-sync blocks, at the end of the backing device or on one of
// their own (apart.go draws that). It knows the
// bytes and how they survive a crash. It does not decide anything: what the
// flags, generations and votes mean is its callers' business.
//
// From the end of the device, D bytes, a multiple of 4096:
//
//	0                              D-1 MiB-B       D-1 MiB                 D
//	├────────── data ──────────────┤── bitmap ─────┤──────── tail ─────────┤
//	                                B bytes, 4 KiB  ├slot 0┤ log … ┤slot 1┤
//	                                per 127.5 MiB     4 KiB   ring     4 KiB
//
// Between the slots lie the 254 blocks of the activity log's ring; package
// activity draws a transaction. A write of one is stable before anything relies
// on it.
//
// One slot, little endian, zero where nothing is drawn (docs/ondisk.md tells more):
//
//	 0  8  "gemel\0sb"            64   4  flags            160 8  promised epoch
//	 8  4  CRC32C of the slot     72   8  current          168 8  accepted epoch
//	12  2  format version         80   8  bitmap           176 4  accepted version
//	14  1  slot number            88  64  history          180 1  accepted set
//	15  1  node number           152   8  resync target    181 1  fresh
//	16  8  sequence               40   8  device size      184 64 cluster name
//	24 16  id                     48   8  data size        248 64 volume name
//	                              56   8  agreed size     392 64 past, see encodePast
//	                             488   8  room            496  8 size before a move
//	                                                      504 16 backing device
//
// An update is written to slot 0 and synced, then to slot 1 and synced: at
// every moment one slot is whole, and once an update is done both hold it, so
// that one block going bad later does not take the register back in time.
// Open mends the slot that is behind before anything else happens.
//
// One page of the bitmap, 4 KiB:
//
//	 0 4  CRC32C of id, then bytes 4 … 4095
//	 4 4  page number
//	 8 8  number of the save that wrote it
//	16 …  4080 bytes of bits; bit i of the volume's bitmap stands for block i
//
// A page whose checksum is wrong counts as all set: too much is resynced, never
// too little.
package meta

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"gemel/node/arbiter"
	"gemel/node/replicator/buffer"
	"gemel/node/replicator/disk"
)

// MinDevice is the smallest usable backing device in bytes.
const MinDevice = 16 << 20

// tailSize is the space of both slots and what is between them, in bytes.
const tailSize = 1 << 20

// wipeSize is how much of the front of a device a forced Create zeroes, so that
// no tool takes the volume for what was there before.
const wipeSize = 1 << 20

// Sentinel errors of Create, Open and Update.
var (
	ErrNoMetadata = errors.New("no gemel metadata")
	ErrDamaged    = errors.New("metadata damaged")
	ErrNewer      = errors.New("metadata written by a newer gemel")
	ErrForeign    = errors.New("metadata belongs to something else")
	ErrTooSmall   = errors.New("device too small")
	ErrOccupied   = errors.New("device is not empty")
	ErrBackwards  = errors.New("the register must not go backwards")
	ErrFailed     = errors.New("metadata can no longer be written")
	ErrShrunk     = errors.New("the device became smaller")
)

// Params name a replica. Create writes them, Open checks them.
type Params struct {
	Cluster string
	Volume  string
	Node    arbiter.NodeID
	// ID identifies the new metadata; Create draws one when it is zero. Open
	// does not look at it.
	ID [16]byte
	// Seen is the size in bytes of the device, as the metadata knew it, when it
	// was used last; two, the newer one first, if it was on its way to a new end;
	// none: nobody knows. Open finds the metadata of a device that was enlarged
	// since with it.
	Seen []int64
}

// Store is the open metadata of one replica. Its methods may be called from
// many goroutines at once.
type Store struct {
	dev  disk.Device
	note string
	mend bool // a slot is to be written again

	updating sync.Mutex // one update at a time, held over the disk I/O
	mu       sync.RWMutex
	super    Superblock
	layout   layout
	failed   error

	bitmapMu sync.Mutex
	saves    uint64 // number of the newest save of the bitmap

	logMu  sync.Mutex
	logged uint64 // number of the newest transaction written or found
}

// layout holds byte offsets on the device.
type layout struct {
	data   int64 // size of the data area
	bits   int64 // where the bitmap starts
	pages  int   // of the bitmap
	slot   [2]int64
	device int64
}

// layoutOf computes where things lie on a device of size bytes.
func layoutOf(size int64) layout {
	l := layout{device: size}
	l.slot = [2]int64{size - tailSize, size - SlotSize}
	front := size - tailSize
	l.pages = pagesFor(front) // for a little more than is left: simple, and at most one page too many
	l.data = front - int64(l.pages)*pageSize
	l.bits = l.data
	return l
}

// Create makes metadata for a new replica: Created, Inconsistent, its register
// fresh. It refuses a device that is too small, and without force one that
// carries anything Probe knows; nothing is written then.
func Create(dev disk.Device, p Params, force bool) (*Store, error) {
	if dev.Size() < MinDevice {
		return nil, fmt.Errorf("create metadata: %w: it has %d bytes, at least %d are needed", ErrTooSmall, dev.Size(), MinDevice)
	}
	found, err := Probe(dev)
	if err != nil {
		return nil, fmt.Errorf("create metadata: look what the device carries: %w", err)
	}
	if found != "" && !force {
		return nil, fmt.Errorf("create metadata: %w: it carries %s; nothing was written; "+
			"use --force to overwrite it", ErrOccupied, found)
	}
	if p.ID == ([16]byte{}) {
		rand.Read(p.ID[:])
	}
	s := newStore(dev, p)
	if err := s.super.invalid(); err != nil {
		return nil, fmt.Errorf("create metadata: %w", err)
	}
	if err := s.lay(); err != nil {
		return nil, fmt.Errorf("create metadata: %w", err)
	}
	return s, nil
}

func newStore(dev disk.Device, p Params) *Store {
	l := layoutOf(dev.Size())
	return &Store{dev: dev, layout: l, super: Superblock{
		Sequence: 1, ID: p.ID, Cluster: p.Cluster, Volume: p.Volume, Node: p.Node,
		DeviceSize: l.device, DataSize: l.data,
		Flags:    Created | Inconsistent,
		Register: arbiter.Record{Fresh: true},
	}}
}

// lay wipes the front and the tail, then writes both slots.
func (s *Store) lay() error {
	if err := zero(s.dev, 0, wipeSize); err != nil {
		return err
	}
	return s.layTail()
}

// layTail wipes the tail, then writes both slots.
func (s *Store) layTail() error {
	if err := zero(s.dev, s.layout.slot[0], tailSize); err != nil {
		return err
	}
	if err := s.dev.Sync(); err != nil {
		return err
	}
	return s.writeBoth(&s.super)
}

func zero(dev disk.Device, off int64, n int) error {
	b := buffer.Get(n)
	defer buffer.Put(b)
	clear(b)
	return dev.WriteAt(b, off)
}

// Open reads the metadata of the replica named by p. It wraps ErrNoMetadata,
// ErrDamaged, ErrNewer or ErrForeign when the device does not hold it.
func Open(dev disk.Device, p Params) (*Store, error) {
	s, err := find(dev, p.Seen)
	if err != nil {
		return nil, fmt.Errorf("open metadata: %w", err)
	}
	if err := s.super.belongsTo(p); err != nil {
		return nil, fmt.Errorf("open metadata: %w", err)
	}
	if s.mend {
		if err := s.writeBoth(&s.super); err != nil {
			return nil, fmt.Errorf("open metadata: mend a slot: %w", err)
		}
	}
	if err := s.leave(); err != nil {
		return nil, fmt.Errorf("open metadata: %w", err)
	}
	return s, nil
}

// belongsTo returns why the superblock is not the one p names.
func (s *Superblock) belongsTo(p Params) error {
	switch {
	case s.Cluster != p.Cluster:
		return fmt.Errorf("%w: cluster %q, configured is %q; if the configuration is right, this is the wrong device",
			ErrForeign, s.Cluster, p.Cluster)
	case s.Volume != p.Volume:
		return fmt.Errorf("%w: volume %q, configured is %q; if the configuration is right, this is the wrong device",
			ErrForeign, s.Volume, p.Volume)
	case s.Node != p.Node:
		return fmt.Errorf("%w: node number %d, this node is number %d; the disk came from the other node, "+
			"or the nodes changed their order in the configuration", ErrForeign, s.Node, p.Node)
	}
	return nil
}

// Super returns a copy of the superblock as it is on disk.
func (s *Store) Super() Superblock {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.super
}

// at returns where things lie.
func (s *Store) at() layout {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.layout
}

// DataSize returns how many bytes in front of the metadata may hold data.
func (s *Store) DataSize() int64 { return s.at().data }

// Note says what Open had to mend, such as a slot that was damaged; empty when
// there was nothing.
func (s *Store) Note() string { return s.note }

// Update changes the superblock: when it returns nil the change is on stable
// storage, when it returns an error Super is as before. Updates run one after
// the other. Names, sizes of the device, ID and Sequence are not for change.
// An update that changes nothing costs nothing. After a failed write the store
// refuses every later update with ErrFailed, because what the disk holds is
// unknown until it is opened again.
func (s *Store) Update(change func(*Superblock)) error {
	s.updating.Lock()
	defer s.updating.Unlock()
	if err := s.usable(); err != nil {
		return fmt.Errorf("update metadata: %w", err)
	}
	old := s.Super()
	next := old
	change(&next)
	if next == old {
		return nil
	}
	next.Sequence = old.Sequence + 1
	if err := allowed(&old, &next); err != nil {
		return fmt.Errorf("update metadata: %w", err)
	}
	if err := s.replace(&next); err != nil {
		return fmt.Errorf("update metadata: %w", err)
	}
	return nil
}

// replace makes next the superblock, stable; s.updating is held.
func (s *Store) replace(next *Superblock) error {
	err := s.writeBoth(next)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failed = err
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	s.super = *next
	return nil
}

// usable returns why nothing may be written any more.
func (s *Store) usable() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.failed != nil {
		return fmt.Errorf("%w: %w", ErrFailed, s.failed)
	}
	return nil
}

// allowed returns why old must not become next.
func allowed(old, next *Superblock) error {
	if err := next.invalid(); err != nil {
		return err
	}
	if next.Register.Promised < old.Register.Promised {
		return fmt.Errorf("%w: promise %d after %d", ErrBackwards, next.Register.Promised, old.Register.Promised)
	}
	if old.Register.Accepted.Newer(next.Register.Accepted) {
		return fmt.Errorf("%w: accepted %v after %v", ErrBackwards, next.Register.Accepted, old.Register.Accepted)
	}
	if next.ID != old.ID || next.Cluster != old.Cluster || next.Volume != old.Volume || next.Node != old.Node ||
		next.DeviceSize != old.DeviceSize || next.DataSize != old.DataSize {
		return errors.New("an update must not change what the replica is")
	}
	return nil
}

// writeBoth makes next stable in slot 0, then in slot 1.
func (s *Store) writeBoth(next *Superblock) error {
	b := buffer.Get(SlotSize)
	defer buffer.Put(b)
	for slot, off := range s.at().slot {
		next.encode(b, slot)
		if err := s.dev.WriteAt(b, off); err != nil {
			return err
		}
		if err := s.dev.Sync(); err != nil {
			return err
		}
	}
	return nil
}
