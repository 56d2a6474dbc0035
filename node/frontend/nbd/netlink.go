package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ErrNoKernel: the kernel offers no nbd devices.
var ErrNoKernel = errors.New("the kernel has no nbd driver")

// Numbers of the generic netlink family "nbd".
const (
	familyName    = "nbd"
	familyVersion = 1

	nlConnect     = 1
	nlDisconnect  = 2
	nlReconfigure = 3

	attrIndex       = 1
	attrSize        = 2
	attrBlockSize   = 3
	attrTimeout     = 4
	attrServerFlags = 5
	attrSockets     = 7
	attrDeadTimeout = 8
	attrBackend     = 10

	attrSockItem = 1
	attrSockFD   = 1
)

// Usable says why the kernel cannot show nbd devices, or returns nil.
func Usable() error {
	_, err := family()
	return err
}

func family() (int, error) {
	f, err := netlink.GenlFamilyGet(familyName)
	if errors.Is(err, unix.ENOENT) {
		return 0, fmt.Errorf("%w (modprobe nbd loads it where there is one)", ErrNoKernel)
	}
	if err != nil {
		return 0, fmt.Errorf("ask the kernel for its nbd driver: %w", err)
	}
	return int(f.ID), nil
}

// order is what the kernel is told of a device.
type order struct {
	size        int64 // bytes
	blockSize   int
	offer       uint16 // transmission flags
	timeout     int    // seconds until a request without answer ends its connection
	deadTimeout int    // seconds that requests wait when no connection is left
	backend     string // who we are, see /sys/block/nbdN/backend
	sockets     []int
}

// connect makes a device over the sockets and returns its number. The sockets
// stay the caller's to close; the kernel holds them itself.
func connect(o order) (int, error) {
	sockets := nl.NewRtAttr(attrSockets|unix.NLA_F_NESTED, nil)
	for _, fd := range o.sockets {
		item := sockets.AddRtAttr(attrSockItem|unix.NLA_F_NESTED, nil)
		item.AddRtAttr(attrSockFD, nl.Uint32Attr(uint32(fd))) //nolint:gosec // a descriptor
	}
	replies, err := ask(nlConnect,
		number64(attrSize, o.size), number64(attrBlockSize, int64(o.blockSize)),
		number64(attrServerFlags, int64(o.offer)),
		number64(attrTimeout, int64(o.timeout)), number64(attrDeadTimeout, int64(o.deadTimeout)),
		nl.NewRtAttr(attrBackend, nl.ZeroTerminated(o.backend)), sockets)
	if err != nil {
		return 0, fmt.Errorf("connect an nbd device: %w", err)
	}
	for _, reply := range replies {
		if number, ok := parseIndex(reply); ok {
			return number, nil
		}
	}
	return 0, errors.New("connect an nbd device: the kernel did not say which one")
}

// disconnect takes the device away; requests in flight end with an error.
func disconnect(number int) error {
	_, err := ask(nlDisconnect, nl.NewRtAttr(attrIndex, nl.Uint32Attr(uint32(number)))) //nolint:gosec // small
	if err != nil {
		return fmt.Errorf("disconnect /dev/nbd%d: %w", number, err)
	}
	return nil
}

func ask(command uint8, attributes ...*nl.RtAttr) ([][]byte, error) {
	id, err := family()
	if err != nil {
		return nil, err
	}
	req := nl.NewNetlinkRequest(id, unix.NLM_F_ACK)
	req.AddData(&nl.Genlmsg{Command: command, Version: familyVersion})
	for _, a := range attributes {
		req.AddData(a)
	}
	return req.Execute(unix.NETLINK_GENERIC, 0)
}

func number64(kind int, n int64) *nl.RtAttr {
	return nl.NewRtAttr(kind, binary.NativeEndian.AppendUint64(nil, uint64(n))) //nolint:gosec // never negative
}

// parseIndex finds the device's number in a reply of the family.
func parseIndex(reply []byte) (int, bool) {
	if len(reply) < nl.SizeofGenlmsg {
		return 0, false
	}
	attributes, err := nl.ParseRouteAttr(reply[nl.SizeofGenlmsg:])
	if err != nil {
		return 0, false
	}
	for _, a := range attributes {
		if a.Attr.Type == attrIndex && len(a.Value) >= 4 {
			return int(binary.NativeEndian.Uint32(a.Value)), true
		}
	}
	return 0, false
}
