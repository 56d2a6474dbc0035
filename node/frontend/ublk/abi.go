package ublk

import "unsafe"

// The kernel's interface, from its include/uapi/linux/ublk_cmd.h.

const (
	controlPath = "/dev/ublk-control"
	classDir    = "/sys/class/ublk-char" // holds ublkcN for every device
)

// Numbers of control commands and I/O commands, sent encoded as ioctls.
const (
	nrGetInfo       = 0x02
	nrAdd           = 0x04
	nrDelete        = 0x05
	nrStart         = 0x06
	nrStop          = 0x07
	nrSetParams     = 0x08
	nrGetParams     = 0x09
	nrStartRecovery = 0x10
	nrEndRecovery   = 0x11
	nrGetFeatures   = 0x13
	nrUpdateSize    = 0x15

	nrFetch          = 0x20
	nrCommitAndFetch = 0x21
)

// ioctl encodes a command: direction, size of its argument, type 'u', number.
func ioctl(direction, size uintptr, nr uint32) uint32 {
	return uint32(direction)<<30 | uint32(size)<<16 | 'u'<<8 | nr
}

func readCommand(nr uint32) uint32  { return ioctl(2, unsafe.Sizeof(controlCommand{}), nr) }
func writeCommand(nr uint32) uint32 { return ioctl(3, unsafe.Sizeof(controlCommand{}), nr) }

var (
	opFetch          = ioctl(3, unsafe.Sizeof(ioCommand{}), nrFetch)
	opCommitAndFetch = ioctl(3, unsafe.Sizeof(ioCommand{}), nrCommitAndFetch)
)

// Features of the driver.
const (
	featRecovery = 1 << 3 // the device outlives its server
	featReissue  = 1 << 4 // and what the server held is given to the next one
	featEncode   = 1 << 6 // commands are encoded as ioctls
	featUserCopy = 1 << 7 // data is copied by pread and pwrite on the control node of the device

	featUpdateSize = 1 << 10 // a device in use can take another size; not needed

	wanted = featRecovery | featReissue | featEncode | featUserCopy
)

// States of a device.
const (
	stateDead     = 0 // not started, or stopped
	stateLive     = 1
	stateQuiesced = 2 // without a server; requests wait
)

// controlCommand is struct ublksrv_ctrl_cmd.
type controlCommand struct {
	device  uint32
	queue   uint16 // 0xffff: not for a queue
	length  uint16 // of what is at addr
	addr    uint64
	data    uint64
	pathLen uint16
	_       uint16
	_       uint32
}

// deviceInfo is struct ublksrv_ctrl_dev_info.
type deviceInfo struct {
	queues uint16
	depth  uint16
	state  uint16
	_      uint16
	maxIO  uint32 // bytes
	id     uint32
	pid    int32 // of the last server, in its own namespace
	_      uint32
	flags  uint64
	cookie uint64    // the driver keeps it for us
	_      [3]uint64 // owner, reserved
}

// ioCommand is struct ublksrv_io_cmd.
type ioCommand struct {
	queue  uint16
	tag    uint16
	result int32
	addr   uint64 // unused with featUserCopy
}

// descriptor is struct ublksrv_io_desc: one request, in memory that the kernel
// shares.
type descriptor struct {
	opFlags uint32 // operation in the lowest byte
	sectors uint32
	start   uint64 // sector
	addr    uint64
}

// Operations and flags of a request.
const (
	ioRead        = 0
	ioWrite       = 1
	ioFlush       = 2
	ioDiscard     = 3
	ioWriteZeroes = 5

	ioFUA     = 1 << 13
	ioNoUnmap = 1 << 15
)

// Attributes and kinds of parameters.
const (
	attrVolatileCache = 1 << 2
	attrFUA           = 1 << 3

	paramBasic   = 1 << 0
	paramDiscard = 1 << 1
)

// params is struct ublk_params, as far as it is used.
type params struct {
	length uint32
	types  uint32
	basic  struct {
		attrs                     uint32
		logical, physical         uint8 // powers of two of bytes
		optimal, minimal          uint8
		maxSectors, chunkSectors  uint32
		sectors, virtBoundaryMask uint64
	}
	discard struct {
		alignment, granularity     uint32 // bytes
		maxSectors, maxZeroSectors uint32
		maxSegments, _             uint16
	}
	_ [52]byte // kinds that are not used
}

const (
	sectorShift = 9
	maxDepth    = 4096 // requests of a queue, by which the shared memory is laid out

	// Where the data of a request is found on the device's control node.
	dataStart  = 0x80000000
	tagShift   = 25
	queueShift = tagShift + 16
)
