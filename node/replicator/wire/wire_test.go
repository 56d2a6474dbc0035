package wire

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"testing"

	"gemel/node/arbiter"
	"gemel/node/block"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew; only for a new version")

// golden compares bytes with a frozen file. If it fails, two versions of gemel
// would no longer understand each other: append a version instead.
func golden(t *testing.T, file string, b []byte) {
	t.Helper()
	got := []byte(hex.Dump(b))
	if *rewrite {
		if err := os.WriteFile("testdata/"+file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("bytes on the wire changed (%s):\n%s", file, got)
	}
}

func sampleHeader() Header {
	return Header{Type: TypeWrite, Flags: FlagFUA, Epoch: 0x1112131415161718, ID: 0x2122232425262728,
		Offset: 0x3132333435363000, Span: 4096, Seq: 0x4142434445464748, Code: 0x51525354,
		Received: 0x61626364}
}

func sampleHello() Hello {
	h := Hello{VersionMin: 1, VersionMax: 3, Features: 0x11121314, Cluster: "lab", Volume: "data", Link: "private",
		Node: 1, Disk: DiskConsistent, Flags: HelloCreated | HelloFresh, DataSize: 64 << 20, AgreedSize: 60 << 20,
		ResyncTarget: 0x21, Promised: 0x22, Accepted: arbiter.Accepted{Epoch: 0x23, Version: 0x24, Set: arbiter.Both},
		Reign: 0x25, OutOfSync: 0x26, Sequence: 0x27, PeerSequence: 0x28, ReignStart: 0x29, ReignEnd: 0x2a, Apart: 0x2b,
		AfterSplit0: 0x2c, AfterSplit1: 0x2d, Said: 0x2e}
	for i := range 16 {
		h.Nonce[i], h.Echo[i], h.Replica[i] = byte(0xa0+i), byte(0xb0+i), byte(0xc0+i)
		h.PeerReplica[i] = byte(0xd0 + i)
	}
	h.Generation.Current, h.Generation.Bitmap = 0x51, 0x52
	for i := range h.Generation.History {
		h.Generation.History[i] = block.Generation(0x60 + i)
	}
	return h
}

func TestGolden(t *testing.T) {
	payload := bytes.Repeat([]byte("gemel!!\n"), 512)
	message := AppendMessage(nil, sampleHeader(), payload)
	golden(t, "write-v1.hex", message[:HeaderSize+16])
	h, err := ParseHeader(message)
	if err != nil {
		t.Fatal(err)
	}
	want := sampleHeader()
	want.Length, want.PayloadCRC = h.Length, h.PayloadCRC
	if h != want || h.CheckPayload(message[HeaderSize:]) != nil {
		t.Errorf("read back %+v", h)
	}

	hello := sampleHello()
	b := AppendHello(nil, &hello)
	golden(t, "hello-v1.hex", b)
	if back, err := ParseHello(append(b, "of a later version"...)); err != nil || back != hello {
		t.Errorf("read back %+v, %v", back, err)
	}

	verdict := Verdict{Decision: 7, Size: 60 << 20, Reason: "the peer is behind"}
	b = AppendVerdict(nil, &verdict)
	golden(t, "verdict-v1.hex", b)
	if back, err := ParseVerdict(b); err != nil || back != verdict {
		t.Errorf("read back %+v, %v", back, err)
	}

	state := State{Disk: DiskUpToDate, Flags: HelloPrimary, Reign: 4, Generation: hello.Generation, Accepted: hello.Accepted}
	b = AppendState(nil, &state)
	golden(t, "state-v1.hex", b)
	if back, err := ParseState(b); err != nil || back != state {
		t.Errorf("read back %+v, %v", back, err)
	}
}

func TestGoldenSession(t *testing.T) {
	join := Join{Link: "private"}
	for i := range 16 {
		join.Session[i], join.Nonce[i] = byte(0xa0+i), byte(0xb0+i)
		join.Proof[i], join.Proof[16+i] = byte(0xc0+i), byte(0xd0+i)
	}
	b := AppendJoin(nil, &join)
	golden(t, "join-v1.hex", b)
	if back, err := ParseJoin(append(b, "of a later version"...)); err != nil || back != join {
		t.Errorf("read back %+v, %v", back, err)
	}
	for n := range b {
		if _, err := ParseJoin(b[:n]); ReasonOf(err) != Truncated {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}

	resume := Resume{Turn: 0x1112131415161718, Received: 0x2122232425262728, Reason: "no answer"}
	b = AppendResume(nil, &resume)
	golden(t, "resume-v1.hex", b)
	if back, err := ParseResume(b); err != nil || back != resume {
		t.Errorf("read back %+v, %v", back, err)
	}

	pulse := Pulse{Turn: 0x11, Received: 0x22, Sent: 0x33, Heard: 0x44, Waiting: true}
	b = AppendPulse(nil, &pulse)
	golden(t, "pulse-v1.hex", b)
	if back, err := ParsePulse(b); err != nil || back != pulse {
		t.Errorf("read back %+v, %v", back, err)
	}
}

func TestHeaderRefusals(t *testing.T) {
	for want, change := range map[Reason]func(h *Header){
		BadType:   func(h *Header) { h.Type = 99 },
		BadFlags:  func(h *Header) { h.Flags = 1 << 15 },
		Oversized: func(h *Header) { h.Span, h.Length = MaxPayload+4096, MaxPayload+4096 },
		BadRange:  func(h *Header) { h.Offset = -4096 },
	} {
		h := sampleHeader()
		h.Length = h.Span
		change(&h)
		if _, err := ParseHeader(AppendHeader(nil, &h)); ReasonOf(err) != want {
			t.Errorf("want %s, got %v", want, err)
		}
	}
	for name, h := range map[string]Header{
		"a write that is not aligned":     {Type: TypeWrite, Offset: 1, Span: 4096, Length: 4096},
		"a write of nothing":              {Type: TypeWrite},
		"a write of less than it says":    {Type: TypeWrite, Span: 8192, Length: 4096},
		"zeroes with payload":             {Type: TypeResyncWrite, Span: 4096, Length: 4096, Flags: FlagZero},
		"a discard of nothing":            {Type: TypeDiscard, Offset: 4096},
		"a reply of less than asked for":  {Type: TypeReadReply, Span: 8192, Length: 4096},
		"a failed reply with payload":     {Type: TypeReadReply, Span: 4096, Length: 4096, Flags: FlagFailed},
		"a question for too much":         {Type: TypeReadRequest, Span: MaxPayload + 4096},
		"zeroes for half a block":         {Type: TypeWriteZeroes, Offset: 4096, Span: 512},
		"an offset that overflows":        {Type: TypeResyncWrite, Offset: 1<<63 - 4096, Span: 4096, Length: 4096},
		"half a word of bitmap":           {Type: TypeBitmap, Length: 4},
		"a bitmap that starts in between": {Type: TypeBitmap, Offset: 4096, Length: 8},
	} {
		if _, err := ParseHeader(AppendHeader(nil, &h)); ReasonOf(err) != BadRange {
			t.Errorf("%s: %v", name, err)
		}
	}
	unknown := Header{Type: TypeProtocol, Code: 3}
	if _, err := ParseHeader(AppendHeader(nil, &unknown)); ReasonOf(err) != BadValue {
		t.Errorf("a protocol that does not exist: %v", err)
	}
	for _, h := range []Header{{Type: TypeProtocol, Code: 2, Flags: FlagReply}, {Type: TypeReceived, ID: 7},
		{Type: TypeWrite, Span: 4096, Length: 4096, Flags: FlagAfter | FlagReceipt},
		{Type: TypeDiscard, Span: 16 << 20}, {Type: TypeWriteZeroes, Span: 4096, Flags: FlagKeep},
		{Type: TypeResyncWrite, Span: 4096, Flags: FlagZero}} {
		if back, err := ParseHeader(AppendHeader(nil, &h)); err != nil || back != h {
			t.Errorf("%v: read back %+v, %v", h.Type, back, err)
		}
	}
	for name, h := range map[string]Header{
		"a discard with payload": {Type: TypeDiscard, Span: 4096, Length: 4096},
		"a ping with payload":    {Type: TypePing, Length: 1},
	} {
		if _, err := ParseHeader(AppendHeader(nil, &h)); ReasonOf(err) != Oversized {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestZeroFlagIsOfResyncsOnly(t *testing.T) {
	h := Header{Type: TypeWrite, Span: 4096, Flags: FlagZero}
	if _, err := ParseHeader(AppendHeader(nil, &h)); ReasonOf(err) != BadFlags {
		t.Errorf("a write of zeroes without payload: %v", err)
	}
}

func TestHeaderDamage(t *testing.T) {
	h := sampleHeader()
	h.Length = h.Span
	b := AppendHeader(nil, &h)
	for i := range b {
		b[i] ^= 4
		want := BadHeaderSum
		switch {
		case i < 4:
			want = NotGemel
		case i == 4:
			want = BadFraming
		}
		if _, err := ParseHeader(b); ReasonOf(err) != want {
			t.Errorf("byte %d: want %s, got %v", i, want, err)
		}
		b[i] ^= 4
	}
	if _, err := ParseHeader(b[:63]); ReasonOf(err) != Truncated {
		t.Errorf("got %v", err)
	}
	h.PayloadCRC = Checksum(make([]byte, 4096))
	if err := h.CheckPayload(bytes.Repeat([]byte{1}, 4096)); ReasonOf(err) != BadPayloadSum {
		t.Errorf("got %v", err)
	}
	if err := h.CheckPayload(nil); ReasonOf(err) != Truncated {
		t.Errorf("got %v", err)
	}
}

func TestHelloRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Hello)
		want   Reason
	}{
		"future version":   {func(h *Hello) { h.VersionMin, h.VersionMax = 2, 3 }, NoVersion},
		"upside down":      {func(h *Hello) { h.VersionMin, h.VersionMax = 1, 0 }, NoVersion},
		"no cluster":       {func(h *Hello) { h.Cluster = "" }, BadName},
		"no volume":        {func(h *Hello) { h.Volume = "" }, BadName},
		"node 2":           {func(h *Hello) { h.Node = 2 }, BadValue},
		"unknown disk":     {func(h *Hello) { h.Disk = 9 }, BadValue},
		"odd size":         {func(h *Hello) { h.DataSize = 5 }, BadValue},
		"negative size":    {func(h *Hello) { h.DataSize = -4096 }, BadValue},
		"agreed too large": {func(h *Hello) { h.AgreedSize = h.DataSize + 4096 }, BadValue},
		"unknown set":      {func(h *Hello) { h.Accepted.Set = 4 }, BadValue},
		"negative bits":    {func(h *Hello) { h.OutOfSync = -1 }, BadValue},
	} {
		h := sampleHello()
		c.change(&h)
		if _, err := ParseHello(AppendHello(nil, &h)); ReasonOf(err) != c.want {
			t.Errorf("%s: want %s, got %v", name, c.want, err)
		}
	}
	h := sampleHello()
	whole := AppendHello(nil, &h)
	for n := range whole {
		if _, err := ParseHello(whole[:n]); ReasonOf(err) != Truncated {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

func TestCommonVersion(t *testing.T) {
	for _, c := range []struct {
		min, max, want uint16
	}{{1, 1, 1}, {1, 9, 1}, {0, 1, 1}, {2, 9, 0}, {0, 0, 0}, {3, 1, 0}} {
		if got, _ := CommonVersion(c.min, c.max); got != c.want {
			t.Errorf("%d to %d: version %d, want %d", c.min, c.max, got, c.want)
		}
	}
}

func TestWords(t *testing.T) {
	words := []uint64{1, 2, 1 << 63}
	into := []uint64{4, 0, 0, 8}
	if err := OrWords(into, AppendWords(nil, words)); err != nil {
		t.Fatal(err)
	}
	if into[0] != 5 || into[1] != 2 || into[2] != 1<<63 || into[3] != 8 {
		t.Errorf("got %#x", into)
	}
	if err := OrWords(into[:2], AppendWords(nil, words)); ReasonOf(err) != BadRange {
		t.Errorf("got %v", err)
	}
	if err := OrWords(into, make([]byte, 7)); ReasonOf(err) != BadRange {
		t.Errorf("got %v", err)
	}
}

// FuzzHeader repairs the checksum of what comes: whatever is accepted must be
// within its limits and survive a round trip.
func FuzzHeader(f *testing.F) {
	h := sampleHeader()
	f.Add(AppendHeader(nil, &h))
	f.Add(make([]byte, HeaderSize))
	f.Fuzz(func(t *testing.T, in []byte) {
		b := make([]byte, HeaderSize)
		copy(b, in)
		copy(b, magic[:])
		b[4] = framing
		be.PutUint32(b[60:], Checksum(b[:60]))
		h, err := ParseHeader(b)
		if err != nil {
			if ReasonOf(err) == "" {
				t.Fatalf("no reason: %v", err)
			}
			return
		}
		if h.Length > MaxPayload || h.Offset < 0 || !bytes.Equal(AppendHeader(nil, &h), b) {
			t.Fatalf("accepted %+v", h)
		}
	})
}

func FuzzPayloads(f *testing.F) {
	hello := sampleHello()
	f.Add(AppendHello(nil, &hello))
	f.Add(AppendVerdict(nil, &Verdict{Decision: 1, Size: 4096, Reason: "why"}))
	f.Add(AppendState(nil, &State{}))
	f.Add(AppendJoin(nil, &Join{Link: "private"}))
	f.Add(AppendResume(nil, &Resume{Turn: 1}))
	f.Add(AppendPulse(nil, &Pulse{Turn: 1, Waiting: true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := ParseHello(b); err == nil {
			if back, err := ParseHello(AppendHello(nil, &h)); err != nil || back != h {
				t.Fatalf("%+v became %+v, %v", h, back, err)
			}
		} else if ReasonOf(err) == "" {
			t.Fatalf("no reason: %v", err)
		}
		if j, err := ParseJoin(b); err == nil {
			if back, err := ParseJoin(AppendJoin(nil, &j)); err != nil || back != j {
				t.Fatalf("%+v became %+v, %v", j, back, err)
			}
		}
		if r, err := ParseResume(b); err == nil && !bytes.HasPrefix(b, AppendResume(nil, &r)) {
			t.Fatalf("read %+v", r)
		}
		if p, err := ParsePulse(b); err == nil {
			if back, err := ParsePulse(AppendPulse(nil, &p)); err != nil || back != p {
				t.Fatalf("%+v became %+v, %v", p, back, err)
			}
		}
		ParseVerdict(b)
		ParseState(b)
		OrWords(make([]uint64, 4), b)
	})
}
