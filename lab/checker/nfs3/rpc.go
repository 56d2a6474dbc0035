// Package nfs3 is a small NFSv3 client in user space over TCP: what a program needs
// to write and read files on a server whose death it wants to notice within half a
// second. Every call has a bounded time; after any transport failure the connection
// is dead and the caller dials a new one, with the same file handles.
//
// It is not a file system and not a complete NFS client: no caching, no locking, no
// directory reading, no UDP, no port mapper, one call at a time per connection.
package nfs3

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Numbers of ONC RPC (RFC 5531).
const (
	rpcVersion  = 2
	msgCall     = 0
	msgReply    = 1
	authSys     = 1
	lastFrag    = 1 << 31
	maxReply    = 4 << 20
	replyHeader = 24 // xid, REPLY, accepted, verifier flavour and length, accept status
)

var nextXID atomic.Uint32

func init() { nextXID.Store(uint32(time.Now().UnixNano())) }

// rpc is one TCP connection on which calls are made one after the other.
type rpc struct {
	conn net.Conn
	cred []byte
}

// dialRPC connects within timeout. The kernel is told to give the connection up when
// sent data stays unacknowledged for that long, so that a dead host is told apart
// from a slow one.
func dialRPC(ctx context.Context, addr string, timeout time.Duration) (*rpc, error) {
	d := net.Dialer{Timeout: timeout, Control: userTimeout(timeout)}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return &rpc{conn: conn, cred: rootCredential()}, nil
}

func userTimeout(d time.Duration) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var serr error
		err := c.Control(func(fd uintptr) {
			serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT,
				int(d.Milliseconds()))
		})
		if err != nil {
			return err
		}
		return serr
	}
}

// rootCredential is AUTH_SYS for uid 0, gid 0.
func rootCredential() []byte {
	var e Encoder
	e.Uint32(0) // stamp
	e.Opaque([]byte("checker"))
	e.Uint32(0) // uid
	e.Uint32(0) // gid
	e.Uint32(0) // no further groups
	return e.Bytes()
}

// call sends one procedure call and waits for its reply, at most timeout in all.
// The decoder returned stands at the procedure's results.
func (r *rpc) call(prog, vers, proc uint32, args []byte, timeout time.Duration) (*Decoder, error) {
	if err := r.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	xid := nextXID.Add(1)
	if _, err := r.conn.Write(r.frame(xid, prog, vers, proc, args)); err != nil {
		return nil, fmt.Errorf("send call: %w", err)
	}
	body, err := ReadRecord(r.conn)
	if err != nil {
		return nil, fmt.Errorf("receive reply: %w", err)
	}
	return openReply(body, xid)
}

func (r *rpc) frame(xid, prog, vers, proc uint32, args []byte) []byte {
	var e Encoder
	e.Uint32(0) // record mark, filled in below
	for _, v := range []uint32{xid, msgCall, rpcVersion, prog, vers, proc, authSys} {
		e.Uint32(v)
	}
	e.Opaque(r.cred)
	e.Uint32(0) // verifier: AUTH_NONE
	e.Uint32(0)
	b := append(e.Bytes(), args...)
	binary.BigEndian.PutUint32(b, lastFrag|uint32(len(b)-4))
	return b
}

// ReadRecord reads one record of the RPC stream, joining its fragments.
func ReadRecord(src io.Reader) ([]byte, error) {
	var rec []byte
	for {
		var mark [4]byte
		if _, err := io.ReadFull(src, mark[:]); err != nil {
			return nil, err
		}
		m := binary.BigEndian.Uint32(mark[:])
		n := int(m &^ lastFrag)
		if n+len(rec) > maxReply {
			return nil, fmt.Errorf("record of more than %d bytes", maxReply)
		}
		start := len(rec)
		rec = append(rec, make([]byte, n)...)
		if _, err := io.ReadFull(src, rec[start:]); err != nil {
			return nil, err
		}
		if m&lastFrag != 0 {
			return rec, nil
		}
	}
}

func openReply(body []byte, xid uint32) (*Decoder, error) {
	if len(body) < replyHeader-8 {
		return nil, errShort
	}
	d := NewDecoder(body)
	if got := d.Uint32(); got != xid {
		return nil, fmt.Errorf("reply carries call number %d, expected %d", got, xid)
	}
	if kind := d.Uint32(); kind != msgReply {
		return nil, fmt.Errorf("message kind %d is not a reply", kind)
	}
	if stat := d.Uint32(); stat != 0 {
		return nil, fmt.Errorf("server refused the call: RPC reply status %d", stat)
	}
	d.Uint32() // verifier flavour
	d.Opaque()
	if stat := d.Uint32(); stat != 0 {
		return nil, fmt.Errorf("server could not run the call: RPC accept status %d", stat)
	}
	return d, d.Err()
}

func (r *rpc) close() error { return r.conn.Close() }
