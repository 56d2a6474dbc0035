package onefile

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Operations of the kernel's FUSE that are answered, and those that want no answer.
const (
	opForget      = 2
	opGetAttr     = 3
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opStatFS      = 17
	opRelease     = 18
	opFsync       = 20
	opFlush       = 25
	opInit        = 26
	opInterrupt   = 36
	opDestroy     = 38
	opBatchForget = 42
	opFallocate   = 43
)

// Abilities that INIT agrees on.
const (
	hasAsyncRead    = 1 << 0
	hasBigWrites    = 1 << 5
	hasAsyncDirect  = 1 << 15
	hasMaxPages     = 1 << 22
	hasExplicitData = 1 << 25 // what the kernel knows of the file's size is dropped on our word only
	hasExtension    = 1 << 30 // flags2 counts
	hasResend       = 1 << 39 // the kernel's only: it can ask again

	wanted = hasAsyncRead | hasBigWrites | hasAsyncDirect | hasMaxPages | hasExplicitData | hasExtension
)

// How a file is opened: every request comes to us, several at a time, and close asks nothing.
const openFlags = 1<<0 | 1<<5 | 1<<6

// Messages that nobody asked for.
const (
	notifyInvalidate = 2
	notifyResend     = 7
)

// Lengths of the parts, in bytes.
const (
	requestHead = 40
	writeHead   = 40 // of a WRITE, behind the request's
	answerHead  = 16
	initIn      = 16 // of INIT as far as every kernel sends it
	initOut     = 64
	attrOut     = 104
	openOut     = 16
	writeOut    = 8
	statOut     = 80
)

const (
	protocolMajor = 7
	oldestMinor   = 31 // Linux 5.4, for what is relied on here
	newestMinor   = 41 // of the layouts above
)

// ErrKernel: the kernel's FUSE lacks what is relied on.
var ErrKernel = errors.New("the kernel's FUSE is too old or restricted")

var order = binary.NativeEndian

// request is one message of the kernel; body lies in the frame that it was read into.
type request struct {
	op     uint32
	unique uint64
	body   []byte
}

// parse looks at a whole message. The kernel sends no other than well-formed ones;
// what is too short is refused all the same.
func parse(p []byte) (request, error) {
	if len(p) < requestHead || int(order.Uint32(p)) != len(p) {
		return request{}, fmt.Errorf("a FUSE request of %d bytes does not have its length", len(p))
	}
	return request{op: order.Uint32(p[4:]), unique: order.Uint64(p[8:]), body: p[requestHead:]}, nil
}

// span is what READ, WRITE and FALLOCATE begin with.
type span struct {
	off, n int64
	mode   uint32 // FALLOCATE
}

// span reads where a request for data goes; false when it is too short.
func (q *request) span() (span, bool) {
	switch {
	case q.op == opFallocate && len(q.body) >= 28:
		return span{int64(order.Uint64(q.body[8:])), int64(order.Uint64(q.body[16:])), order.Uint32(q.body[24:])}, true //nolint:gosec // bounds are checked by fits
	case q.op != opFallocate && len(q.body) >= writeHead:
		return span{int64(order.Uint64(q.body[8:])), int64(order.Uint32(q.body[16:])), 0}, true //nolint:gosec // bounds are checked by fits
	}
	return span{}, false
}

// agree reads the kernel's INIT and writes our answer's body into out, at least
// initOut bytes.
func agree(body, out []byte, maxWrite int) (Session, error) {
	if len(body) < initIn {
		return Session{}, fmt.Errorf("an INIT of %d bytes: %w", len(body), ErrKernel)
	}
	major, minor := order.Uint32(body), order.Uint32(body[4:])
	offered := uint64(order.Uint32(body[12:]))
	if offered&hasExtension != 0 && len(body) >= initIn+4 {
		offered |= uint64(order.Uint32(body[16:])) << 32
	}
	if major != protocolMajor || minor < oldestMinor || offered&hasMaxPages == 0 {
		return Session{}, fmt.Errorf("it speaks version %d.%d with abilities %x: %w", major, minor, offered, ErrKernel)
	}
	clear(out[:initOut])
	order.PutUint32(out, protocolMajor)
	order.PutUint32(out[4:], min(minor, newestMinor))
	order.PutUint32(out[8:], order.Uint32(body[8:]))
	order.PutUint32(out[12:], uint32(offered&wanted))
	order.PutUint16(out[16:], maxBackground)
	order.PutUint16(out[18:], maxBackground)
	order.PutUint32(out[20:], uint32(maxWrite)) //nolint:gosec // at most 1 MiB
	order.PutUint32(out[24:], 1)
	order.PutUint16(out[28:], uint16(maxWrite/pageBytes)) //nolint:gosec // at most 256
	return Session{MaxWrite: maxWrite, Resend: offered&hasResend != 0}, nil
}

// again has the kernel ask again what was read and not answered.
func again(fd int) error {
	var p [answerHead]byte
	order.PutUint32(p[:], uint32(len(p)))
	order.PutUint32(p[4:], notifyResend)
	_, err := unix.Write(fd, p[:])
	return err
}

// invalidate has the kernel ask for the file's attributes anew.
func invalidate(fd int) error {
	var p [answerHead + 24]byte
	order.PutUint32(p[:], uint32(len(p)))
	order.PutUint32(p[4:], notifyInvalidate)
	order.PutUint64(p[answerHead:], rootInode)
	order.PutUint64(p[answerHead+8:], ^uint64(0)) // from -1: no data, the attributes
	_, err := unix.Write(fd, p[:])
	return err
}
