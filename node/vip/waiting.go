package vip

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// A client that asks for a connection while the address is silent asks again by itself,
// after a second at best and ever more seldom, and so sits there although the services
// have long been ready. So what it asked is kept, and given to the kernel of this box
// once the address is open; the answer goes out as if it had just come.

// waitingKept bounds the clients whose question is kept.
const waitingKept = 1024

// waiting keeps the questions of clients to one silent address.
type waiting struct {
	ip     netip.Addr
	wire   *wire
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	asked map[Connection][]byte // the newest question of each
}

// keepWaiting returns nil where that is not possible; clients then ask again.
func keepWaiting(ip netip.Addr) *waiting {
	w, err := openEar(ip.Is4())
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	k := &waiting{ip: ip, wire: w, cancel: cancel, asked: map[Connection][]byte{}}
	k.wg.Go(func() {
		_ = listenForSYN(ctx, w, []netip.Addr{ip}, k.keep) // its end costs a client a second
	})
	return k
}

func (k *waiting) keep(c Connection, packet []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, again := k.asked[c]; again || len(k.asked) < waitingKept {
		k.asked[c] = append([]byte(nil), packet...)
	}
}

// end stops listening. A nil one has nothing to stop.
func (k *waiting) end() {
	if k == nil {
		return
	}
	k.cancel()
	k.wire.close()
	k.wg.Wait()
}

// admit ends it and gives this box's kernel what was asked. A packet that is sent to an
// address of the box itself comes in again, whoever its sender is.
func (k *waiting) admit() error {
	if k == nil {
		return nil
	}
	k.end()
	if len(k.asked) == 0 {
		return nil
	}
	domain := unix.AF_INET6
	if k.ip.Is4() {
		domain = unix.AF_INET
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var errs []error
	for c, packet := range k.asked {
		if again := asNew(packet, c); again != nil {
			errs = append(errs, unix.Sendto(fd, again, 0, destination(k.ip)))
		}
	}
	return errors.Join(errs...)
}

// asNew is a packet without what came behind it on the cable, and with a checksum: a
// sender leaves that to its network card. nil: it is cut off.
func asNew(packet []byte, c Connection) []byte {
	header, size := ip6Len, 0
	if c.Local.Addr().Is4() {
		header, size = int(packet[0]&0xf)*4, int(binary.BigEndian.Uint16(packet[2:]))
	} else {
		size = ip6Len + int(binary.BigEndian.Uint16(packet[4:]))
	}
	if size > len(packet) || size < header+tcpHeaderLen {
		return nil
	}
	packet = packet[:size]
	segment := packet[header:]
	segment[16], segment[17] = 0, 0
	binary.BigEndian.PutUint16(segment[16:], checksum(unix.IPPROTO_TCP, c.Remote.Addr(), c.Local.Addr(), segment))
	return packet
}
