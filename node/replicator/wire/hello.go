package wire

import (
	"gemel/node/arbiter"
	"gemel/node/block"
)

// NameMax is the longest name in a hello in bytes.
const NameMax = 63

// Disk is a disk state on the wire, in DRBD's order: higher is better.
type Disk uint8

const (
	DiskNone         Disk = 0 // Diskless
	DiskInconsistent Disk = 1
	DiskOutdated     Disk = 2
	DiskConsistent   Disk = 3
	DiskUpToDate     Disk = 4
)

func (d Disk) String() string {
	names := [...]string{"Diskless", "Inconsistent", "Outdated", "Consistent", "UpToDate"}
	if int(d) < len(names) {
		return names[d]
	}
	return "Unknown"
}

// HelloFlags say what a replica brings to the handshake.
type HelloFlags uint32

const (
	// HelloPrimary: the sender is Primary now.
	HelloPrimary HelloFlags = 1 << iota
	// HelloCreated: the sender's metadata is new, its data means nothing.
	HelloCreated
	// HelloCrashedPrimary: the sender died as Primary and was not resynced since.
	HelloCrashedPrimary
	// HelloBitmapValid: the sender's bitmap names every block it knows to differ.
	HelloBitmapValid
	// HelloWhole: the sender's bitmap is all set, it need not be sent.
	HelloWhole
	// HelloFresh: the sender's register never took part.
	HelloFresh
	// HelloDiscard: the sender's data was given up and is to be overwritten.
	HelloDiscard HelloFlags = 1 << 11
	// HelloKeep: the sender is Created over data that the volume is to begin with.
	HelloKeep HelloFlags = 1 << 14
)

// FeaturePaths in a hello's Features: the sender takes further connections into
// the session (Join). Unknown features are ignored; one is used when both sides
// have it.
const FeaturePaths uint32 = 1

// Has reports whether every flag of want is set.
func (f HelloFlags) Has(want HelloFlags) bool { return f&want == want }

// Hello is a replica's introduction, the payload of TypeHello, TypeHelloReply
// and TypeHelloConfirm.
type Hello struct {
	VersionMin, VersionMax uint16
	Features               uint32
	// Nonce is drawn by the sender for this connection; Echo gives the peer's
	// back, and is zero in the first hello. Package link sets both.
	Nonce, Echo [16]byte

	Cluster, Volume string
	Link            string // the link's name, as the dialer has it
	Replica         [16]byte
	Node            arbiter.NodeID
	Disk            Disk
	Flags           HelloFlags

	DataSize   int64 // bytes this side could hold
	AgreedSize int64 // bytes of the volume as agreed before; 0 when never
	Generation block.Generations
	// ResyncTarget is the source's generation of an unfinished resync towards
	// the sender.
	ResyncTarget block.Generation
	Promised     arbiter.Epoch
	Accepted     arbiter.Accepted
	// Reign is the epoch the sender serves as Primary; zero when it is not.
	Reign     arbiter.Epoch
	OutOfSync int64 // bytes that the sender's bitmap marks
	// Sequence counts the updates of the sender's metadata. PeerReplica and
	// PeerSequence are the receiver's as the sender wrote them down when they
	// last met; Said is the sender's own that the receiver wrote down.
	Sequence     uint64
	PeerReplica  [16]byte
	PeerSequence uint64
	Said         uint64
	// ReignStart, ReignEnd and Apart are wall times in nanoseconds since 1970:
	// of the sender's last reign, and since when its bits count. Zero: unknown.
	ReignStart, ReignEnd, Apart int64
	// AfterSplit0 and AfterSplit1 are its policies after a split brain.
	AfterSplit0, AfterSplit1 uint8
}

// helloFixed is the length of a hello's fixed part. Layout, big endian:
//
//	 0  2 version min    56 1 node        160  8 resync target
//	 2  2 version max    57 1 disk        168  8 promised
//	 4  4 features       58 2 zero        176  8 accepted epoch
//	 8 16 nonce          60 4 flags       184  4 accepted version
//	24 16 echo           64 8 data size   188  1 accepted set
//	40 16 replica        72 8 agreed      189  3 zero
//	                     80 8 current     192  8 reign
//	                     88 8 bitmap      200  8 out of sync
//	                     96 64 history
//
//	208  8 sequence      240  8 reign start   264  1 after-sb-0pri
//	216 16 peer replica  248  8 reign end     265  1 after-sb-1pri
//	232  8 peer sequence 256  8 apart since   266  6 zero
//	                                          272  8 said
//
// then three names, one length byte and the bytes each: cluster, volume, link.
// Bytes behind them belong to later versions and are skipped.
const helloFixed = 280

// AppendHello appends the hello's bytes to dst.
func AppendHello(dst []byte, h *Hello) []byte {
	var b [helloFixed]byte
	be.PutUint16(b[0:], h.VersionMin)
	be.PutUint16(b[2:], h.VersionMax)
	be.PutUint32(b[4:], h.Features)
	copy(b[8:], h.Nonce[:])
	copy(b[24:], h.Echo[:])
	copy(b[40:], h.Replica[:])
	b[56], b[57] = byte(h.Node), byte(h.Disk)
	be.PutUint32(b[60:], uint32(h.Flags))
	be.PutUint64(b[64:], uint64(h.DataSize))
	be.PutUint64(b[72:], uint64(h.AgreedSize))
	putGenerations(b[80:160], &h.Generation)
	be.PutUint64(b[160:], uint64(h.ResyncTarget))
	be.PutUint64(b[168:], uint64(h.Promised))
	be.PutUint64(b[176:], uint64(h.Accepted.Epoch))
	be.PutUint32(b[184:], h.Accepted.Version)
	b[188] = byte(h.Accepted.Set)
	be.PutUint64(b[192:], uint64(h.Reign))
	be.PutUint64(b[200:], uint64(h.OutOfSync))
	h.putPast(b[:])
	dst = append(dst, b[:]...)
	for _, name := range []string{h.Cluster, h.Volume, h.Link} {
		dst = appendName(dst, name)
	}
	return dst
}

// putPast and parsePast are the part that tells where the replica comes from.
func (h *Hello) putPast(b []byte) {
	be.PutUint64(b[208:], h.Sequence)
	copy(b[216:], h.PeerReplica[:])
	be.PutUint64(b[232:], h.PeerSequence)
	be.PutUint64(b[240:], uint64(h.ReignStart))
	be.PutUint64(b[248:], uint64(h.ReignEnd))
	be.PutUint64(b[256:], uint64(h.Apart))
	b[264], b[265] = h.AfterSplit0, h.AfterSplit1
	be.PutUint64(b[272:], h.Said)
}

func (h *Hello) parsePast(b []byte) {
	h.Sequence, h.PeerReplica, h.PeerSequence = be.Uint64(b[208:]), [16]byte(b[216:]), be.Uint64(b[232:])
	h.ReignStart, h.ReignEnd = int64(be.Uint64(b[240:])), int64(be.Uint64(b[248:]))
	h.Apart = int64(be.Uint64(b[256:]))
	h.AfterSplit0, h.AfterSplit1 = b[264], b[265]
	h.Said = be.Uint64(b[272:])
}

func putGenerations(b []byte, g *block.Generations) {
	be.PutUint64(b[0:], uint64(g.Current))
	be.PutUint64(b[8:], uint64(g.Bitmap))
	for i, old := range g.History {
		be.PutUint64(b[16+8*i:], uint64(old))
	}
}

func getGenerations(b []byte) (g block.Generations) {
	g.Current = block.Generation(be.Uint64(b[0:]))
	g.Bitmap = block.Generation(be.Uint64(b[8:]))
	for i := range g.History {
		g.History[i] = block.Generation(be.Uint64(b[16+8*i:]))
	}
	return g
}

// appendName appends at most NameMax bytes of name with their number in front.
func appendName(dst []byte, name string) []byte {
	name = name[:min(len(name), NameMax)]
	return append(append(dst, byte(len(name))), name...)
}

// ParseHello reads a hello. The error is a *Refused.
func ParseHello(b []byte) (Hello, error) {
	if len(b) < 4 {
		return Hello{}, Refuse(Truncated, "hello with %d bytes", len(b))
	}
	h := Hello{VersionMin: be.Uint16(b), VersionMax: be.Uint16(b[2:])}
	if _, err := CommonVersion(h.VersionMin, h.VersionMax); err != nil {
		return h, err
	}
	if len(b) < helloFixed {
		return h, Refuse(Truncated, "hello with %d bytes, %d are needed", len(b), helloFixed)
	}
	h.parseFixed(b)
	rest := b[helloFixed:]
	for _, name := range []*string{&h.Cluster, &h.Volume, &h.Link} {
		var err error
		if *name, rest, err = cutName(rest); err != nil {
			return h, err
		}
	}
	return h, h.invalid()
}

func (h *Hello) parseFixed(b []byte) {
	h.Features = be.Uint32(b[4:])
	h.Nonce, h.Echo, h.Replica = [16]byte(b[8:]), [16]byte(b[24:]), [16]byte(b[40:])
	h.Node, h.Disk = arbiter.NodeID(b[56]), Disk(b[57])
	h.Flags = HelloFlags(be.Uint32(b[60:]))
	h.DataSize, h.AgreedSize = int64(be.Uint64(b[64:])), int64(be.Uint64(b[72:]))
	h.Generation = getGenerations(b[80:160])
	h.ResyncTarget = block.Generation(be.Uint64(b[160:]))
	h.Promised = arbiter.Epoch(be.Uint64(b[168:]))
	h.Accepted.Epoch = arbiter.Epoch(be.Uint64(b[176:]))
	h.Accepted.Version = be.Uint32(b[184:])
	h.Accepted.Set = arbiter.Set(b[188])
	h.Reign = arbiter.Epoch(be.Uint64(b[192:]))
	h.OutOfSync = int64(be.Uint64(b[200:]))
	h.parsePast(b)
}

// invalid returns the rule that the hello breaks, nil when it breaks none.
// Unknown flags and features are no fault: a later version may send them.
func (h *Hello) invalid() error {
	switch {
	case h.Cluster == "" || h.Volume == "":
		return Refuse(BadName, "cluster %q, volume %q: neither may be empty", h.Cluster, h.Volume)
	case h.Node > 1:
		return Refuse(BadValue, "node number %d, only 0 and 1 exist", h.Node)
	case h.Disk > DiskUpToDate:
		return Refuse(BadValue, "disk state %d is unknown", h.Disk)
	case h.DataSize < 0 || h.DataSize%block.Size != 0:
		return Refuse(BadValue, "data size %d", h.DataSize)
	case h.AgreedSize < 0 || h.AgreedSize%block.Size != 0 || h.AgreedSize > h.DataSize:
		return Refuse(BadValue, "agreed size %d of %d", h.AgreedSize, h.DataSize)
	case h.Accepted.Set > arbiter.Both:
		return Refuse(BadValue, "in-sync set %#x", h.Accepted.Set)
	case h.OutOfSync < 0:
		return Refuse(BadValue, "%d bytes out of sync", h.OutOfSync)
	}
	return nil
}

func cutName(b []byte) (name string, rest []byte, err error) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, Refuse(Truncated, "a name of the hello is cut off")
	}
	n := int(b[0])
	if n > NameMax {
		return "", nil, Refuse(BadName, "a name of %d bytes, at most %d are taken", n, NameMax)
	}
	return string(b[1 : 1+n]), b[1+n:], nil
}

// Verdict is what one side made of both hellos. Decision is the handshake's
// number for it; both sides must have come to mirrored ones.
type Verdict struct {
	Decision uint16
	// Size is the volume's size in bytes, the smaller of both sides.
	Size   int64
	Reason string // a sentence for people
}

// AppendVerdict appends the verdict's bytes to dst: 2 decision, 6 zero, 8 size,
// then the reason, cut at 1000 bytes.
func AppendVerdict(dst []byte, v *Verdict) []byte {
	dst = be.AppendUint16(dst, v.Decision)
	dst = append(dst, 0, 0, 0, 0, 0, 0)
	dst = be.AppendUint64(dst, uint64(v.Size))
	return append(dst, v.Reason[:min(len(v.Reason), 1000)]...)
}

// ParseVerdict reads a verdict. The error is a *Refused.
func ParseVerdict(b []byte) (Verdict, error) {
	if len(b) < 16 {
		return Verdict{}, Refuse(Truncated, "verdict with %d bytes", len(b))
	}
	v := Verdict{Decision: be.Uint16(b), Size: int64(be.Uint64(b[8:])), Reason: string(b[16:])}
	if v.Size < 0 || v.Size%block.Size != 0 {
		return v, Refuse(BadValue, "volume size %d", v.Size)
	}
	return v, nil
}

// State is a change that the peer must know.
type State struct {
	Disk       Disk
	Flags      HelloFlags
	Reign      arbiter.Epoch
	Accepted   arbiter.Accepted
	Generation block.Generations
}

// stateSize is the length of a State: 1 disk, 3 zero, 4 flags, 8 reign, 8
// accepted epoch, 4 accepted version, 1 set, 3 zero, 80 generations.
const stateSize = 112

// AppendState appends the state's bytes to dst.
func AppendState(dst []byte, s *State) []byte {
	var b [stateSize]byte
	b[0] = byte(s.Disk)
	be.PutUint32(b[4:], uint32(s.Flags))
	be.PutUint64(b[8:], uint64(s.Reign))
	be.PutUint64(b[16:], uint64(s.Accepted.Epoch))
	be.PutUint32(b[24:], s.Accepted.Version)
	b[28] = byte(s.Accepted.Set)
	putGenerations(b[32:], &s.Generation)
	return append(dst, b[:]...)
}

// ParseState reads a state. The error is a *Refused.
func ParseState(b []byte) (State, error) {
	if len(b) < stateSize {
		return State{}, Refuse(Truncated, "state with %d bytes, %d are needed", len(b), stateSize)
	}
	s := State{
		Disk:  Disk(b[0]),
		Flags: HelloFlags(be.Uint32(b[4:])),
		Reign: arbiter.Epoch(be.Uint64(b[8:])),
		Accepted: arbiter.Accepted{
			Epoch:   arbiter.Epoch(be.Uint64(b[16:])),
			Version: be.Uint32(b[24:]),
			Set:     arbiter.Set(b[28]),
		},
		Generation: getGenerations(b[32:]),
	}
	if s.Disk > DiskUpToDate || s.Accepted.Set > arbiter.Both {
		return s, Refuse(BadValue, "disk state %d, in-sync set %#x", s.Disk, s.Accepted.Set)
	}
	return s, nil
}

// AppendWords appends bitmap words as TypeBitmap carries them.
func AppendWords(dst []byte, words []uint64) []byte {
	for _, w := range words {
		dst = be.AppendUint64(dst, w)
	}
	return dst
}

// OrWords sets in words every bit that the payload of a TypeBitmap sets. The
// payload's first word belongs to words[0]. The error is a *Refused.
func OrWords(words []uint64, payload []byte) error {
	if len(payload)%8 != 0 || len(payload)/8 > len(words) {
		return Refuse(BadRange, "%d bytes of bitmap where %d words are left", len(payload), len(words))
	}
	for i := range len(payload) / 8 {
		words[i] |= be.Uint64(payload[8*i:])
	}
	return nil
}
