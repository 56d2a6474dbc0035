// Package keeper is the smallest of processes: it holds open files of frontends,
// so that the kernel does not see them closed when the process that serves them is
// killed, and gives them to the next one. It does not look into them, serves
// nothing and decides nothing.
//
// A file belongs to the connection over which it was kept or taken, for as long as
// that connection lives; while it does, nobody else gets the file. The end of a
// connection says that its process is gone, with every thread: only then are a
// process's descriptors closed.
//
// The keeper must not live in the mount namespace in which volumes are mounted:
// when a whole box is killed, its end would wait for a file system that waits for
// the file it holds. It ends by itself when it has nothing to keep and nobody to
// talk to.
package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// idle is how long a keeper without files and connections stays.
	idle = 3 * time.Second
	// mostMessage bounds a message in bytes.
	mostMessage = 4096
)

// Codes of a reply that is a refusal.
const (
	codeNothing = "nothing"
	codeServed  = "served"
	codeBad     = "bad"
)

// Words of a request.
const (
	wordKeep = "keep" // with one file; replaces what the connection kept under the name
	wordTake = "take" // answered with the file, which then belongs to the connection
	wordDrop = "drop" // the keeper's descriptor is closed
	wordHas  = "has"
)

// request and reply are one packet of JSON each, with at most one descriptor
// beside it.
type request struct {
	Word string `json:"word"`
	Name string `json:"name"`
	Note []byte `json:"note,omitempty"` // what whoever takes the file needs to know
}

type reply struct {
	Code string `json:"code,omitempty"` // empty: done
	Text string `json:"text,omitempty"`
	Note []byte `json:"note,omitempty"`
}

// SocketIn returns where the keeper of a frontend's private directory listens.
func SocketIn(dir string) string { return filepath.Join(dir, "keeper.sock") }

// kept is one file.
type kept struct {
	fd    int
	note  []byte
	owner *net.UnixConn // nil: its process is gone
}

type server struct {
	mu    sync.Mutex
	files map[string]*kept
	conns map[*net.UnixConn]bool
	quiet *time.Timer // runs while there is nothing to do
	left  bool        // a connection that comes now is too late
}

// Serve is the process. It returns nil when ctx ends or when it is not needed any
// more, and closes what it keeps. It fails when another keeper listens there.
func Serve(ctx context.Context, dir string) error {
	l, err := listen(dir)
	if err != nil {
		return fmt.Errorf("keep files for %s: %w", dir, err)
	}
	s := &server{files: map[string]*kept{}, conns: map[*net.UnixConn]bool{}}
	s.quiet = time.AfterFunc(idle, func() { s.leave(l) })
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var all sync.WaitGroup
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			break // it was closed: nobody needs us
		}
		if s.admit(c) {
			all.Go(func() { s.talk(c) })
		}
	}
	s.end()
	all.Wait()
	return nil
}

func listen(dir string) (*net.UnixListener, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := SocketIn(dir)
	if c, err := net.Dial("unixpacket", path); err == nil {
		_ = c.Close()
		return nil, errors.New("another keeper answers there")
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o600)
}

// leave ends the keeper unless somebody came meanwhile.
func (s *server) leave(l *net.UnixListener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns)+len(s.files) == 0 {
		s.left = true
		_ = l.Close()
	}
}

func (s *server) admit(c *net.UnixConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		_ = c.Close()
		return false
	}
	s.conns[c] = true
	s.quiet.Stop()
	return true
}

// end closes everything.
func (s *server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = true
	s.quiet.Stop()
	for c := range s.conns {
		_ = c.Close()
	}
	for name := range s.files {
		s.forget(name)
	}
}

// forget closes a file; s.mu is held.
func (s *server) forget(name string) {
	unix.Close(s.files[name].fd)
	delete(s.files, name)
}

// talk answers one connection until it ends.
func (s *server) talk(c *net.UnixConn) {
	for {
		var q request
		fd, err := receive(c, &q)
		if err != nil {
			break
		}
		answer, with := s.answer(c, &q, fd)
		if err := send(c, answer, with); err != nil {
			break
		}
	}
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	for _, k := range s.files {
		if k.owner == c {
			k.owner = nil
		}
	}
	if len(s.conns)+len(s.files) == 0 && !s.left {
		s.quiet.Reset(idle)
	}
}

// answer carries a request out; fd is -1 or what came with it, and the second
// result -1 or what is to go with the answer.
func (s *server) answer(c *net.UnixConn, q *request, fd int) (*reply, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.files[q.Name]
	if (fd >= 0) != (q.Word == wordKeep) {
		closeAny(fd)
		return &reply{Code: codeBad, Text: "a file is to come with " + wordKeep + ", and with nothing else"}, -1
	}
	if k != nil && k.owner != nil && k.owner != c {
		closeAny(fd)
		return &reply{Code: codeServed, Text: "a living process serves it"}, -1
	}
	switch q.Word {
	case wordKeep:
		if k != nil {
			s.forget(q.Name)
		}
		s.files[q.Name] = &kept{fd: fd, note: q.Note, owner: c}
		return &reply{}, -1
	case wordTake, wordDrop, wordHas:
	default:
		return &reply{Code: codeBad, Text: fmt.Sprintf("unknown word %q", q.Word)}, -1
	}
	if k == nil {
		return &reply{Code: codeNothing, Text: "nothing is kept under this name"}, -1
	}
	switch q.Word {
	case wordTake:
		k.owner = c
		return &reply{Note: k.note}, k.fd
	case wordDrop:
		s.forget(q.Name)
	}
	return &reply{}, -1
}

func closeAny(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}

// send writes one packet.
func send(c *net.UnixConn, message any, fd int) error {
	p, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(p) > mostMessage {
		return fmt.Errorf("a message of %d bytes is longer than %d", len(p), mostMessage)
	}
	var beside []byte
	if fd >= 0 {
		beside = unix.UnixRights(fd)
	}
	_, _, err = c.WriteMsgUnix(p, beside, nil)
	return err
}

// receive reads one packet and returns the descriptor that came with it, or -1.
func receive(c *net.UnixConn, message any) (int, error) {
	p, beside := make([]byte, mostMessage), make([]byte, unix.CmsgSpace(4))
	n, m, _, _, err := c.ReadMsgUnix(p, beside)
	if err == nil && n == 0 {
		err = net.ErrClosed
	}
	if err != nil {
		return -1, err
	}
	fd, err := descriptor(beside[:m])
	if err == nil {
		err = json.Unmarshal(p[:n], message)
	}
	if err != nil {
		closeAny(fd)
		return -1, err
	}
	return fd, nil
}

func descriptor(beside []byte) (int, error) {
	if len(beside) == 0 {
		return -1, nil
	}
	messages, err := unix.ParseSocketControlMessage(beside)
	if err != nil {
		return -1, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err == nil && len(fds) == 1 {
			return fds[0], nil
		}
	}
	return -1, errors.New("not one descriptor came beside a message")
}
