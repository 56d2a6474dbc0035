package nbd

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// socketPair returns the two ends of a stream inside this box.
func socketPair() (ours, theirs net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	if ours, err = connOf(fds[0]); err != nil {
		_ = unix.Close(fds[1])
		return nil, nil, err
	}
	if theirs, err = connOf(fds[1]); err != nil {
		_ = ours.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// connOf makes a connection of a socket and takes it over, also on failure.
func connOf(fd int) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "socket") //nolint:gosec // a descriptor
	defer file.Close()
	nc, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("use a socket: %w", err)
	}
	return nc, nil
}
