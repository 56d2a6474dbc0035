package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"

	"gemel/node/block"
)

// Limits in bytes.
const (
	// MaxPayload is the longest read or write that is accepted: what a client
	// may send that was told of no limit.
	MaxPayload = 32 << 20
	// piece is the longest request that a block.Device is given at once.
	piece = 1 << 20
)

// Magic numbers of the protocol.
const (
	magicServer  = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption  = 0x49484156454f5054 // "IHAVEOPT"
	magicReply   = 0x0003e889045565a9 // of an option
	magicRequest = 0x25609513
	magicSimple  = 0x67446698
)

// Flags of the handshake, both directions.
const (
	fixedNewstyle = 1 << 0
	noZeroes      = 1 << 1
)

// Transmission flags: what the export can do.
const (
	flagHas         = 1 << 0
	flagFlush       = 1 << 2
	flagFUA         = 1 << 3
	flagTrim        = 1 << 5
	flagWriteZeroes = 1 << 6
	flagMultiConn   = 1 << 8
)

// Options of the handshake.
const (
	optExportName = 1
	optAbort      = 2
	optList       = 3
	optInfo       = 6
	optGo         = 7
)

// Replies to options.
const (
	repAck        = 1
	repServer     = 2
	repInfo       = 3
	repErrUnsup   = 1<<31 + 1
	repErrInvalid = 1<<31 + 3
	repErrUnknown = 1<<31 + 6
	repErrTooBig  = 1<<31 + 9
)

// Kinds of information in a reply to GO and INFO.
const (
	infoExport    = 0
	infoName      = 1
	infoBlockSize = 3
)

// Commands.
const (
	cmdRead        = 0
	cmdWrite       = 1
	cmdDisconnect  = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdWriteZeroes = 6
)

// Flags of commands.
const (
	cmdFlagFUA    = 1 << 0
	cmdFlagNoHole = 1 << 1
)

// errno is an error number as the protocol carries it.
type errno uint32

const (
	eOK       errno = 0
	eIO       errno = 5
	eInvalid  errno = 22
	eNoSpace  errno = 28
	eShutdown errno = 108
)

const (
	requestSize = 28 // bytes of a request's header
	replySize   = 16 // bytes of a simple reply's header
	optionSize  = 16 // bytes of an option's header
)

// errMalformed ends a connection whose stream cannot be understood any more.
var errMalformed = errors.New("malformed NBD stream")

// request is the header of a command.
type request struct {
	flags  uint16
	kind   uint16
	cookie uint64
	off    int64
	length uint32 // bytes
}

// parseRequest decodes a header of requestSize bytes. It fails only when the
// stream is out of step; whether the request can be served is check's business.
func parseRequest(b []byte) (request, error) {
	if magic := binary.BigEndian.Uint32(b); magic != magicRequest {
		return request{}, fmt.Errorf("%w: a request begins with %#x", errMalformed, magic)
	}
	r := request{
		flags:  binary.BigEndian.Uint16(b[4:]),
		kind:   binary.BigEndian.Uint16(b[6:]),
		cookie: binary.BigEndian.Uint64(b[8:]),
		off:    int64(binary.BigEndian.Uint64(b[16:])), //nolint:gosec // a negative one is refused by check
		length: binary.BigEndian.Uint32(b[24:]),
	}
	if r.kind == cmdWrite && r.length > MaxPayload {
		return r, fmt.Errorf("%w: a write of %d bytes, at most %d are taken", errMalformed, r.length, MaxPayload)
	}
	return r, nil
}

// payload returns how many bytes follow the header.
func (r *request) payload() int {
	if r.kind == cmdWrite {
		return int(r.length)
	}
	return 0
}

// check returns eOK if the request may be given to a device of size bytes that
// was offered with the transmission flags of offer.
func (r *request) check(size int64, offer uint16) errno {
	allowed, needs := uint16(cmdFlagFUA), uint16(0)
	switch r.kind {
	case cmdFlush:
		if r.off != 0 || r.length != 0 || r.flags != 0 {
			return eInvalid
		}
		return eOK
	case cmdRead, cmdWrite:
		if r.length > MaxPayload {
			return eInvalid
		}
	case cmdTrim:
		needs = flagTrim
	case cmdWriteZeroes:
		allowed, needs = cmdFlagFUA|cmdFlagNoHole, flagWriteZeroes
	default:
		return eInvalid
	}
	if offer&needs != needs || r.flags&^allowed != 0 {
		return eInvalid
	}
	return r.checkRange(size)
}

func (r *request) checkRange(size int64) errno {
	where := block.Range{Off: r.off, Len: int64(r.length)}
	if where.Off < 0 || where.Empty() || !where.Aligned() {
		return eInvalid
	}
	if where.Off > size || where.Len > size-where.Off {
		if r.kind == cmdRead || r.kind == cmdTrim {
			return eInvalid
		}
		return eNoSpace
	}
	return eOK
}

// putReply encodes the header of a simple reply into replySize bytes.
func putReply(b []byte, e errno, cookie uint64) {
	binary.BigEndian.PutUint32(b, magicSimple)
	binary.BigEndian.PutUint32(b[4:], uint32(e))
	binary.BigEndian.PutUint64(b[8:], cookie)
}

// offerOf returns the transmission flags for a device.
func offerOf(dev block.Device) uint16 {
	offer := uint16(flagHas | flagFlush | flagFUA | flagMultiConn)
	if _, ok := dev.(block.Discarder); ok {
		offer |= flagTrim
	}
	if _, ok := dev.(block.Zeroer); ok {
		offer |= flagWriteZeroes
	}
	return offer
}
