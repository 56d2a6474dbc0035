package nbd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"

	"gemel/node/block"
	"gemel/node/frontend/frontendtest"
)

// FuzzRequest: whatever the header says, a request that passes check is one that
// block.Device promised to get.
func FuzzRequest(f *testing.F) {
	for _, r := range []request{
		{kind: cmdRead, length: 4096},
		{kind: cmdWrite, length: 4096, off: 4096, flags: cmdFlagFUA},
		{kind: cmdFlush},
		{kind: cmdTrim, off: 1 << 62, length: 1<<32 - 4096},
		{kind: cmdWriteZeroes, off: -4096, length: 8192, flags: cmdFlagNoHole},
		{kind: cmdDisconnect},
	} {
		f.Add(encodeRequest(r, nil), uint16(flagTrim|flagWriteZeroes))
	}
	f.Add(bytes.Repeat([]byte{0xff}, requestSize), uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, offer uint16) {
		if len(b) < requestSize {
			return
		}
		const size = 1 << 30
		r, err := parseRequest(b)
		if err != nil {
			if !errors.Is(err, errMalformed) {
				t.Errorf("error %v has no name", err)
			}
			return
		}
		if !bytes.Equal(encodeRequest(r, nil), b[:requestSize]) {
			t.Errorf("%+v does not encode to what it was decoded from", r)
		}
		if n := r.payload(); n < 0 || n > MaxPayload {
			t.Errorf("payload of %d bytes", n)
		}
		if r.check(size, offer) != eOK || r.kind == cmdFlush {
			return
		}
		where := block.Range{Off: r.off, Len: int64(r.length)}
		if where.Empty() || !where.Aligned() || where.Off < 0 || where.End() > size || where.End() < where.Off {
			t.Errorf("%+v was let through", r)
		}
	})
}

// FuzzStream plays a client that sends whatever it likes, from the first byte.
func FuzzStream(f *testing.F) {
	flags := binary.BigEndian.AppendUint32(nil, fixedNewstyle|noZeroes)
	hello := append(flags, encodeOption(optGo, goData("v"))...)
	with := func(more ...[]byte) []byte { return append(append([]byte{}, hello...), bytes.Join(more, nil)...) }
	data := make([]byte, 8192)
	f.Add(hello)
	f.Add(append(flags[:4:4], encodeOption(optExportName, []byte("v"))...))
	f.Add(append(flags[:4:4], encodeOption(optList, nil)...))
	f.Add(append(flags[:4:4], encodeOption(optAbort, nil)...))
	f.Add(with(encodeRequest(request{kind: cmdWrite, length: 8192}, data), encodeRequest(request{kind: cmdFlush}, nil)))
	f.Add(with(encodeRequest(request{kind: cmdRead, length: 8192, cookie: 9}, nil), encodeRequest(request{kind: cmdDisconnect}, nil)))
	f.Add(with(encodeRequest(request{kind: cmdTrim, length: 8192}, nil), encodeRequest(request{kind: cmdWriteZeroes, length: 4096}, nil)))
	f.Add(with(encodeRequest(request{kind: cmdWrite, length: MaxPayload}, data)))
	f.Add(with(encodeRequest(request{kind: cmdWrite, length: 4096}, data)))
	f.Fuzz(func(t *testing.T, stream []byte) {
		dev := &thin{Memory: frontendtest.NewMemory(1 << 20)}
		s := newServer("v", dev)
		ours, theirs := net.Pipe()
		if !s.start(theirs, true) {
			t.Fatal("the connection was refused")
		}
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		_, _ = ours.Write(stream)
		_ = ours.Close()
		s.running.Wait()
		if dev.Misaligned.Load() != 0 {
			t.Error("a request broke the promise of block.Device")
		}
		if s.memory.left != budget {
			t.Errorf("%d bytes of memory were not given back", budget-s.memory.left)
		}
	})
}
