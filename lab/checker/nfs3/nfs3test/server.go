// Package nfs3test is an NFSv3 server in memory for tests: one export, flat files,
// NFS and MOUNT on one loopback port. Tests make it drop connections, fall silent,
// refuse, and lose or damage what it stored. It is not a server for anybody's data.
package nfs3test

import (
	"encoding/binary"
	"net"
	"sync"

	"gemel/lab/checker/nfs3"
)

const rootHandle = "/"

// Server is the fake. Its address stays the same over Stop and Start, as a VIP's does.
type Server struct {
	// Export is the path MOUNT accepts. Set before Start.
	Export string

	mu      sync.Mutex
	addr    string
	ln      net.Listener
	conns   map[net.Conn]bool
	files   map[string][]byte
	writes  int
	onWrite func(n int) Verdict
	wg      sync.WaitGroup
}

// Verdict is what the fake does with one WRITE.
type Verdict struct {
	Status nfs3.Status // answered when not StatusOK
	Drop   bool        // store the data, then close the connection without a reply
	Silent bool        // store nothing and never reply
}

// New returns a stopped server for the export path.
func New(export string) *Server {
	return &Server{Export: export, files: map[string][]byte{}, conns: map[net.Conn]bool{}}
}

// OnWrite installs a judge of WRITEs; n counts from 1. nil accepts all.
func (s *Server) OnWrite(f func(n int) Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onWrite = f
}

// Start listens, on the former address if there was one, and returns the port.
func (s *Server) Start() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.addr == "" {
		s.addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		return 0, err
	}
	s.ln, s.addr = ln, ln.Addr().String()
	s.wg.Add(1)
	go s.accept(ln)
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// Addr is the address of the port, which Start must have opened once.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Stop closes the port and every connection, and waits for its goroutines.
func (s *Server) Stop() {
	s.mu.Lock()
	if s.ln != nil {
		s.ln.Close()
		s.ln = nil
	}
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// File returns a copy of what the file holds now.
func (s *Server) File(name string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]byte(nil), s.files[name]...)
}

// Damage changes a file's bytes in place; f may also return a shorter slice.
func (s *Server) Damage(name string, f func([]byte) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = f(s.files[name])
}

func (s *Server) accept(ln net.Listener) {
	defer s.wg.Done()
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.ln != ln {
			s.mu.Unlock()
			c.Close()
			return
		}
		s.conns[c] = true
		s.wg.Add(1)
		s.mu.Unlock()
		go s.serve(c)
	}
}

func (s *Server) serve(c net.Conn) {
	defer s.wg.Done()
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	for {
		rec, err := nfs3.ReadRecord(c)
		if err != nil {
			return
		}
		reply, drop := s.dispatch(rec)
		if drop {
			return
		}
		if reply == nil {
			continue
		}
		if _, err := c.Write(reply); err != nil {
			return
		}
	}
}

// dispatch returns the framed reply, nil for silence, or true to hang up.
func (s *Server) dispatch(rec []byte) ([]byte, bool) {
	d := nfs3.NewDecoder(rec)
	xid := d.Uint32()
	d.Skip(8) // CALL, RPC version
	prog := d.Uint32()
	d.Skip(4) // program version
	proc := d.Uint32()
	d.Uint32()
	d.Opaque() // credential
	d.Uint32()
	d.Opaque() // verifier
	var out nfs3.Encoder
	s.mu.Lock()
	defer s.mu.Unlock()
	answer, drop := s.run(prog, proc, d, &out)
	if drop || !answer {
		return nil, drop
	}
	return frame(xid, out.Bytes()), false
}

func frame(xid uint32, body []byte) []byte {
	var e nfs3.Encoder
	for _, v := range []uint32{0, xid, 1, 0, 0, 0, 0} {
		e.Uint32(v)
	}
	b := append(e.Bytes(), body...)
	binary.BigEndian.PutUint32(b, 1<<31|uint32(len(b)-4))
	return b
}

func (s *Server) run(prog, proc uint32, d *nfs3.Decoder, out *nfs3.Encoder) (answer, drop bool) {
	if prog == nfs3.ProgMount {
		s.mount(d, out)
		return true, false
	}
	switch proc {
	case nfs3.ProcLookup:
		s.lookup(d, out)
	case nfs3.ProcCreate:
		s.create(d, out)
	case nfs3.ProcRead:
		s.read(d, out)
	case nfs3.ProcWrite:
		return s.write(d, out)
	case nfs3.ProcGetattr:
		out.Uint32(0)
		attributes(out, uint64(len(s.files[string(d.Opaque())])))
	case nfs3.ProcCommit:
		for range 5 { // status, two absent attributes, verifier
			out.Uint32(0)
		}
	}
	return true, false
}

func (s *Server) mount(d *nfs3.Decoder, out *nfs3.Encoder) {
	if string(d.Opaque()) != s.Export {
		out.Uint32(uint32(nfs3.StatusNoEnt))
		return
	}
	out.Uint32(0)
	out.Opaque([]byte(rootHandle))
	out.Uint32(0) // no list of flavours
}

func (s *Server) lookup(d *nfs3.Decoder, out *nfs3.Encoder) {
	d.Opaque()
	name := string(d.Opaque())
	if _, ok := s.files[name]; !ok {
		out.Uint32(uint32(nfs3.StatusNoEnt))
		out.Uint32(0)
		return
	}
	out.Uint32(0)
	out.Opaque([]byte(name))
	out.Uint32(0)
	out.Uint32(0)
}

func (s *Server) create(d *nfs3.Decoder, out *nfs3.Encoder) {
	d.Opaque()
	name := string(d.Opaque())
	if _, ok := s.files[name]; !ok {
		s.files[name] = nil
	}
	out.Uint32(0)
	out.Uint32(1)
	out.Opaque([]byte(name))
	for range 3 { // absent attributes, before and after
		out.Uint32(0)
	}
}

func (s *Server) read(d *nfs3.Decoder, out *nfs3.Encoder) {
	f, ok := s.files[string(d.Opaque())]
	if !ok {
		out.Uint32(uint32(nfs3.StatusStale))
		return
	}
	off := min(d.Uint64(), uint64(len(f)))
	end := min(off+uint64(d.Uint32()), uint64(len(f)))
	out.Uint32(0)
	out.Uint32(0) // no attributes
	out.Uint32(uint32(end - off))
	if end == uint64(len(f)) {
		out.Uint32(1)
	} else {
		out.Uint32(0)
	}
	out.Opaque(f[off:end])
}

func (s *Server) write(d *nfs3.Decoder, out *nfs3.Encoder) (answer, drop bool) {
	s.writes++
	var v Verdict
	if s.onWrite != nil {
		v = s.onWrite(s.writes)
	}
	name, off := string(d.Opaque()), d.Uint64()
	d.Skip(8) // count, stability
	data := d.Opaque()
	if v.Silent {
		return false, false
	}
	if v.Status != nfs3.StatusOK {
		for _, w := range []uint32{uint32(v.Status), 0, 0} {
			out.Uint32(w)
		}
		return true, false
	}
	s.store(name, off, data)
	for _, w := range []uint32{0, 0, 0, uint32(len(data)), 2, 0, 0} {
		out.Uint32(w)
	}
	return true, v.Drop
}

func (s *Server) store(name string, off uint64, data []byte) {
	f := s.files[name]
	if need := off + uint64(len(data)); uint64(len(f)) < need {
		f = append(f, make([]byte, need-uint64(len(f)))...)
	}
	copy(f[off:], data)
	s.files[name] = f
}

// attributes writes fattr3 with nothing but the size filled in.
func attributes(out *nfs3.Encoder, size uint64) {
	for range 5 {
		out.Uint32(0)
	}
	out.Uint64(size)
	for range 14 {
		out.Uint32(0)
	}
}
