package vip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Connection is a TCP connection of a client to an address of this box.
type Connection struct {
	Local, Remote netip.AddrPort // IPv4 addresses are never in their IPv6 form
}

// The kernel's socket diagnosis (linux/sock_diag.h, linux/inet_diag.h).
const (
	sockDiagByFamily = 20
	sockDestroy      = 21

	diagByteCode  = 1 // attribute with a filter
	filterJump    = 1
	filterSource  = 7
	filterOpLen   = 4
	filterHostLen = 8 // without the address

	diagIDLen  = 48
	diagReqLen = 8 + diagIDLen
	diagMsgLen = 4 + diagIDLen + 20

	tcpEstablished = 1
	tcpListen      = 10
	// anyState is every state but listening: who listens on the address is a service, and is stopped as such.
	anyState = 0xffff &^ (1 << tcpListen)
)

// Established returns the TCP connections that clients have to these addresses,
// in the order of their addresses. Those of IPv6 sockets that carry IPv4 are among them.
func Established(ips []netip.Addr) ([]Connection, error) {
	found, err := diagnose(ips, 1<<tcpEstablished)
	if err != nil {
		return nil, err
	}
	list := make([]Connection, 0, len(found))
	for _, s := range found {
		list = append(list, s.Connection)
	}
	slices.SortFunc(list, func(a, b Connection) int {
		if c := a.Local.Compare(b.Local); c != 0 {
			return c
		}
		return a.Remote.Compare(b.Remote)
	})
	return slices.Compact(list), nil
}

// reset ends this box's side of every connection to the address: a program that
// waits for a client gets an error instead of waiting for ever. The first error is
// returned, all the same every connection is tried.
func reset(ip netip.Addr) error {
	found, err := diagnose([]netip.Addr{ip}, anyState)
	if err != nil {
		return fmt.Errorf("find the connections to %s: %w", ip, err)
	}
	var first error
	for _, s := range found {
		req := nl.NewNetlinkRequest(sockDestroy, unix.NLM_F_ACK)
		req.AddData(diagRequest{family: s.family, states: anyState, id: s.id})
		_, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
		gone := errors.Is(err, unix.ENOENT)
		if err != nil && !gone && first == nil {
			first = fmt.Errorf("reset the connection of %s to %s: %w", s.Remote, s.Local, err)
		}
	}
	return first
}

// found is one socket as the kernel names it.
type found struct {
	Connection
	family byte
	id     [diagIDLen]byte
}

// diagnose lists the TCP sockets in some states whose local address is one of ips.
func diagnose(ips []netip.Addr, states uint32) ([]found, error) {
	if len(ips) == 0 {
		return nil, nil
	}
	families := []byte{unix.AF_INET6} // IPv4 clients are also served by IPv6 sockets
	if slices.ContainsFunc(ips, netip.Addr.Is4) {
		families = append(families, unix.AF_INET)
	}
	filter := sourceFilter(ips)
	var all []found
	for _, family := range families {
		req := nl.NewNetlinkRequest(sockDiagByFamily, unix.NLM_F_DUMP)
		req.AddData(diagRequest{family: family, states: states})
		req.AddData(nl.NewRtAttr(diagByteCode, filter))
		answers, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
		if errors.Is(err, unix.ENOENT) && family == unix.AF_INET6 {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("list TCP connections: %w", err)
		}
		for _, b := range answers {
			if s, ok := readSocket(b); ok && slices.Contains(ips, s.Local.Addr()) {
				all = append(all, s)
			}
		}
	}
	return all, nil
}

// readSocket reads an inet_diag_msg.
func readSocket(b []byte) (s found, ok bool) {
	if len(b) < diagMsgLen {
		return s, false
	}
	s.family = b[0]
	copy(s.id[:], b[4:])
	local, ok1 := diagAddress(s.family, s.id[4:20])
	remote, ok2 := diagAddress(s.family, s.id[20:36])
	s.Local = netip.AddrPortFrom(local, binary.BigEndian.Uint16(s.id[0:]))
	s.Remote = netip.AddrPortFrom(remote, binary.BigEndian.Uint16(s.id[2:]))
	return s, ok1 && ok2
}

func diagAddress(family byte, b []byte) (netip.Addr, bool) {
	if family == unix.AF_INET {
		b = b[:4]
	}
	ip, ok := netip.AddrFromSlice(b)
	return ip.Unmap(), ok
}

// diagRequest is an inet_diag_req_v2 for TCP.
type diagRequest struct {
	family byte
	states uint32
	id     [diagIDLen]byte // zero: every socket
}

// Len is the length of the request in bytes.
func (r diagRequest) Len() int { return diagReqLen }

// Serialize returns the request's bytes.
func (r diagRequest) Serialize() []byte {
	b := make([]byte, 0, diagReqLen)
	b = append(b, r.family, unix.IPPROTO_TCP, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, r.states)
	return append(b, r.id[:]...)
}

// sourceFilter is a program for the kernel that lets sockets through whose local
// address is one of ips: for each a comparison that goes on to the next when it
// fails, and otherwise to a jump to the end, which means yes. Beyond the end means no.
func sourceFilter(ips []netip.Addr) []byte {
	rest := filterOpLen // bytes from here to the end: the last jump, which says no
	for _, ip := range ips {
		rest += comparison(ip) + filterOpLen
	}
	b := make([]byte, 0, rest)
	op := func(code, yes byte, no int) {
		b = append(b, code, yes)
		b = binary.NativeEndian.AppendUint16(b, uint16(no))
	}
	for _, ip := range ips {
		size := comparison(ip)
		op(filterSource, byte(size), size+filterOpLen)
		family := byte(unix.AF_INET6)
		if ip.Is4() {
			family = unix.AF_INET
		}
		b = append(b, family, byte(ip.BitLen()), 0, 0)
		b = append(b, 0xff, 0xff, 0xff, 0xff) // any port
		b = append(b, ip.AsSlice()...)
		rest -= size
		op(filterJump, filterOpLen, rest)
		rest -= filterOpLen
	}
	op(filterJump, filterOpLen, 2*filterOpLen)
	return b
}

func comparison(ip netip.Addr) int { return filterOpLen + filterHostLen + ip.BitLen()/8 }
