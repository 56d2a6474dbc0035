package vip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Newcomers tells of every client that begins a TCP connection to one of ips, as soon as
// it asks for it, until ctx ends; then it returns nil. The kernel's list of connections
// would have to be read again and again to see one that lives for milliseconds. tell is
// called by several goroutines, may get a connection twice, and must not block.
func Newcomers(ctx context.Context, ips []netip.Addr, tell func(Connection)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var errs []error
	var ears []*wire
	for _, is4 := range []bool{true, false} {
		if !slices.ContainsFunc(ips, func(ip netip.Addr) bool { return ip.Is4() == is4 }) {
			continue
		}
		w, err := openEar(is4)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ears = append(ears, w)
	}
	results := make([]error, len(ears))
	var wg sync.WaitGroup
	for i, w := range ears {
		wg.Go(func() {
			defer context.AfterFunc(ctx, w.close)()
			results[i] = listenForSYN(ctx, w, ips, func(c Connection, _ []byte) { tell(c) })
			w.close()
		})
	}
	wg.Wait()
	return errors.Join(append(errs, results...)...)
}

// openEar hears of TCP connections that begin, on every interface, and of nothing else.
// What it hears begins with the IP header.
func openEar(is4 bool) (*wire, error) {
	kind, filter := uint16(unix.ETH_P_IP), beginsOverIP4()
	if !is4 {
		kind, filter = unix.ETH_P_IPV6, beginsOverIP6()
	}
	const flags = unix.SOCK_DGRAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := unix.Socket(unix.AF_PACKET, flags, 0) // no protocol yet: nothing arrives unfiltered
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	w := &wire{file: os.NewFile(uintptr(fd), "packet socket")}
	program := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, program); err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swap(kind)})
	}
	if err != nil {
		w.close()
		return nil, fmt.Errorf("prepare a packet socket: %w", err)
	}
	return w, nil
}

// TCP's flags that tell the first segment of a connection: SYN without ACK.
const (
	tcpFlagSYN   = 0x02
	tcpFlagsAt   = 13
	ip4ProtoAt   = 9
	ip4FragAt    = 6
	ip4FragMask  = 0x1fff
	ip6NextAt    = 6
	heardAtMost  = 0xffff
	opLoadByte   = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
	opLoadHalf   = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
	opLoadByteX  = unix.BPF_LD | unix.BPF_B | unix.BPF_IND
	opHeaderLenX = unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH
	opEqual      = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	opAnyBit     = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	opAnd        = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opReturn     = unix.BPF_RET | unix.BPF_K
)

func beginsOverIP4() []unix.SockFilter {
	return []unix.SockFilter{
		{Code: opLoadByte, K: ip4ProtoAt},
		{Code: opEqual, K: unix.IPPROTO_TCP, Jf: 7},
		{Code: opLoadHalf, K: ip4FragAt},
		{Code: opAnyBit, K: ip4FragMask, Jt: 5}, // not the beginning of a packet
		{Code: opHeaderLenX, K: 0},
		{Code: opLoadByteX, K: tcpFlagsAt},
		{Code: opAnd, K: tcpFlagSYN | tcpFlagACK},
		{Code: opEqual, K: tcpFlagSYN, Jf: 1},
		{Code: opReturn, K: heardAtMost},
		{Code: opReturn, K: 0},
	}
}

// beginsOverIP6 passes packets with further headers over; no client sends them.
func beginsOverIP6() []unix.SockFilter {
	return []unix.SockFilter{
		{Code: opLoadByte, K: ip6NextAt},
		{Code: opEqual, K: unix.IPPROTO_TCP, Jf: 4},
		{Code: opLoadByte, K: ip6Len + tcpFlagsAt},
		{Code: opAnd, K: tcpFlagSYN | tcpFlagACK},
		{Code: opEqual, K: tcpFlagSYN, Jf: 1},
		{Code: opReturn, K: heardAtMost},
		{Code: opReturn, K: 0},
	}
}

// listenForSYN tells of every connection that begins, with the packet; that is the
// caller's only during the call.
func listenForSYN(ctx context.Context, w *wire, ips []netip.Addr, tell func(Connection, []byte)) error {
	buf := make([]byte, 2048)
	for {
		n, err := w.file.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENETDOWN): // an interface went down; the others go on
			continue
		case err != nil:
			return fmt.Errorf("listen for clients: %w", err)
		}
		if c, ok := readSYN(buf[:n]); ok && slices.Contains(ips, c.Local.Addr()) {
			tell(c, buf[:n])
		}
	}
}

// readSYN reads an IP packet that a filter let through.
func readSYN(b []byte) (c Connection, ok bool) {
	if len(b) < ip4HeaderLen {
		return c, false
	}
	var from, to netip.Addr
	header := ip6Len
	switch version := b[0] >> 4; {
	case version == 4:
		from, to = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		header = int(b[0]&0xf) * 4
	case version == 6 && len(b) >= ip6Len:
		from, to = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	default:
		return c, false
	}
	if len(b) < header+4 || header < ip4HeaderLen {
		return c, false
	}
	ports := b[header:]
	return Connection{Remote: netip.AddrPortFrom(from, binary.BigEndian.Uint16(ports)),
		Local: netip.AddrPortFrom(to, binary.BigEndian.Uint16(ports[2:]))}, true
}
