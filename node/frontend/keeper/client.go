package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// What callers decide on.
var (
	// ErrNothing: no file is kept under the name.
	ErrNothing = errors.New("nothing is kept")
	// ErrServed: the process to which the file belongs lives.
	ErrServed = errors.New("a living process serves it")
	// ErrNobody: no keeper answers.
	ErrNobody = errors.New("no keeper answers")
)

const (
	answerWait = 5 * time.Second
	// goneWait is how long a process that was killed may take to be gone.
	goneWait = 3 * time.Second
)

// Client is one connection to the keeper: what is kept or taken over it belongs to
// it until Close, or until its process ends. It may be used from many goroutines.
type Client struct {
	mu   sync.Mutex
	conn *net.UnixConn
}

// Dial connects to the keeper of a frontend's private directory. The error wraps
// ErrNobody when there is none.
func Dial(dir string) (*Client, error) {
	path := SocketIn(dir)
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("%w at %s: %w", ErrNobody, path, err)
	}
	return &Client{conn: conn}, nil
}

// Close gives up what belongs to the connection; the keeper keeps it.
func (c *Client) Close() { _ = c.conn.Close() } // nothing is buffered

// Keep gives a copy of the descriptor to the keeper, with a note of at most 2 KiB.
func (c *Client) Keep(name string, fd int, note []byte) error {
	_, _, err := c.call(request{Word: wordKeep, Name: name, Note: note}, fd)
	return err
}

// Take returns a descriptor of a kept file, the caller's to close, and its note.
// It waits a little for the end of a process that is being killed.
func (c *Client) Take(ctx context.Context, name string) (fd int, note []byte, err error) {
	err = untilGone(ctx, func() error {
		var r reply
		fd, r, err = c.call(request{Word: wordTake, Name: name}, -1)
		note = r.Note
		return err
	})
	if err == nil && fd < 0 {
		err = errors.New("the keeper's answer came without the file")
	}
	return fd, note, err
}

// Drop makes the keeper close a file. It does nothing if there is none.
func (c *Client) Drop(ctx context.Context, name string) error {
	return untilGone(ctx, func() error {
		_, _, err := c.call(request{Word: wordDrop, Name: name}, -1)
		if errors.Is(err, ErrNothing) {
			return nil
		}
		return err
	})
}

// Has reports whether a file is kept that no living process serves; it waits a
// little for the end of one that is being killed.
func (c *Client) Has(ctx context.Context, name string) (bool, error) {
	err := untilGone(ctx, func() error {
		_, _, err := c.call(request{Word: wordHas, Name: name}, -1)
		return err
	})
	if errors.Is(err, ErrNothing) || errors.Is(err, ErrServed) {
		return false, nil
	}
	return err == nil, err
}

func untilGone(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, goneWait)
	defer cancel()
	for {
		err := do()
		if !errors.Is(err, ErrServed) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (c *Client) call(q request, with int) (fd int, r reply, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.conn.SetDeadline(time.Now().Add(answerWait))
	if err := send(c.conn, &q, with); err != nil {
		return -1, r, fmt.Errorf("ask the keeper to %s %q: %w", q.Word, q.Name, err)
	}
	if fd, err = receive(c.conn, &r); err != nil {
		return -1, r, fmt.Errorf("ask the keeper to %s %q: %w", q.Word, q.Name, err)
	}
	switch r.Code {
	case "":
		return fd, r, nil
	case codeNothing:
		err = ErrNothing
	case codeServed:
		err = ErrServed
	default:
		err = errors.New(r.Text)
	}
	closeAny(fd)
	return -1, r, fmt.Errorf("ask the keeper to %s %q: %w", q.Word, q.Name, err)
}
