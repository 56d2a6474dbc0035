package vip

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// wire is a packet socket on one interface that carries ARP, or neighbour
// discovery, and nothing else. It is safe for one reader and many writers.
type wire struct{ file *os.File }

func openWire(index int, ip netip.Addr) (*wire, error) {
	kind := uint16(etherARP)
	if ip.Is6() {
		kind = etherIPv6
	}
	const flags = unix.SOCK_RAW | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := unix.Socket(unix.AF_PACKET, flags, 0) // no protocol yet: nothing arrives unfiltered
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	w := &wire{file: os.NewFile(uintptr(fd), "packet socket")}
	if ip.Is6() {
		err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, neighbourOnly())
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swap(kind), Ifindex: index})
	}
	if err != nil {
		w.close()
		return nil, fmt.Errorf("prepare a packet socket: %w", err)
	}
	return w, nil
}

// neighbourOnly is a kernel filter for neighbour solicitations and
// advertisements, so that a busy IPv6 link does not wake us.
func neighbourOnly() *unix.SockFprog {
	const (
		load   = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		accept = unix.BPF_RET | unix.BPF_K
	)
	program := []unix.SockFilter{
		{Code: load, K: etherLen + 6},
		{Code: equal, K: icmpv6, Jf: 4},
		{Code: load, K: etherLen + ip6Len},
		{Code: equal, K: advertisement, Jt: 1},
		{Code: equal, K: solicitation, Jf: 1},
		{Code: accept, K: 0xffff},
		{Code: accept, K: 0},
	}
	return &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
}

func swap(v uint16) uint16 { return v<<8 | v>>8 }

func (w *wire) send(frame []byte) error {
	if _, err := w.file.Write(frame); err != nil {
		return fmt.Errorf("send a frame: %w", err)
	}
	return nil
}

// receive returns the next frame in buf; a deadline error after until.
func (w *wire) receive(buf []byte, until time.Time) ([]byte, error) {
	if err := w.file.SetReadDeadline(until); err != nil {
		return nil, err
	}
	n, err := w.file.Read(buf)
	return buf[:n], err
}

func (w *wire) close() { _ = w.file.Close() } // a packet socket has nothing to lose

// macs returns the Ethernet addresses of every interface of this box.
func macs() (map[string]bool, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	own := make(map[string]bool, len(all))
	for _, i := range all {
		own[string(i.HardwareAddr)] = true
	}
	return own, nil
}
