package nfs3

import (
	"context"
	"time"
)

// Program, version and procedure numbers (RFC 1813).
const (
	ProgNFS   = 100003
	ProgMount = 100005
	Version   = 3

	ProcNull    = 0
	ProcGetattr = 1
	ProcLookup  = 3
	ProcRead    = 6
	ProcWrite   = 7
	ProcCreate  = 8
	ProcCommit  = 21
	MountMnt    = 1

	fileSync   = 2
	attrLength = 84
)

// Handle names a file to the server. It stays valid across connections and, on a
// well-configured pair, across the boxes.
type Handle []byte

// Client is one connection to an NFSv3 server. Not safe for concurrent use.
type Client struct {
	rpc     *rpc
	timeout time.Duration
}

// Dial connects to addr ("host:port") within timeout, which also bounds each call.
func Dial(ctx context.Context, addr string, timeout time.Duration) (*Client, error) {
	r, err := dialRPC(ctx, addr, timeout)
	if err != nil {
		return nil, err
	}
	return &Client{rpc: r, timeout: timeout}, nil
}

// SetTimeout changes the bound of the following calls.
func (c *Client) SetTimeout(d time.Duration) { c.timeout = d }

// Close ends the connection.
func (c *Client) Close() error { return c.rpc.close() }

// Mount asks the mount service at addr for the handle of an exported path.
func Mount(ctx context.Context, addr, path string, timeout time.Duration) (Handle, error) {
	r, err := dialRPC(ctx, addr, timeout)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.close() }()
	var e Encoder
	e.Opaque([]byte(path))
	d, err := r.call(ProgMount, Version, MountMnt, e.Bytes(), timeout)
	if err != nil {
		return nil, err
	}
	if err := status("mount "+path, d); err != nil {
		return nil, err
	}
	return handle(d)
}

// Null asks the server for a sign of life.
func (c *Client) Null() error {
	_, err := c.rpc.call(ProgNFS, Version, ProcNull, nil, c.timeout)
	return err
}

// Lookup finds name in the directory.
func (c *Client) Lookup(dir Handle, name string) (Handle, error) {
	var e Encoder
	e.Opaque(dir)
	e.Opaque([]byte(name))
	d, err := c.call("lookup "+name, ProcLookup, e.Bytes())
	if err != nil {
		return nil, err
	}
	return handle(d)
}

// Create makes name in the directory, or opens it when it is there already.
func (c *Client) Create(dir Handle, name string, mode uint32) (Handle, error) {
	var e Encoder
	e.Opaque(dir)
	e.Opaque([]byte(name))
	e.Uint32(0) // UNCHECKED
	e.Uint32(1) // set mode
	e.Uint32(mode)
	for range 5 { // leave uid, gid, size, atime and mtime
		e.Uint32(0)
	}
	d, err := c.call("create "+name, ProcCreate, e.Bytes())
	if err != nil {
		return nil, err
	}
	if d.Uint32() == 0 { // the server may leave the handle out
		return c.Lookup(dir, name)
	}
	return handle(d)
}

// Write stores data at off and returns when the server says it is on stable storage
// (FILE_SYNC). A server that wrote less, or not stably, is reported as an I/O error.
func (c *Client) Write(h Handle, off uint64, data []byte) error {
	var e Encoder
	e.Opaque(h)
	e.Uint64(off)
	e.Uint32(uint32(len(data)))
	e.Uint32(fileSync)
	e.Opaque(data)
	d, err := c.call("write", ProcWrite, e.Bytes())
	if err != nil {
		return err
	}
	skipWcc(d)
	n, how := d.Uint32(), d.Uint32()
	if d.Err() != nil {
		return d.Err()
	}
	if n != uint32(len(data)) || how != fileSync {
		return &StatusError{Op: "write (short or unstable)", Status: StatusIO}
	}
	return nil
}

// Read returns up to n bytes at off, fewer only at the end of the file.
func (c *Client) Read(h Handle, off uint64, n uint32) ([]byte, error) {
	var out []byte
	for uint32(len(out)) < n {
		part, eof, err := c.readOnce(h, off+uint64(len(out)), n-uint32(len(out)))
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
		if eof || len(part) == 0 {
			break
		}
	}
	return out, nil
}

func (c *Client) readOnce(h Handle, off uint64, n uint32) ([]byte, bool, error) {
	var e Encoder
	e.Opaque(h)
	e.Uint64(off)
	e.Uint32(n)
	d, err := c.call("read", ProcRead, e.Bytes())
	if err != nil {
		return nil, false, err
	}
	skipAttr(d)
	d.Uint32() // count, which the data's own length repeats
	eof := d.Uint32() != 0
	return d.Opaque(), eof, d.Err()
}

// Commit asks for everything written to the file to be on stable storage.
func (c *Client) Commit(h Handle) error {
	var e Encoder
	e.Opaque(h)
	e.Uint64(0)
	e.Uint32(0)
	_, err := c.call("commit", ProcCommit, e.Bytes())
	return err
}

// Size returns the length of the file in bytes.
func (c *Client) Size(h Handle) (uint64, error) {
	var e Encoder
	e.Opaque(h)
	d, err := c.call("getattr", ProcGetattr, e.Bytes())
	if err != nil {
		return 0, err
	}
	d.Skip(20) // type, mode, links, uid, gid
	return d.Uint64(), d.Err()
}

func (c *Client) call(op string, proc uint32, args []byte) (*Decoder, error) {
	d, err := c.rpc.call(ProgNFS, Version, proc, args, c.timeout)
	if err != nil {
		return nil, err
	}
	return d, status(op, d)
}

func status(op string, d *Decoder) error {
	s := Status(d.Uint32())
	if d.Err() != nil {
		return d.Err()
	}
	if s != StatusOK {
		return &StatusError{Op: op, Status: s}
	}
	return nil
}

func handle(d *Decoder) (Handle, error) {
	h := append(Handle(nil), d.Opaque()...)
	return h, d.Err()
}

func skipAttr(d *Decoder) {
	if d.Uint32() != 0 {
		d.Skip(attrLength)
	}
}

func skipWcc(d *Decoder) {
	if d.Uint32() != 0 {
		d.Skip(24) // size, mtime, ctime before the call
	}
	skipAttr(d)
}
