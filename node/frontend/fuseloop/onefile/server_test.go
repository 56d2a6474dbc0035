package onefile

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gemel/node/block"
)

const deviceBytes = 1 << 20

// device is memory that can be made to wait and to fail.
type device struct {
	mu   sync.Mutex
	mem  []byte
	gate chan struct{} // writes wait for it when it is not nil
	fail error
	in   sync.WaitGroup // writes that have come
}

func newDevice() *device { return &device{mem: make([]byte, deviceBytes)} }

func (d *device) SizeBytes() int64 { return deviceBytes }

func (d *device) ReadAt(p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(p, d.mem[off:])
	return d.fail
}

func (d *device) WriteAt(p []byte, off int64, _ bool) error {
	if d.gate != nil {
		d.in.Done()
		<-d.gate
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.mem[off:], p)
	return d.fail
}

func (d *device) Flush() error { return d.fail }

func (d *device) Discard(off, n int64) error {
	clear(d.mem[off : off+n])
	return nil
}

// kernel is the other end of a server's connection.
type kernel struct {
	t      *testing.T
	fd     int
	served chan struct{}
}

func connect(t *testing.T, dev block.Device, session *Session) (*kernel, *Server) {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range ends {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20); err != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<20)
		}
	}
	k := &kernel{t: t, fd: ends[1], served: make(chan struct{})}
	var s *Server
	if session != nil {
		s, err = Resume(ends[0], dev, *session)
	} else {
		k.ask(opInit, 1, words(protocolMajor, 45, 1<<17, uint32(wanted|1<<31), hasResend>>32))
		s, err = Begin(ends[0], dev)
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() { defer close(k.served); s.Serve() }()
	t.Cleanup(k.hangUp)
	return k, s
}

// hangUp ends the connection, and waits for the server's end.
func (k *kernel) hangUp() {
	if k.fd >= 0 {
		unix.Close(k.fd)
	}
	k.fd = -1
	select {
	case <-k.served:
	case <-time.After(30 * time.Second):
		k.t.Error("the server has not ended with its connection")
	}
}

func (k *kernel) ask(op uint32, unique uint64, body ...[]byte) {
	k.t.Helper()
	p := make([]byte, requestHead)
	order.PutUint32(p[4:], op)
	order.PutUint64(p[8:], unique)
	for _, b := range body {
		p = append(p, b...)
	}
	order.PutUint32(p, uint32(len(p)))
	if _, err := unix.Write(k.fd, p); err != nil {
		k.t.Fatal(err)
	}
}

// hear returns the next answer.
func (k *kernel) hear() (unique uint64, reason unix.Errno, body []byte) {
	k.t.Helper()
	p := make([]byte, 2<<20)
	n, err := unix.Read(k.fd, p)
	if err != nil || n < answerHead || int(order.Uint32(p)) != n {
		k.t.Fatalf("an answer of %d bytes that says %d (%v)", n, order.Uint32(p), err)
	}
	return order.Uint64(p[8:]), unix.Errno(-int32(order.Uint32(p[4:]))), p[answerHead:n]
}

func (k *kernel) want(unique uint64, reason unix.Errno, length int) []byte {
	k.t.Helper()
	got, why, body := k.hear()
	if got != unique || why != reason || len(body) != length {
		k.t.Fatalf("the answer to %d is %d bytes, %v; want the answer to %d of %d bytes, %v",
			got, len(body), why, unique, length, reason)
	}
	return body
}

func words(of ...uint32) []byte {
	p := make([]byte, 64)
	for i, w := range of {
		order.PutUint32(p[4*i:], w)
	}
	return p
}

// data is the body of a READ or WRITE.
func data(off int64, n int) []byte {
	p := make([]byte, writeHead)
	order.PutUint64(p[8:], uint64(off))
	order.PutUint32(p[16:], uint32(n))
	return p
}

func hole(off, n int64, mode uint32) []byte {
	p := make([]byte, 32)
	order.PutUint64(p[8:], uint64(off))
	order.PutUint64(p[16:], uint64(n))
	order.PutUint32(p[24:], mode)
	return p
}

func TestSessionIsAgreedOn(t *testing.T) {
	k, s := connect(t, newDevice(), nil)
	body := k.want(1, 0, initOut)
	if order.Uint32(body) != 7 || order.Uint32(body[4:]) != newestMinor || order.Uint32(body[20:]) != MaxWrite {
		t.Errorf("INIT is answered by %x", body)
	}
	if flags := order.Uint32(body[12:]); flags != wanted {
		t.Errorf("abilities %x, want %x", flags, wanted)
	}
	if got := (Session{MaxWrite: MaxWrite, Resend: true}); s.Session() != got {
		t.Errorf("session %+v, want %+v", s.Session(), got)
	}
}

func TestOldKernelIsRefused(t *testing.T) {
	for name, init := range map[string][]byte{
		"another protocol": words(8, 45, 0, uint32(wanted)),
		"an old minor":     words(7, 27, 0, uint32(wanted)),
		"short requests":   words(7, 45, 0, uint32(wanted&^hasMaxPages)),
		"torn":             make([]byte, 8),
	} {
		t.Run(name, func(t *testing.T) {
			ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			k := &kernel{t: t, fd: ends[1]}
			defer unix.Close(ends[1])
			k.ask(opInit, 1, init)
			if _, err := Begin(ends[0], newDevice()); !errors.Is(err, ErrKernel) {
				t.Errorf("got %v, want ErrKernel", err)
			}
			k.want(1, unix.EPROTO, 0)
		})
	}
}

func TestDataOfEverySize(t *testing.T) {
	dev := newDevice()
	k, _ := connect(t, dev, &Session{MaxWrite: MaxWrite})
	k.skipResend()
	for unique, n := range []int{block.Size, smallBytes, smallBytes + block.Size, MaxWrite} {
		payload := bytes.Repeat([]byte{byte(unique + 1)}, n)
		k.ask(opWrite, uint64(unique), data(block.Size, n), payload)
		if body := k.want(uint64(unique), 0, writeOut); order.Uint32(body) != uint32(n) {
			t.Errorf("%d of %d bytes are written", order.Uint32(body), n)
		}
		k.ask(opRead, 100+uint64(unique), data(block.Size, n))
		if !bytes.Equal(k.want(100+uint64(unique), 0, n), payload) {
			t.Errorf("what is read is not what was written, %d bytes", n)
		}
	}
	k.ask(opFallocate, 9, hole(block.Size, block.Size, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE))
	k.want(9, 0, 0)
	if !bytes.Equal(dev.mem[block.Size:2*block.Size], make([]byte, block.Size)) {
		t.Error("the hole is not empty")
	}
}

func (k *kernel) skipResend() {
	k.t.Helper()
	if unique, _, _ := k.hear(); unique != 0 {
		k.t.Fatal("it does not begin by having the kernel ask again")
	}
}

func TestTheNextProcessHasItAskedAgain(t *testing.T) {
	k, _ := connect(t, newDevice(), &Session{MaxWrite: 4096})
	p := make([]byte, 64)
	n, err := unix.Read(k.fd, p)
	if err != nil || n != answerHead || order.Uint32(p[4:]) != notifyResend || order.Uint64(p[8:]) != 0 {
		t.Errorf("it begins by saying %x (%v)", p[:n], err)
	}
}

func TestSessionThatCannotBeServed(t *testing.T) {
	for _, most := range []int{0, -1, MaxWrite + 1} {
		fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Resume(fd, newDevice(), Session{MaxWrite: most}); err == nil {
			t.Errorf("requests of %d bytes are served", most)
		}
		if unix.Close(fd) == nil {
			t.Error("the descriptor is left open")
		}
	}
}

func TestWhatIsRefused(t *testing.T) {
	dev := newDevice()
	k, s := connect(t, dev, &Session{MaxWrite: MaxWrite})
	k.skipResend()
	for unique, c := range []struct {
		op     uint32
		body   []byte
		reason unix.Errno
	}{
		{opWrite, append(data(1, block.Size), make([]byte, block.Size)...), unix.EINVAL},
		{opWrite, append(data(0, 2*block.Size), make([]byte, block.Size)...), unix.EINVAL},
		{opWrite, append(data(deviceBytes, block.Size), make([]byte, block.Size)...), unix.EINVAL},
		{opWrite, append(data(-1<<63, block.Size), make([]byte, block.Size)...), unix.EINVAL},
		{opWrite, make([]byte, 8), unix.EINVAL},
		{opRead, data(0, MaxWrite+block.Size), unix.EINVAL},
		{opRead, data(deviceBytes-block.Size, 2*block.Size), unix.EINVAL},
		{opRead, nil, unix.EINVAL},
		{opFallocate, nil, unix.EOPNOTSUPP},
		{opFallocate, hole(0, block.Size, 0), unix.EOPNOTSUPP},
		{opFallocate, hole(0, 1<<62, unix.FALLOC_FL_PUNCH_HOLE), unix.EINVAL},
		{1, []byte("name\x00"), unix.ENOSYS},
		{opFlush, nil, 0},
		{opFsync, nil, 0},
	} {
		k.ask(c.op, uint64(unique), c.body)
		k.want(uint64(unique), c.reason, 0)
	}
	dev.fail = errors.New("the disk is on fire")
	k.ask(opFsync, 99)
	k.want(99, unix.EIO, 0)
	if err := s.LastError(); !errors.Is(err, dev.fail) {
		t.Errorf("the last error is %v", err)
	}
}

func TestSilentRequestsGetNoAnswer(t *testing.T) {
	k, _ := connect(t, newDevice(), &Session{MaxWrite: MaxWrite})
	k.skipResend()
	for _, op := range []uint32{opForget, opBatchForget, opInterrupt} {
		k.ask(op, 1, words())
	}
	k.ask(opGetAttr, 2, words())
	if body := k.want(2, 0, attrOut); order.Uint64(body[24:]) != deviceBytes {
		t.Errorf("the file has %d bytes", order.Uint64(body[24:]))
	}
}

// TestWaitingRequestsKeepNobodyFromAsking: a device that holds every write it gets
// is asked for more, and for other things.
func TestWaitingRequestsKeepNobodyFromAsking(t *testing.T) {
	const held = 100
	dev := newDevice()
	dev.gate = make(chan struct{})
	dev.in.Add(held)
	k, _ := connect(t, dev, &Session{MaxWrite: MaxWrite})
	k.skipResend()
	for n := range uint64(held) {
		k.ask(opWrite, n, data(int64(n)*block.Size, block.Size), bytes.Repeat([]byte{byte(n)}, block.Size))
	}
	dev.in.Wait()
	k.ask(opGetAttr, held, words())
	k.want(held, 0, attrOut)
	close(dev.gate)
	seen := map[uint64]bool{}
	for range held {
		unique, reason, _ := k.hear()
		if reason != 0 || seen[unique] {
			t.Fatalf("write %d is answered by %v, before: %v", unique, reason, seen[unique])
		}
		seen[unique] = true
	}
	for n := range held {
		if dev.mem[n*block.Size] != byte(n) {
			t.Errorf("block %d holds %d", n, dev.mem[n*block.Size])
		}
	}
}

func TestMuteEndsTheServer(t *testing.T) {
	k, s := connect(t, newDevice(), &Session{MaxWrite: MaxWrite})
	k.skipResend()
	if err := s.Mute(); err != nil {
		t.Fatal(err)
	}
	k.hangUp() // who sleeps in a read wakes up
	<-k.served
	if err := s.Mute(); err == nil {
		t.Error("the number of a closed descriptor is used")
	}
}

// resident counts the pages of p that are there.
func resident(t *testing.T, p []byte) int {
	t.Helper()
	there := make([]byte, len(p)/pageBytes)
	_, _, e := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), uintptr(unsafe.Pointer(&there[0])))
	if e != 0 {
		t.Fatal(e)
	}
	n := 0
	for _, v := range there {
		n += int(v & 1)
	}
	return n
}

// TestFramesAreThereBeforeTheKernelNeedsThem: what a process that is being killed
// had not touched before costs its users an I/O error.
func TestFramesAreThereBeforeTheKernelNeedsThem(t *testing.T) {
	p := newFrames(MaxWrite, 4)
	defer p.close()
	f, err := p.take()
	if err != nil {
		t.Fatal(err)
	}
	defer p.put(f)
	if got, want := resident(t, f.mem), len(f.mem)/pageBytes; got != want {
		t.Errorf("%d of %d pages are there", got, want)
	}
	if at := uintptr(unsafe.Pointer(&f.data()[0])); at%pageBytes != 0 {
		t.Errorf("data begin at %x", at)
	}
}

func TestFramesAreBoundedAndTrimmed(t *testing.T) {
	p := newFrames(pageBytes, 3)
	var held []*frame
	for range 3 {
		f, err := p.take()
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, f)
	}
	waited := make(chan *frame)
	go func() { f, _ := p.take(); waited <- f }()
	p.put(held[0])
	if f := <-waited; f != held[0] {
		t.Error("who waited got another frame than the one that was free")
	}
	for _, f := range held {
		p.put(f)
	}
	p.trim() // three were in use since the start
	if p.all != 3 {
		t.Errorf("%d frames, want 3", p.all)
	}
	p.trim()
	if p.all != 1 {
		t.Errorf("%d frames after a quiet time, want 1", p.all)
	}
	p.close()
	if p.all != 0 {
		t.Errorf("%d frames after the end", p.all)
	}
}

func FuzzRequest(f *testing.F) {
	dev := newDevice()
	s := newServer(-1, dev, Session{MaxWrite: MaxWrite}) // answers go nowhere
	f.Add(uint32(opWrite), append(data(0, block.Size), make([]byte, block.Size)...))
	f.Add(uint32(opRead), data(0, MaxWrite))
	f.Add(uint32(opFallocate), hole(0, block.Size, unix.FALLOC_FL_PUNCH_HOLE))
	f.Add(uint32(opInit), words(7, 45, 0, uint32(wanted)))
	f.Fuzz(func(t *testing.T, op uint32, body []byte) {
		body = body[:min(len(body), MaxWrite+writeHead)]
		frame, err := s.large.take()
		if err != nil {
			t.Fatal(err)
		}
		p := frame.incoming()[:requestHead+len(body)]
		order.PutUint32(p, uint32(len(p)))
		order.PutUint32(p[4:], op)
		copy(p[requestHead:], body)
		s.handle(frame, len(p))
		var out [initOut]byte
		_, _ = agree(body, out[:], MaxWrite)
		if s.large.all != len(s.large.free) || s.small.all != len(s.small.free) {
			t.Error("a frame is lost")
		}
	})
}
