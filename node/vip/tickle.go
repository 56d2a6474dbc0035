package vip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A client that only waits for an answer does not notice that the box behind the
// address is another one. A bare acknowledgement that fits nowhere into its
// connection makes its kernel say where it stands; this box knows no such connection
// and resets it, and the client connects anew at once.

const (
	tcpHeaderLen = 20
	ip4HeaderLen = 20
	tcpFlagACK   = 0x10
)

// tickleRounds lists when a client is tickled, from the opening of the address. One
// that still sends to the other box's MAC misses the first; kernels answer one in half a second.
var tickleRounds = []time.Duration{0, 1100 * time.Millisecond, 2200 * time.Millisecond}

// tickle sends every client one tickle. seq is a different one each time: a
// number that happens to lie within a client's window says nothing to it.
func tickle(list []Connection, seq uint32) error {
	sockets := map[int]int{}
	defer func() {
		for _, fd := range sockets {
			_ = unix.Close(fd) // nothing is kept in it
		}
	}()
	var errs []error
	for _, c := range list {
		domain := unix.AF_INET6
		if c.Local.Addr().Is4() {
			domain = unix.AF_INET
		}
		fd, open := sockets[domain]
		if !open {
			var err error
			if fd, err = unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW); err != nil {
				return fmt.Errorf("open a raw socket: %w", err)
			}
			sockets[domain] = fd
		}
		if err := unix.Sendto(fd, ticklePacket(c, seq), 0, destination(c.Remote.Addr())); err != nil && len(errs) == 0 {
			errs = append(errs, fmt.Errorf("tickle %s: %w", c.Remote, err)) // one of them tells enough
		}
	}
	return errors.Join(errs...)
}

func destination(ip netip.Addr) unix.Sockaddr {
	if ip.Is4() {
		return &unix.SockaddrInet4{Addr: ip.As4()}
	}
	return &unix.SockaddrInet6{Addr: ip.As16()} // the port must be zero: it counts as the protocol
}

// ticklePacket is a whole IP packet. The kernel fills the checksum and the length
// of an IPv4 header.
func ticklePacket(c Connection, seq uint32) []byte {
	src, dst := c.Local.Addr(), c.Remote.Addr()
	b := make([]byte, 0, ip6Len+tcpHeaderLen)
	if src.Is4() {
		b = append(b, 0x45, 0, 0, ip4HeaderLen+tcpHeaderLen, 0, 0, 0, 0, 64, unix.IPPROTO_TCP, 0, 0)
	} else {
		b = append(b, 0x60, 0, 0, 0, 0, tcpHeaderLen, unix.IPPROTO_TCP, 64)
	}
	b = append(b, src.AsSlice()...)
	b = append(b, dst.AsSlice()...)
	segment := make([]byte, 0, tcpHeaderLen)
	segment = binary.BigEndian.AppendUint16(segment, c.Local.Port())
	segment = binary.BigEndian.AppendUint16(segment, c.Remote.Port())
	segment = binary.BigEndian.AppendUint32(segment, seq)
	segment = append(segment, 0, 0, 0, 0, tcpHeaderLen/4<<4, tcpFlagACK, 0, 0, 0, 0, 0, 0)
	binary.BigEndian.PutUint16(segment[16:], checksum(unix.IPPROTO_TCP, src, dst, segment))
	return append(b, segment...)
}

// tickleAll follows the rounds until ctx ends. What cannot be sent is not told:
// a client without a route has other troubles, and the rest got theirs.
func tickleAll(ctx context.Context, list []Connection) {
	begin := time.Now()
	for n, at := range tickleRounds {
		sleep(ctx, time.Until(begin.Add(at)))
		if ctx.Err() != nil {
			return
		}
		_ = tickle(list, uint32(n)<<30)
	}
}
