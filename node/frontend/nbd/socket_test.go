package nbd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gemel/node/block"
	"gemel/node/frontend"
	"gemel/node/frontend/frontendtest"
)

const testSize = 64 << 20

func listen(_ context.Context, o frontend.Options, dev block.Device) (frontend.Attachment, error) {
	a, err := Listen(o, dev)
	if err != nil {
		return nil, err
	}
	return a, nil
}

func TestSuiteOverSocket(t *testing.T) {
	frontendtest.RunWithout(t, listen, func(path string) (frontendtest.User, error) { return dial(path, "suite") })
}

// thin is a device that can discard and write zeroes, and remembers what it was asked.
type thin struct {
	*frontendtest.Memory
	mu  sync.Mutex
	did []string
}

func (d *thin) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.did = append(d.did, what)
}

func (d *thin) WriteAt(p []byte, off int64, fua bool) error {
	if fua {
		d.note("fua")
	}
	return d.Memory.WriteAt(p, off, fua)
}

func (d *thin) Discard(off, n int64) error {
	d.note("discard")
	return d.zero(off, n)
}

func (d *thin) WriteZeroes(off, n int64, keep bool) error {
	if keep {
		d.note("zero keep")
	} else {
		d.note("zero")
	}
	return d.zero(off, n)
}

func (d *thin) zero(off, n int64) error { return d.Memory.WriteAt(make([]byte, n), off, false) }

func serve(t *testing.T, dev block.Device) *Socket {
	t.Helper()
	a, err := Listen(frontend.Options{Name: "suite", Dir: t.TempDir()}, dev)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Detach(context.Background(), true); err != nil {
			t.Error(err)
		}
		select {
		case <-a.Done():
		case <-time.After(30 * time.Second):
			t.Error("requests are still inside the device")
		}
	})
	return a
}

func TestTrimAndZeroes(t *testing.T) {
	dev := &thin{Memory: frontendtest.NewMemory(testSize)}
	c := mustDial(t, serve(t, dev).Path())
	if c.flag != flagHas|flagFlush|flagFUA|flagTrim|flagWriteZeroes|flagMultiConn {
		t.Errorf("offered %#x", c.flag)
	}
	p := bytes.Repeat([]byte{7}, 16384)
	steps := []request{
		{kind: cmdWrite, length: 16384, flags: cmdFlagFUA},
		{kind: cmdTrim, length: 4096},
		{kind: cmdWriteZeroes, off: 4096, length: 4096, flags: cmdFlagNoHole},
		{kind: cmdWriteZeroes, off: 8192, length: 4096, flags: cmdFlagFUA},
	}
	for _, r := range steps {
		if err := c.do(r, p[:r.payload()], nil); err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
	}
	if got := strings.Join(dev.did, ", "); got != "fua, discard, zero keep, zero" {
		t.Errorf("the device was asked for: %s", got)
	}
	if n := dev.Flushes.Load(); n != 1 {
		t.Errorf("FUA behind zeroes made %d flushes, want 1", n)
	}
	got := make([]byte, 16384)
	if err := c.ReadAt(got, 0); err != nil || !bytes.Equal(got[:12288], make([]byte, 12288)) || !bytes.Equal(got[12288:], p[12288:]) {
		t.Errorf("read back something else, %v", err)
	}
}

// thick hides what a device may do beside reading and writing.
type thick struct{ block.Device }

func TestNotOffered(t *testing.T) {
	c := mustDial(t, serve(t, thick{frontendtest.NewMemory(testSize)}).Path())
	if c.flag&(flagTrim|flagWriteZeroes) != 0 {
		t.Errorf("offered %#x", c.flag)
	}
	for _, kind := range []uint16{cmdTrim, cmdWriteZeroes, 5, 7, 99} {
		if err := c.do(request{kind: kind, length: 4096}, nil, nil); !errors.Is(err, unix.EINVAL) {
			t.Errorf("command %d: %v, want EINVAL", kind, err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Errorf("the connection did not survive the refusals: %v", err)
	}
}

// TestLongRequests: the protocol allows more than the data plane takes at once.
func TestLongRequests(t *testing.T) {
	c := mustDial(t, serve(t, frontendtest.NewMemory(testSize)).Path())
	want := make([]byte, MaxPayload)
	for i := range want {
		want[i] = byte(i * i >> 8)
	}
	r := request{kind: cmdWrite, off: 4096, length: MaxPayload, flags: cmdFlagFUA}
	if err := c.do(r, want, nil); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, MaxPayload)
	if err := c.ReadAt(got, 4096); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read back something else, %v", err)
	}
}

// TestHandshake speaks every option, good and bad, on one connection.
func TestHandshake(t *testing.T) {
	a := serve(t, frontendtest.NewMemory(testSize))
	nc, err := net.Dial("unix", a.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	c := &client{nc: nc}
	c.in = bufio.NewReader(nc)
	if err := c.hello(fixedNewstyle | noZeroes); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		kind uint32
		data []byte
		want []uint32
	}{
		{optList, nil, []uint32{repServer, repAck}},
		{optList, []byte("x"), []uint32{repErrInvalid}},
		{8, nil, []uint32{repErrUnsup}},   // STRUCTURED_REPLY
		{5, nil, []uint32{repErrUnsup}},   // STARTTLS
		{100, nil, []uint32{repErrUnsup}}, // nobody's
		{optInfo, goData("suite"), []uint32{repInfo, repInfo, repInfo, repAck}},
		{optInfo, goData(""), []uint32{repInfo, repInfo, repInfo, repAck}},
		{optGo, goData("other"), []uint32{repErrUnknown}},
		{optGo, []byte{0, 0, 0, 200, 0, 0}, []uint32{repErrInvalid}},
		{optGo, []byte{255, 255, 255, 255, 0, 0}, []uint32{repErrInvalid}},
		{optGo, nil, []uint32{repErrInvalid}},
		{optInfo, make([]byte, maxOption+1), []uint32{repErrTooBig}},
		{optAbort, nil, []uint32{repAck}},
	} {
		if _, err := nc.Write(encodeOption(step.kind, step.data)); err != nil {
			t.Fatal(err)
		}
		for _, want := range step.want {
			if kind, data, err := c.answer(); err != nil || kind != want {
				t.Fatalf("option %d: reply %#x %q (%v), want %#x", step.kind, kind, data, err, want)
			}
		}
	}
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after ABORT: %v, want the end", err)
	}
}

// TestExportName is the oldest way in, with and without the padding.
func TestExportName(t *testing.T) {
	a := serve(t, frontendtest.NewMemory(testSize))
	for _, flags := range []uint32{fixedNewstyle, fixedNewstyle | noZeroes} {
		nc, err := net.Dial("unix", a.Path())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
		c := &client{nc: nc, in: bufio.NewReader(nc), pending: map[uint64]*call{}}
		if err := c.hello(flags); err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Write(encodeOption(optExportName, []byte("suite"))); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 10)
		if flags&noZeroes == 0 {
			b = make([]byte, 134)
		}
		if _, err := io.ReadFull(c.in, b); err != nil || binary.BigEndian.Uint64(b) != testSize {
			t.Fatalf("answer %x, %v", b, err)
		}
		go c.receive()
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
	}
}

// TestDisconnectWaits: what was asked before DISC is answered.
func TestDisconnectWaits(t *testing.T) {
	dev := frontendtest.NewMemory(testSize)
	c := mustDial(t, serve(t, dev).Path())
	dev.Block()
	written := make(chan error, 1)
	go func() { written <- c.WriteAt(make([]byte, 4096), 0) }()
	for end := time.Now().Add(30 * time.Second); dev.Blocked.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the write never came")
		}
	}
	if _, err := c.nc.Write(encodeRequest(request{kind: cmdDisconnect}, nil)); err != nil {
		t.Fatal(err)
	}
	dev.Unblock()
	if err := <-written; err != nil {
		t.Errorf("the write under way: %v", err)
	}
}

func TestTooManyClients(t *testing.T) {
	a := serve(t, frontendtest.NewMemory(testSize))
	for range maxConns {
		mustDial(t, a.Path())
	}
	if _, err := dial(a.Path(), "suite"); err == nil {
		t.Error("one client more was taken")
	}
}

func TestSocketPathTooLong(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if _, err := Listen(frontend.Options{Name: "v", Dir: dir}, frontendtest.NewMemory(testSize)); err == nil {
		t.Error("a path was taken that the kernel cannot take")
	}
}

// TestQemu lets a client that is not ours look, write and compare.
func TestQemu(t *testing.T) {
	for _, tool := range []string{"qemu-img", "qemu-io"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s (package qemu-utils)", tool)
		}
	}
	dev := frontendtest.NewMemory(testSize)
	uri := "nbd+unix:///suite?socket=" + serve(t, dev).Path()
	for _, argv := range [][]string{
		{"qemu-io", "-f", "raw", "-t", "none", "-c", "write -P 0x5a 0 3M", "-c", "write -f -P 0x33 4k 4k", "-c", "flush",
			"-c", "read -P 0x5a 8k 2M", "-c", "read -P 0x33 4k 4k", "-c", "discard 1M 1M", uri},
		{"qemu-img", "info", "-f", "raw", uri},
		{"qemu-img", "bench", "-f", "raw", "-w", "-c", "500", "-d", "32", "-s", "4096", "-t", "none", uri},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	if dev.Misaligned.Load() != 0 {
		t.Error("the device was given requests that are not aligned")
	}
}
