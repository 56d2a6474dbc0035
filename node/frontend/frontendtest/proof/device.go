package proof

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Open opens a volume at the path under which it is shown: a device of the
// kernel, past the page cache, or the unix socket of an NBD server that exports
// it under name.
func Open(path, name string) (Device, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode()&os.ModeSocket != 0 {
		return dialNBD(path, name)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return kernelDevice(fd), nil
}

// kernelDevice is a descriptor, and no os.File, which would ask the device for
// readiness.
type kernelDevice int

func (d kernelDevice) ReadAt(p []byte, off int64) error {
	return whole(unix.Pread(int(d), p, off))(len(p))
}

func (d kernelDevice) WriteAt(p []byte, off int64) error {
	return whole(unix.Pwrite(int(d), p, off))(len(p))
}

func (d kernelDevice) Flush() error { return unix.Fdatasync(int(d)) }
func (d kernelDevice) Close() error { return unix.Close(int(d)) }

// whole makes an error of a request that was done in part.
func whole(n int, err error) func(int) error {
	return func(wanted int) error {
		if err == nil && n != wanted {
			err = io.ErrShortWrite
		}
		return err
	}
}

// Numbers of the NBD protocol, as far as nbdDevice speaks it.
const (
	nbdFlags      = 3 // fixed newstyle, no zeroes behind the export's size
	nbdExportName = 1 // the option
	nbdRead       = 0
	nbdWrite      = 1
	nbdFlush      = 3
	nbdRequest    = 0x25609513
	nbdReply      = 0x67446698
)

// nbdDevice is a connection with one request under way.
type nbdDevice struct {
	conn   net.Conn
	in     *bufio.Reader
	cookie uint64
}

func dialNBD(path, name string) (Device, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	d := &nbdDevice{conn: conn, in: bufio.NewReader(conn)}
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if err := d.open(name); err != nil {
		conn.Close()
		return nil, fmt.Errorf("open the export %q of %s: %w", name, path, err)
	}
	_ = conn.SetDeadline(time.Time{})
	return d, nil
}

// open sends flags and the export's name and reads size and flags of it.
func (d *nbdDevice) open(name string) error {
	var hello [18]byte
	if _, err := io.ReadFull(d.in, hello[:]); err != nil {
		return err
	}
	p := binary.BigEndian.AppendUint32(nil, nbdFlags)
	p = append(p, "IHAVEOPT"...)
	p = binary.BigEndian.AppendUint32(p, nbdExportName)
	p = binary.BigEndian.AppendUint32(p, uint32(len(name))) //nolint:gosec // short
	if _, err := d.conn.Write(append(p, name...)); err != nil {
		return err
	}
	var export [10]byte
	_, err := io.ReadFull(d.in, export[:])
	return err
}

func (d *nbdDevice) ReadAt(p []byte, off int64) error {
	return d.do(nbdRead, off, len(p), nil, p)
}

func (d *nbdDevice) WriteAt(p []byte, off int64) error {
	return d.do(nbdWrite, off, len(p), p, nil)
}

func (d *nbdDevice) Flush() error { return d.do(nbdFlush, 0, 0, nil, nil) }
func (d *nbdDevice) Close() error { return d.conn.Close() }

func (d *nbdDevice) do(kind uint16, off int64, n int, out, into []byte) error {
	d.cookie++
	p := binary.BigEndian.AppendUint32(nil, nbdRequest)
	p = binary.BigEndian.AppendUint16(p, 0)
	p = binary.BigEndian.AppendUint16(p, kind)
	p = binary.BigEndian.AppendUint64(p, d.cookie)
	p = binary.BigEndian.AppendUint64(p, uint64(off)) //nolint:gosec // not negative
	p = binary.BigEndian.AppendUint32(p, uint32(n))   //nolint:gosec // a megabyte at most
	buffers := net.Buffers{p, out}
	if _, err := buffers.WriteTo(d.conn); err != nil {
		return err
	}
	var reply [16]byte
	if _, err := io.ReadFull(d.in, reply[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(reply[:]) != nbdReply || binary.BigEndian.Uint64(reply[8:]) != d.cookie {
		return fmt.Errorf("the NBD server answered with %x", reply)
	}
	if e := binary.BigEndian.Uint32(reply[4:]); e != 0 {
		return unix.Errno(e)
	}
	_, err := io.ReadFull(d.in, into)
	return err
}
