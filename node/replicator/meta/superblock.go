package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"gemel/node/arbiter"
	"gemel/node/block"
)

// FormatVersion is the version of the bytes this package writes. It grows with
// every change; a reader refuses what is newer than itself.
const FormatVersion = 1

// SlotSize is the size of one superblock on disk in bytes.
const SlotSize = 4096

// NameMax is the longest cluster or volume name in bytes.
const NameMax = 63

// Flags say what is true of a replica across restarts.
type Flags uint32

const (
	// Created: the metadata is new and no reign ever used this replica.
	Created Flags = 1 << iota
	// PrimaryActive is the crash mark: set before a Primary's first write and
	// removed after its last flush. Found at start it means a crash.
	PrimaryActive
	// CrashedPrimary: the replica died as Primary and was not resynced since;
	// which of its last writes reached the disk is unknown.
	CrashedPrimary
	// Inconsistent: the data is not whole: no first sync yet, or a resync
	// towards this replica did not finish.
	Inconsistent
	// Outdated: the data is whole, but a newer generation exists elsewhere.
	Outdated
	// BitmapValid: the saved bitmap names every block that may be out of sync.
	// Without it every block must be taken as out of sync.
	BitmapValid

	// Discard: an operator or a policy gave the data up; it is to be
	// overwritten, and the replica cannot be Primary.
	Discard Flags = 1 << 10
	// KeepUndo: what a resync will overwrite is kept in an undo file first.
	KeepUndo Flags = 1 << 11
	// External: the metadata lies on a device of its own, see Apart.
	External Flags = 1 << 13
	// Keep: the replica was created over data that is to be the volume's; it goes
	// with Created.
	Keep Flags = 1 << 14

	knownFlags = Created | PrimaryActive | CrashedPrimary | Inconsistent | Outdated | BitmapValid | Discard | KeepUndo | External | Keep
)

// Has reports whether every flag of want is set.
func (f Flags) Has(want Flags) bool { return f&want == want }

// With returns f with the flags of more set.
func (f Flags) With(more Flags) Flags { return f | more }

// Without returns f with the flags of less removed.
func (f Flags) Without(less Flags) Flags { return f &^ less }

// Superblock is everything a replica remembers beside data and bitmap.
type Superblock struct {
	Sequence uint64 // grows by one with every update; kept by this package
	// ID is drawn when the metadata is created: two replicas differ, and so
	// does the same disk after a new `volume create`.
	ID      [16]byte
	Cluster string
	Volume  string
	Node    arbiter.NodeID // 0 or 1

	DeviceSize int64 // bytes of the backing device when the metadata was made
	DataSize   int64 // bytes in front of the metadata that may hold data
	AgreedSize int64 // bytes of the volume, the smaller of both sides; 0 until known

	Flags      Flags
	Generation block.Generations
	// ResyncTarget is the source's current generation while a resync towards
	// this replica runs; zero otherwise.
	ResyncTarget block.Generation
	// MayLack is the protocol of the Primary that this replica followed last:
	// under B or A that may have completed writes which are not here.
	MayLack block.Protocol
	// Register is this node's vote; it never goes backwards.
	Register arbiter.Record
	// Verify is how far the last verify came.
	Verify Verify

	Past Past

	// Room is how far the volume could grow at once, in bytes: what lies between
	// AgreedSize and it is zero on this device, and out of sync nowhere; 0 or at
	// most AgreedSize: not at all.
	Room int64
	// Moved is the size that the device had, while the metadata that lay at its end
	// then is still to be wiped; else 0.
	Moved int64
	// Backing is half of the SHA-256 of the backing device's own name, if the
	// metadata is External and the device has one; else zero.
	Backing [16]byte
}

// Verify is what of a verify outlives a restart.
type Verify struct {
	Running, Repair, Paused bool
	Pos                     int64 // bytes; what lies in front was looked at
	MaxRate                 int64 // bytes per second, 0: no limit
	Found                   int64 // bytes that differed
}

// Past tells where a replica comes from. Times are wall time, nanoseconds since
// 1970; zero: never, or not known.
type Past struct {
	// ReignStart and ReignEnd bound its last time as Primary; an end of zero:
	// it goes on, or a crash ended it.
	ReignStart, ReignEnd int64
	// Apart is since when the bitmap counts what the peer lacks.
	Apart int64
	// Peer is the peer's id, PeerSequence its Sequence, both as of the last
	// meeting. Said is this replica's own that the peer certainly wrote down: a
	// peer that does not know it any more was restored from a backup.
	Peer         [16]byte
	PeerSequence uint64
	Said         uint64
	// Ending: the peer may have been told the end of a resync, so it may carry
	// Generation.Current although Generation.Bitmap still counts.
	Ending bool
}

// Byte offsets within a slot; docs/ondisk.md draws them. Frozen for version 1;
// magic, checksum and version stay where they are for every later version.
const (
	offMagic    = 0
	offCRC      = 8
	offVersion  = 12
	offSlot     = 14
	offNode     = 15
	offSequence = 16
	offID       = 24
	offDevice   = 40
	offData     = 48
	offAgreed   = 56
	offFlags    = 64
	offCurrent  = 72
	offBitmap   = 80
	offHistory  = 88
	offTarget   = 152
	offPromised = 160
	offEpoch    = 168
	offAccept   = 176
	offSet      = 180
	offFresh    = 181
	offCluster  = 184
	offVolume   = 248
	offNamesEnd = 312
	offMayLack  = 344
	offChange   = 348
	offThird    = 352
	offVerify   = 360 // 4 flags, 4 zero, 8 position, 8 rate, 8 found
	offPast     = 392 // see encodePast; in between: fields of other rooms
	offRoom     = 488
	offMoved    = 496
	offBacking  = 504
)

// Bits of the flags of a verify.
const (
	verifyRunning = 1 << iota
	verifyRepair
	verifyPaused

	verifyKnown = verifyRunning | verifyRepair | verifyPaused
)

var magic = [8]byte{'g', 'e', 'm', 'e', 'l', 0, 's', 'b'}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var le = binary.LittleEndian

// errBlank is the decoder's word for a slot without our magic.
var errBlank = errors.New("no gemel superblock here")

// encode writes the superblock for the slot into b, SlotSize bytes.
func (s *Superblock) encode(b []byte, slot int) {
	clear(b[:SlotSize])
	copy(b[offMagic:], magic[:])
	le.PutUint16(b[offVersion:], FormatVersion)
	b[offSlot], b[offNode] = byte(slot), byte(s.Node)
	le.PutUint64(b[offSequence:], s.Sequence)
	copy(b[offID:], s.ID[:])
	le.PutUint64(b[offDevice:], uint64(s.DeviceSize))
	le.PutUint64(b[offData:], uint64(s.DataSize))
	le.PutUint64(b[offAgreed:], uint64(s.AgreedSize))
	le.PutUint32(b[offFlags:], uint32(s.Flags))
	le.PutUint64(b[offCurrent:], uint64(s.Generation.Current))
	le.PutUint64(b[offBitmap:], uint64(s.Generation.Bitmap))
	for i, h := range s.Generation.History {
		le.PutUint64(b[offHistory+8*i:], uint64(h))
	}
	le.PutUint64(b[offTarget:], uint64(s.ResyncTarget))
	b[offMayLack] = byte(s.MayLack)
	encodeRegister(b, s.Register)
	encodeVerify(b, s.Verify)
	putName(b[offCluster:], s.Cluster)
	putName(b[offVolume:], s.Volume)
	encodePast(b[offPast:], &s.Past)
	le.PutUint64(b[offRoom:], uint64(s.Room))
	le.PutUint64(b[offMoved:], uint64(s.Moved))
	copy(b[offBacking:], s.Backing[:])
	le.PutUint32(b[offCRC:], checksumSlot(b))
}

func encodeRegister(b []byte, r arbiter.Record) {
	le.PutUint64(b[offPromised:], uint64(r.Promised))
	le.PutUint64(b[offEpoch:], uint64(r.Accepted.Epoch))
	le.PutUint32(b[offAccept:], r.Accepted.Version)
	b[offSet] = byte(r.Accepted.Set)
	le.PutUint32(b[offChange:], r.Accepted.Rule.Change)
	le.PutUint32(b[offThird:], uint32(r.Accepted.Rule.Third))
	if r.Fresh {
		b[offFresh] = 1
	}
}

// encodePast and decodePast are the two sides of one layout, 64 bytes.
func encodePast(b []byte, p *Past) {
	le.PutUint64(b[0:], uint64(p.ReignStart))
	le.PutUint64(b[8:], uint64(p.ReignEnd))
	le.PutUint64(b[16:], uint64(p.Apart))
	copy(b[24:], p.Peer[:])
	le.PutUint64(b[40:], p.PeerSequence)
	if p.Ending {
		b[48] = 1
	}
	le.PutUint64(b[56:], p.Said)
}

func decodePast(b []byte) Past {
	return Past{
		ReignStart: int64(le.Uint64(b[0:])), ReignEnd: int64(le.Uint64(b[8:])), Apart: int64(le.Uint64(b[16:])),
		Peer: [16]byte(b[24:]), PeerSequence: le.Uint64(b[40:]), Ending: b[48] != 0,
		Said: le.Uint64(b[56:]),
	}
}

// decode reads the superblock of the slot from b, SlotSize bytes. It returns
// errBlank, ErrNewer, or a sentence saying what is wrong with the bytes.
func decode(b []byte, slot int) (Superblock, error) {
	if [8]byte(b[offMagic:]) != magic {
		return Superblock{}, errBlank
	}
	if got, want := checksumSlot(b), le.Uint32(b[offCRC:]); got != want {
		return Superblock{}, fmt.Errorf("checksum is %08x, the bytes give %08x", want, got)
	}
	b, err := migrated(b)
	if err != nil {
		return Superblock{}, err
	}
	s := Superblock{
		Sequence:     le.Uint64(b[offSequence:]),
		ID:           [16]byte(b[offID:]),
		Node:         arbiter.NodeID(b[offNode]),
		DeviceSize:   int64(le.Uint64(b[offDevice:])),
		DataSize:     int64(le.Uint64(b[offData:])),
		AgreedSize:   int64(le.Uint64(b[offAgreed:])),
		Flags:        Flags(le.Uint32(b[offFlags:])),
		ResyncTarget: block.Generation(le.Uint64(b[offTarget:])),
		MayLack:      block.Protocol(b[offMayLack]),
		Register:     decodeRegister(b),
		Verify:       decodeVerify(b),
		Past:         decodePast(b[offPast:]),
		Room:         int64(le.Uint64(b[offRoom:])),
		Moved:        int64(le.Uint64(b[offMoved:])),
		Backing:      [16]byte(b[offBacking:]),
	}
	s.Generation.Current = block.Generation(le.Uint64(b[offCurrent:]))
	s.Generation.Bitmap = block.Generation(le.Uint64(b[offBitmap:]))
	for i := range s.Generation.History {
		s.Generation.History[i] = block.Generation(le.Uint64(b[offHistory+8*i:]))
	}
	if s.Cluster, err = getName(b[offCluster:offVolume]); err != nil {
		return Superblock{}, fmt.Errorf("cluster name: %w", err)
	}
	if s.Volume, err = getName(b[offVolume:offNamesEnd]); err != nil {
		return Superblock{}, fmt.Errorf("volume name: %w", err)
	}
	if flags := le.Uint32(b[offVerify:]); flags&^uint32(verifyKnown) != 0 {
		return Superblock{}, fmt.Errorf("unknown flags %#x of a verify", flags)
	}
	if int(b[offSlot]) != slot {
		return Superblock{}, fmt.Errorf("the bytes belong to slot %d", b[offSlot])
	}
	return s, s.invalid()
}

func decodeRegister(b []byte) arbiter.Record {
	return arbiter.Record{
		Promised: arbiter.Epoch(le.Uint64(b[offPromised:])),
		Accepted: arbiter.Accepted{
			Epoch:   arbiter.Epoch(le.Uint64(b[offEpoch:])),
			Version: le.Uint32(b[offAccept:]),
			Set:     arbiter.Set(b[offSet]),
			Rule:    arbiter.Rule{Change: le.Uint32(b[offChange:]), Third: arbiter.Third(le.Uint32(b[offThird:]))},
		},
		Fresh: b[offFresh] != 0,
	}
}

func encodeVerify(b []byte, v Verify) {
	flags := uint32(0)
	for i, set := range []bool{v.Running, v.Repair, v.Paused} {
		if set {
			flags |= 1 << i
		}
	}
	le.PutUint32(b[offVerify:], flags)
	le.PutUint64(b[offVerify+8:], uint64(v.Pos))
	le.PutUint64(b[offVerify+16:], uint64(v.MaxRate))
	le.PutUint64(b[offVerify+24:], uint64(v.Found))
}

func decodeVerify(b []byte) Verify {
	flags := le.Uint32(b[offVerify:])
	return Verify{
		Running: flags&verifyRunning != 0, Repair: flags&verifyRepair != 0, Paused: flags&verifyPaused != 0,
		Pos:     int64(le.Uint64(b[offVerify+8:])),
		MaxRate: int64(le.Uint64(b[offVerify+16:])),
		Found:   int64(le.Uint64(b[offVerify+24:])),
	}
}

// invalid returns why the superblock breaks a rule, nil when it breaks none.
func (s *Superblock) invalid() error {
	switch {
	case s.Sequence == 0:
		return errors.New("sequence number is 0")
	case s.Node > 1:
		return fmt.Errorf("node number is %d, only 0 and 1 exist", s.Node)
	case s.Cluster == "" || len(s.Cluster) > NameMax:
		return fmt.Errorf("cluster name %q is empty or longer than %d bytes", s.Cluster, NameMax)
	case s.Volume == "" || len(s.Volume) > NameMax:
		return fmt.Errorf("volume name %q is empty or longer than %d bytes", s.Volume, NameMax)
	case s.Flags&^knownFlags != 0:
		return fmt.Errorf("unknown flags %#x", uint32(s.Flags&^knownFlags))
	case s.MayLack > block.ProtocolA:
		return fmt.Errorf("protocol %d does not exist", s.MayLack)
	case s.Verify.Pos < 0 || s.Verify.MaxRate < 0 || s.Verify.Found < 0:
		return fmt.Errorf("a verify at %d with rate %d that found %d bytes", s.Verify.Pos, s.Verify.MaxRate, s.Verify.Found)
	case s.Register.Accepted.Set > arbiter.Both:
		return fmt.Errorf("in-sync set %#x names nodes that do not exist", s.Register.Accepted.Set)
	}
	return s.invalidSizes()
}

// invalidSizes returns why the sizes do not fit each other.
func (s *Superblock) invalidSizes() error {
	within := s.DataSize < s.DeviceSize
	if s.Flags.Has(External) {
		within = s.DataSize == s.DeviceSize
	}
	switch {
	case s.DataSize <= 0 || s.DataSize%block.Size != 0 || !within:
		return fmt.Errorf("data size %d does not fit a device of %d bytes", s.DataSize, s.DeviceSize)
	case s.AgreedSize < 0 || s.AgreedSize%block.Size != 0 || s.AgreedSize > s.DataSize:
		return fmt.Errorf("agreed size %d does not fit a data size of %d bytes", s.AgreedSize, s.DataSize)
	case s.Room < 0 || s.Room%block.Size != 0 || s.Room > s.DataSize:
		return fmt.Errorf("room %d does not fit a data size of %d bytes", s.Room, s.DataSize)
	case s.Moved != 0 && (s.Moved < MinDevice || s.Moved%block.Size != 0 || s.Moved > s.DataSize):
		return fmt.Errorf("metadata that was at the end of %d bytes is not in a data area of %d", s.Moved, s.DataSize)
	}
	return nil
}

// checksumSlot is CRC32C of the slot with the checksum field taken as zero.
func checksumSlot(b []byte) uint32 {
	var zero [4]byte
	sum := crc32.Update(0, castagnoli, b[:offCRC])
	sum = crc32.Update(sum, castagnoli, zero[:])
	return crc32.Update(sum, castagnoli, b[offCRC+4:SlotSize])
}

// putName stores a name as one length byte and its bytes.
func putName(b []byte, name string) {
	b[0] = byte(len(name))
	copy(b[1:1+NameMax], name)
}

func getName(b []byte) (string, error) {
	n := int(b[0])
	if n > NameMax {
		return "", fmt.Errorf("length %d is above %d", n, NameMax)
	}
	return string(b[1 : 1+n]), nil
}
