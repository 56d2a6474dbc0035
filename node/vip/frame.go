package vip

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
)

// Frames are built and read here, as bytes on an Ethernet; no sockets.
const (
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	etherLen = 14
	arpLen   = 28
	ip6Len   = 40
	ndLen    = 24 // neighbour solicitation or advertisement, without options
	llOption = 8  // link-layer address option

	arpRequest = 1
	arpReply   = 2

	icmpv6            = 58
	solicitation      = 135
	advertisement     = 136
	flagRouter        = 0x80
	flagOverride      = 0x20
	optTargetLinkAddr = 2
)

var (
	broadcast   = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	nobody      = net.HardwareAddr{0, 0, 0, 0, 0, 0}
	allNodes    = netip.MustParseAddr("ff02::1")
	allNodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
)

func ethernet(dst, src net.HardwareAddr, kind uint16, size int) []byte {
	b := make([]byte, 0, etherLen+size)
	b = append(b, dst...)
	b = append(b, src...)
	return binary.BigEndian.AppendUint16(b, kind)
}

func arp(op uint16, src net.HardwareAddr, spa netip.Addr, tha net.HardwareAddr, tpa netip.Addr) []byte {
	b := ethernet(broadcast, src, etherARP, arpLen)
	b = append(b, 0, 1, 8, 0, 6, 4) // Ethernet, IPv4, address lengths
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(b, src...)
	b = append(b, spa.AsSlice()...)
	b = append(b, tha...)
	return append(b, tpa.AsSlice()...)
}

// probeFrame asks who has ip without claiming anything.
func probeFrame(mac net.HardwareAddr, ip netip.Addr) []byte {
	if ip.Is4() {
		return arp(arpRequest, mac, netip.IPv4Unspecified(), nobody, ip)
	}
	target := ip.As16()
	group := netip.MustParseAddr("ff02::1:ff00:0").As16()
	copy(group[13:], target[13:])
	groupMAC := net.HardwareAddr{0x33, 0x33, 0xff, target[13], target[14], target[15]}
	body := neighbour(solicitation, 0, ip)
	return icmp(groupMAC, mac, netip.IPv6Unspecified(), netip.AddrFrom16(group), body)
}

// announcement returns the frames that tell everybody that ip is at mac.
func announcement(mac net.HardwareAddr, ip netip.Addr, router bool) [][]byte {
	if ip.Is4() {
		return [][]byte{
			arp(arpRequest, mac, ip, broadcast, ip),
			arp(arpReply, mac, ip, mac, ip),
		}
	}
	flags := byte(flagOverride)
	if router {
		flags |= flagRouter
	}
	body := neighbour(advertisement, flags, ip)
	body = append(body, optTargetLinkAddr, 1)
	body = append(body, mac...)
	return [][]byte{icmp(allNodesMAC, mac, ip, allNodes, body)}
}

// neighbour returns an ICMPv6 message with its checksum still zero.
func neighbour(kind, flags byte, target netip.Addr) []byte {
	b := make([]byte, 0, ndLen+llOption)
	b = append(b, kind, 0, 0, 0, flags, 0, 0, 0)
	return append(b, target.AsSlice()...)
}

func icmp(dstMAC, srcMAC net.HardwareAddr, src, dst netip.Addr, body []byte) []byte {
	b := ethernet(dstMAC, srcMAC, etherIPv6, ip6Len+len(body))
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	b = append(b, icmpv6, 255) // receivers drop neighbour discovery with a smaller hop limit
	b = append(b, src.AsSlice()...)
	b = append(b, dst.AsSlice()...)
	binary.BigEndian.PutUint16(body[2:], checksum(icmpv6, src, dst, body))
	return append(b, body...)
}

// checksum is ICMPv6's and TCP's, over the pseudo header and body.
func checksum(protocol uint32, src, dst netip.Addr, body []byte) uint16 {
	var sum uint32
	add := func(p []byte) {
		for i := 0; i+1 < len(p); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(p[i:]))
		}
	}
	add(src.AsSlice())
	add(dst.AsSlice())
	add(body) // its length is even: all our messages are
	sum += uint32(len(body)) + protocol
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// sighting is what a frame says about an address.
type sighting struct {
	mac net.HardwareAddr
	// claims: the sender says the address is its own. Otherwise it only asks
	// whether it may take it.
	claims bool
}

// look reads a frame for what it says about ip; ok is false when it says
// nothing. Frames come from the network: nothing in them is trusted.
func look(frame []byte, ip netip.Addr) (s sighting, ok bool) {
	if len(frame) < etherLen {
		return s, false
	}
	switch kind, body := binary.BigEndian.Uint16(frame[12:]), frame[etherLen:]; {
	case kind == etherARP && ip.Is4():
		return lookARP(body, ip)
	case kind == etherIPv6 && ip.Is6():
		return lookND(body, net.HardwareAddr(frame[6:12]), ip)
	}
	return s, false
}

func lookARP(b []byte, ip netip.Addr) (sighting, bool) {
	if len(b) < arpLen || !bytes.Equal(b[:6], []byte{0, 1, 8, 0, 6, 4}) {
		return sighting{}, false
	}
	sender := netip.AddrFrom4([4]byte(b[14:18]))
	target := netip.AddrFrom4([4]byte(b[24:28]))
	s := sighting{mac: bytes.Clone(b[8:14]), claims: sender == ip}
	return s, s.claims || sender.IsUnspecified() && target == ip
}

func lookND(b []byte, from net.HardwareAddr, ip netip.Addr) (sighting, bool) {
	if len(b) < ip6Len+ndLen || b[0]>>4 != 6 || b[6] != icmpv6 || b[7] != 255 {
		return sighting{}, false
	}
	source, msg := netip.AddrFrom16([16]byte(b[8:24])), b[ip6Len:]
	if netip.AddrFrom16([16]byte(msg[8:24])) != ip {
		return sighting{}, false
	}
	s := sighting{mac: bytes.Clone(from)}
	switch msg[0] {
	case advertisement:
		s.claims = true
		if mac, ok := linkAddr(msg[ndLen:]); ok {
			s.mac = mac
		}
		return s, true
	case solicitation:
		return s, source.IsUnspecified()
	}
	return sighting{}, false
}

func linkAddr(options []byte) (net.HardwareAddr, bool) {
	for len(options) >= llOption {
		size := int(options[1]) * 8
		if size == 0 || size > len(options) {
			return nil, false
		}
		if options[0] == optTargetLinkAddr && size == llOption {
			return bytes.Clone(options[2:8]), true
		}
		options = options[size:]
	}
	return nil, false
}
