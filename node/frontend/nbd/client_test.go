package nbd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/frontend/frontendtest"
)

// client is the tests' own NBD client; many requests may be under way.
type client struct {
	nc   net.Conn
	in   *bufio.Reader
	size int64
	flag uint16

	mu      sync.Mutex
	cookie  uint64
	pending map[uint64]*call
	broken  error
}

type call struct {
	into []byte
	done chan error
}

// dial opens the export name on a unix socket with GO.
func dial(path, name string) (*client, error) {
	nc, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	c := &client{nc: nc, in: bufio.NewReader(nc), pending: map[uint64]*call{}}
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	if err := c.open(name); err != nil {
		_ = nc.Close()
		return nil, err
	}
	_ = nc.SetDeadline(time.Time{})
	go c.receive()
	return c, nil
}

// hello reads the greeting and sends the flags.
func (c *client) hello(flags uint32) error {
	var b [18]byte
	if _, err := io.ReadFull(c.in, b[:]); err != nil {
		return err
	}
	if string(b[:8]) != "NBDMAGIC" || string(b[8:16]) != "IHAVEOPT" || b[17] != 3 {
		return fmt.Errorf("greeting %q", b)
	}
	_, err := c.nc.Write(binary.BigEndian.AppendUint32(nil, flags))
	return err
}

func encodeOption(kind uint32, data []byte) []byte {
	b := append([]byte("IHAVEOPT"), 0, 0, 0, byte(kind))
	return append(binary.BigEndian.AppendUint32(b, uint32(len(data))), data...)
}

func goData(name string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(name)))
	return append(append(b, name...), 0, 1, 0, infoBlockSize)
}

// answer reads one reply to an option.
func (c *client) answer() (kind uint32, data []byte, err error) {
	var b [20]byte
	if _, err := io.ReadFull(c.in, b[:]); err != nil {
		return 0, nil, err
	}
	data = make([]byte, binary.BigEndian.Uint32(b[16:]))
	_, err = io.ReadFull(c.in, data)
	return binary.BigEndian.Uint32(b[12:]), data, err
}

func (c *client) open(name string) error {
	if err := c.hello(fixedNewstyle | noZeroes); err != nil {
		return err
	}
	if _, err := c.nc.Write(encodeOption(optGo, goData(name))); err != nil {
		return err
	}
	for {
		kind, data, err := c.answer()
		switch {
		case err != nil:
			return err
		case kind == repAck:
			return nil
		case kind != repInfo:
			return fmt.Errorf("refused with %#x: %s", kind, data)
		case binary.BigEndian.Uint16(data) == infoExport:
			c.size = int64(binary.BigEndian.Uint64(data[2:]))
			c.flag = binary.BigEndian.Uint16(data[10:])
		}
	}
}

func (c *client) receive() {
	var err error
	for err == nil {
		var b [replySize]byte
		if _, err = io.ReadFull(c.in, b[:]); err != nil {
			break
		}
		if binary.BigEndian.Uint32(b[:]) != magicSimple {
			err = errMalformed
			break
		}
		c.mu.Lock()
		waiting := c.pending[binary.BigEndian.Uint64(b[8:])]
		delete(c.pending, binary.BigEndian.Uint64(b[8:]))
		c.mu.Unlock()
		var result error
		if e := binary.BigEndian.Uint32(b[4:]); e != 0 {
			result = unix.Errno(e)
		} else if waiting.into != nil {
			_, err = io.ReadFull(c.in, waiting.into)
			result = err
		}
		waiting.done <- result
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = err
	for _, waiting := range c.pending {
		waiting.done <- err
	}
}

func encodeRequest(r request, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, magicRequest)
	b = binary.BigEndian.AppendUint16(b, r.flags)
	b = binary.BigEndian.AppendUint16(b, r.kind)
	b = binary.BigEndian.AppendUint64(b, r.cookie)
	b = binary.BigEndian.AppendUint64(b, uint64(r.off))
	b = binary.BigEndian.AppendUint32(b, r.length)
	return append(b, payload...)
}

func (c *client) do(r request, payload, into []byte) error {
	w := &call{into: into, done: make(chan error, 1)}
	c.mu.Lock()
	if c.broken != nil {
		c.mu.Unlock()
		return c.broken
	}
	c.cookie++
	r.cookie = c.cookie
	c.pending[r.cookie] = w
	_, err := c.nc.Write(encodeRequest(r, payload))
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return <-w.done
}

func (c *client) SizeBytes() (int64, error) { return c.size, nil }

func (c *client) ReadAt(p []byte, off int64) error {
	return c.do(request{kind: cmdRead, off: off, length: uint32(len(p))}, nil, p)
}

func (c *client) WriteAt(p []byte, off int64) error {
	return c.do(request{kind: cmdWrite, off: off, length: uint32(len(p))}, p, nil)
}

func (c *client) Flush() error { return c.do(request{kind: cmdFlush}, nil, nil) }

func (c *client) Discard(off, n int64) error {
	if c.flag&flagTrim == 0 {
		return unix.EOPNOTSUPP
	}
	return c.do(request{kind: cmdTrim, off: off, length: uint32(n)}, nil, nil)
}

// WriteZeroes writes them itself where the server does not offer to.
func (c *client) WriteZeroes(off, n int64) error {
	if c.flag&flagWriteZeroes == 0 {
		return c.WriteAt(make([]byte, n), off)
	}
	return c.do(request{kind: cmdWriteZeroes, off: off, length: uint32(n)}, nil, nil)
}

// Close disconnects and waits until the server has closed its end.
func (c *client) Close() error {
	_, err := c.nc.Write(encodeRequest(request{kind: cmdDisconnect}, nil))
	for end := time.Now().Add(30 * time.Second); err == nil; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		broken := c.broken
		c.mu.Unlock()
		if broken != nil || time.Now().After(end) {
			break
		}
	}
	return errors.Join(c.nc.Close())
}

func mustDial(t *testing.T, path string) *client {
	t.Helper()
	c, err := dial(path, "suite")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.nc.Close() })
	return c
}

var _ frontendtest.User = (*client)(nil)
