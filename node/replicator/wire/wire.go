// Package wire is the language of two replicators: which bytes mean which
// message. It opens no socket, keeps no state and decides nothing.
//
// Every message is a header of 64 bytes, big endian, and Length bytes of
// payload (docs/wire.md draws both):
//
//	 0  4  "gmlw"                 24  8  offset, bytes from the start of the volume
//	 4  1  framing version        32  4  span, bytes of the volume it speaks of
//	 5  1  type                   36  4  length of the payload
//	 6  2  flags                  40  8  sequence, 0 for the first message of a side
//	 8  8  epoch of the reign     48  4  code
//	16  8  id                     52  4  received, low half of a position
//	                              56  4  CRC32C of the payload
//	                              60  4  CRC32C of bytes 0 … 59
//
// The header has a checksum of its own, so that a length is believed before the
// payload is read. The framing and the first eight bytes of a hello never
// change: the hello carries the range of protocol versions, and both sides go
// on with the highest that both know.
//
// Versions, one line each:
//
//	1: hello, verdict, bitmap, write, barrier, resync, state, ping, error, join,
//	   resume, pulse
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"gemel/node/arbiter"
	"gemel/node/block"
)

// Protocol versions this code speaks.
const (
	VersionMin = 1
	VersionMax = 1
)

// Limits in bytes.
const (
	HeaderSize = 64
	// MaxPayload bounds the data of one write, resync write or bitmap chunk.
	MaxPayload = 1 << 20
	// MaxTalk bounds every other payload.
	MaxTalk = 64 << 10
)

const framing = 1

var magic = [4]byte{'g', 'm', 'l', 'w'}

var be = binary.BigEndian

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Type says what a message is. Numbers are frozen; new ones are appended.
type Type uint8

const (
	// Hello opens a connection: its payload is a Hello. The dialing side sends
	// it first, HelloReply answers it, HelloConfirm proves that the dialer saw
	// the answer.
	TypeHello        Type = 1
	TypeHelloReply   Type = 2
	TypeHelloConfirm Type = 3
	// Verdict tells what this side made of both hellos; payload is a Verdict.
	TypeVerdict Type = 4
	// Bitmap carries words of the sender's bitmap; Offset is the first block
	// times its size, payload is words, 8 bytes each. FlagLast ends it.
	TypeBitmap Type = 5

	// Write carries data of the application for Offset; WriteAck tells that it
	// is on the peer's disk (perhaps in its cache). ID ties them together.
	TypeWrite    Type = 6
	TypeWriteAck Type = 7
	// Barrier asks for everything acknowledged before to be made stable;
	// BarrierAck tells that it is.
	TypeBarrier    Type = 8
	TypeBarrierAck Type = 9

	// ResyncWrite carries a block of a resync. FlagZero: Span zero bytes, no
	// payload. ResyncDone ends the pass, with FlagReply it answers.
	TypeResyncWrite Type = 10
	TypeResyncAck   Type = 11
	TypeResyncDone  Type = 12

	// State tells a change of role, disk or in-sync set; payload is a State.
	TypeState Type = 13
	// Ping shows that the sender lives, Pong that it also reads. ID is the
	// sender's clock, given back as it is.
	TypePing Type = 14
	TypePong Type = 15
	// Error says why the sender is about to close; payload is text.
	TypeError Type = 16

	// Discard and WriteZeroes are writes of the application without payload:
	// Span bytes at Offset read as zeroes afterwards. A discard gives the blocks
	// back; WriteZeroes may, unless FlagKeep is set. WriteAck answers both.
	TypeDiscard     Type = 20
	TypeWriteZeroes Type = 21
	// Protocol tells under which protocol writes complete from now on: Code is a
	// block.Protocol. With FlagReply: it is noted on stable storage.
	TypeProtocol Type = 22
	// Received tells that the write ID has arrived, and is not written yet.
	TypeReceived Type = 23

	// Ask is the Primary's question what a range holds here; Sums answers with
	// the sums of its blocks (package digest), or with FlagFailed and none when
	// they cannot be read. ID ties them together.
	TypeAsk  Type = 26
	TypeSums Type = 27
	// Verify tells the Secondary how far a verify came; payload is four words:
	// flags (1 running, 2 repairs, 4 paused), position, highest rate, found.
	TypeVerify Type = 28
	// Met renews what both sides wrote down of each other when they met. ID is
	// the number of the sender's metadata. With FlagReply: the Primary's number is
	// on stable storage; with FlagLast: so is the Secondary's.
	TypeMet Type = 29

	// ReadRequest asks the Secondary for Span bytes at Offset, which the Primary's
	// disk cannot read; ReadReply brings them, or FlagFailed and no payload.
	TypeReadRequest Type = 48
	TypeReadReply   Type = 49

	// Entrust tells the Secondary that the Primary's disk failed: it holds the only
	// copy from now on, and carries the generation ID. With FlagReply: it is
	// recorded on stable storage.
	TypeEntrust Type = 50

	// Grow is a step towards a larger volume: Code says which (1 asks the Secondary
	// how far it could grow, 2 its answer, 3 it is blank so far, 4 it is to take the
	// size, 5 it has, 6 it cannot), ID is a size in bytes.
	TypeGrow Type = 56
)

// GrowSteps is the highest Code of a Grow message; the lowest is 1.
const GrowSteps = 6

var typeNames = [...]string{
	TypeJoin: "Join", TypeJoinReply: "JoinReply", TypeJoinConfirm: "JoinConfirm",
	TypeResume: "Resume", TypeResumeReply: "ResumeReply", TypePulse: "Pulse", TypeConfirm: "Confirm",
	TypeHello: "Hello", TypeHelloReply: "HelloReply", TypeHelloConfirm: "HelloConfirm",
	TypeVerdict: "Verdict", TypeBitmap: "Bitmap", TypeWrite: "Write", TypeWriteAck: "WriteAck",
	TypeBarrier: "Barrier", TypeBarrierAck: "BarrierAck", TypeResyncWrite: "ResyncWrite",
	TypeResyncAck: "ResyncAck", TypeResyncDone: "ResyncDone", TypeState: "State",
	TypePing: "Ping", TypePong: "Pong", TypeError: "Error",
	TypeAsk: "Ask", TypeSums: "Sums", TypeVerify: "Verify", TypeMet: "Met",
	TypeReadRequest: "ReadRequest", TypeReadReply: "ReadReply", TypeEntrust: "Entrust", TypeGrow: "Grow",
	TypeDiscard: "Discard", TypeWriteZeroes: "WriteZeroes", TypeProtocol: "Protocol", TypeReceived: "Received",
}

func (t Type) String() string {
	if t.known() {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

func (t Type) known() bool { return int(t) < len(typeNames) && typeNames[t] != "" }

// carries returns the largest payload of a message of type t.
func (t Type) carries() uint32 {
	switch t {
	case TypeWrite, TypeResyncWrite, TypeBitmap, TypeReadReply:
		return MaxPayload
	case TypeHello, TypeHelloReply, TypeHelloConfirm, TypeVerdict, TypeState, TypeError,
		TypeSums, TypeVerify:
		return MaxTalk
	case TypeJoin, TypeJoinReply, TypeJoinConfirm, TypeResume, TypeResumeReply, TypePulse:
		return MaxTalk
	}
	return 0
}

// Flags of a message.
type Flags uint16

const (
	// FlagFUA: the write must be stable before it is acknowledged.
	FlagFUA Flags = 1 << iota
	// FlagLast ends a series of messages of the same type.
	FlagLast
	// FlagZero: Span bytes of zeroes instead of a payload.
	FlagZero
	// FlagReply marks an answer where one type serves both ways.
	FlagReply
	// FlagFailed: the receiver's disk failed; Code says how.
	FlagFailed
	// FlagKeep: the blocks of a WriteZeroes stay allocated.
	FlagKeep
	// FlagAfter: apply the write only when every write before it is written.
	FlagAfter
	// FlagReceipt: answer the write with Received when it arrives.
	FlagReceipt

	knownFlags = FlagFUA | FlagLast | FlagZero | FlagReply | FlagFailed | FlagKeep | FlagAfter | FlagReceipt
)

// Header is the head of every message.
type Header struct {
	Type  Type
	Flags Flags
	// Epoch of the reign the message belongs to; zero outside a reign.
	Epoch arbiter.Epoch
	// ID pairs a request with its answer; the sender of the request draws it.
	ID     uint64
	Offset int64  // bytes
	Span   uint32 // bytes of the volume; for data the length of the payload
	Length uint32 // bytes of payload
	// Seq numbers the messages of one side of a session; package link sets it.
	Seq  uint64
	Code uint32 // meaning by type
	// Received is the low half of how many bytes of the session's messages the
	// sender has received; package link sets it.
	Received   uint32
	PayloadCRC uint32
}

// Refused is a message this side will not take, with the reason for the log.
type Refused struct {
	Reason Reason
	Detail string
}

// Reason names why a message is refused.
type Reason string

// Reasons, stable names.
const (
	NotGemel       Reason = "not-gemel"        // the magic is missing
	BadFraming     Reason = "unknown-framing"  // framing version of the future
	BadHeaderSum   Reason = "header-checksum"  // header damaged
	BadPayloadSum  Reason = "payload-checksum" // payload damaged
	BadType        Reason = "unknown-type"
	BadFlags       Reason = "unknown-flags"
	Oversized      Reason = "oversized" // payload above the limit of its type
	BadRange       Reason = "range"     // offset or span out of bounds, not aligned, or not the payload's
	Truncated      Reason = "truncated" // payload too short for its fields
	BadName        Reason = "name"      // a name that is empty or too long
	BadValue       Reason = "value"     // a field outside its range
	OutOfSequence  Reason = "sequence"  // lost, doubled or replayed message
	OutOfPlace     Reason = "out-of-place"
	NoVersion      Reason = "no-common-version"
	WrongEcho      Reason = "wrong-echo" // the hello's random number did not come back
	ForeignCluster Reason = "foreign-cluster"
	ForeignVolume  Reason = "foreign-volume"
	ForeignNode    Reason = "foreign-node"
)

func (r *Refused) Error() string { return "message refused: " + string(r.Reason) + ": " + r.Detail }

// Refuse makes a *Refused.
func Refuse(reason Reason, format string, args ...any) error {
	return &Refused{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// ReasonOf returns the reason inside err; empty when it is no refusal.
func ReasonOf(err error) Reason {
	var r *Refused
	if errors.As(err, &r) {
		return r.Reason
	}
	return ""
}

// Checksum is the CRC32C of a payload.
func Checksum(payload []byte) uint32 { return crc32.Checksum(payload, castagnoli) }

// AddChecksum continues the Checksum of what came before with p; it starts at 0.
func AddChecksum(sum uint32, p []byte) uint32 { return crc32.Update(sum, castagnoli, p) }

// AppendHeader appends the header's 64 bytes to dst.
func AppendHeader(dst []byte, h *Header) []byte {
	var b [HeaderSize]byte
	copy(b[:], magic[:])
	b[4], b[5] = framing, byte(h.Type)
	be.PutUint16(b[6:], uint16(h.Flags))
	be.PutUint64(b[8:], uint64(h.Epoch))
	be.PutUint64(b[16:], h.ID)
	be.PutUint64(b[24:], uint64(h.Offset))
	be.PutUint32(b[32:], h.Span)
	be.PutUint32(b[36:], h.Length)
	be.PutUint64(b[40:], h.Seq)
	be.PutUint32(b[48:], h.Code)
	be.PutUint32(b[52:], h.Received)
	be.PutUint32(b[56:], h.PayloadCRC)
	be.PutUint32(b[60:], Checksum(b[:60]))
	return append(dst, b[:]...)
}

// AppendMessage appends header and payload to dst, with Length and PayloadCRC
// set from the payload.
func AppendMessage(dst []byte, h Header, payload []byte) []byte {
	h.Length, h.PayloadCRC = uint32(len(payload)), Checksum(payload)
	return append(AppendHeader(dst, &h), payload...)
}

// ParseHeader reads a header from the first 64 bytes of b. The error is a
// *Refused. After nil the Length is within the limit of its type.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, Refuse(Truncated, "a header has %d bytes, %d came", HeaderSize, len(b))
	}
	if [4]byte(b) != magic {
		return Header{}, Refuse(NotGemel, "it starts with %q", b[:4])
	}
	if b[4] != framing {
		return Header{}, Refuse(BadFraming, "framing %d, this gemel speaks %d", b[4], framing)
	}
	if Checksum(b[:60]) != be.Uint32(b[60:]) {
		return Header{}, Refuse(BadHeaderSum, "the header changed on its way")
	}
	h := Header{
		Type:       Type(b[5]),
		Flags:      Flags(be.Uint16(b[6:])),
		Epoch:      arbiter.Epoch(be.Uint64(b[8:])),
		ID:         be.Uint64(b[16:]),
		Offset:     int64(be.Uint64(b[24:])),
		Span:       be.Uint32(b[32:]),
		Length:     be.Uint32(b[36:]),
		Seq:        be.Uint64(b[40:]),
		Code:       be.Uint32(b[48:]),
		Received:   be.Uint32(b[52:]),
		PayloadCRC: be.Uint32(b[56:]),
	}
	return h, h.invalid()
}

// invalid returns the rule that the header breaks, nil when it breaks none.
func (h *Header) invalid() error {
	switch {
	case !h.Type.known():
		return Refuse(BadType, "%v", h.Type)
	case h.Flags&^knownFlags != 0:
		return Refuse(BadFlags, "%#x on %v", uint16(h.Flags&^knownFlags), h.Type)
	case h.Length > h.Type.carries():
		return Refuse(Oversized, "%v with %d bytes, at most %d are taken", h.Type, h.Length, h.Type.carries())
	case h.Offset < 0 || h.Offset > h.Offset+int64(h.Span):
		return Refuse(BadRange, "%v at %d+%d", h.Type, h.Offset, h.Span)
	case h.Type == TypeWrite || h.Type == TypeResyncWrite || h.Type == TypeDiscard || h.Type == TypeWriteZeroes:
		return h.invalidData()
	case h.Type == TypeReadRequest || h.Type == TypeReadReply:
		return h.invalidRead()
	case h.Type == TypeBitmap && (h.Length%8 != 0 || h.Offset%(64*block.Size) != 0):
		return Refuse(BadRange, "bitmap at %d with %d bytes is not made of whole words", h.Offset, h.Length)
	}
	return h.invalidCode()
}

// invalidCode checks a message whose code says all.
func (h *Header) invalidCode() error {
	switch {
	case h.Type == TypeProtocol && h.Code > uint32(block.ProtocolA):
		return Refuse(BadValue, "protocol %d; there are %d", h.Code, block.ProtocolA+1)
	case h.Type == TypeGrow && (h.Code == 0 || h.Code > GrowSteps || h.ID%block.Size != 0 || h.ID > 1<<62):
		return Refuse(BadValue, "step %d of growing, to %d bytes", h.Code, h.ID)
	}
	return nil
}

// invalidData checks a message that brings blocks.
func (h *Header) invalidData() error {
	r := block.Range{Off: h.Offset, Len: int64(h.Span)}
	switch {
	case r.Empty() || !r.Aligned():
		return Refuse(BadRange, "%v at %d+%d is not made of whole blocks", h.Type, h.Offset, h.Span)
	case h.Flags&FlagZero != 0 && h.Length != 0:
		return Refuse(BadRange, "%v of zeroes with %d bytes of payload", h.Type, h.Length)
	case h.Flags&FlagZero != 0 && h.Type != TypeResyncWrite:
		return Refuse(BadFlags, "%v of zeroes", h.Type)
	case h.Flags&FlagZero == 0 && h.Type.carries() > 0 && h.Length != h.Span:
		return Refuse(BadRange, "%v for %d bytes with %d bytes of payload", h.Type, h.Span, h.Length)
	}
	return nil
}

// invalidRead checks a question for blocks, or its answer.
func (h *Header) invalidRead() error {
	r := block.Range{Off: h.Offset, Len: int64(h.Span)}
	want := uint32(0)
	if h.Type == TypeReadReply && h.Flags&FlagFailed == 0 {
		want = h.Span
	}
	switch {
	case r.Empty() || !r.Aligned() || h.Span > MaxPayload:
		return Refuse(BadRange, "%v at %d+%d is not made of whole blocks, or is too long", h.Type, h.Offset, h.Span)
	case h.Length != want:
		return Refuse(BadRange, "%v for %d bytes with %d bytes of payload", h.Type, h.Span, h.Length)
	}
	return nil
}

// CheckPayload returns a *Refused unless payload is the one the header announced.
func (h *Header) CheckPayload(payload []byte) error {
	if uint32(len(payload)) != h.Length {
		return Refuse(Truncated, "%v announced %d bytes, %d came", h.Type, h.Length, len(payload))
	}
	return h.CheckSum(Checksum(payload))
}

// CheckSum is CheckPayload for who read Length bytes and has their checksum.
func (h *Header) CheckSum(sum uint32) error {
	if sum != h.PayloadCRC {
		return Refuse(BadPayloadSum, "%v at %d+%d changed on its way", h.Type, h.Offset, h.Span)
	}
	return nil
}

// CommonVersion returns the highest protocol version of both ranges, or a
// *Refused that says which side is behind.
func CommonVersion(peerMin, peerMax uint16) (uint16, error) {
	common := min(peerMax, VersionMax)
	if common < max(peerMin, VersionMin) || peerMin > peerMax {
		return 0, Refuse(NoVersion, "the peer speaks protocol %d to %d, this node %d to %d; bring both to one version",
			peerMin, peerMax, VersionMin, VersionMax)
	}
	return common, nil
}
