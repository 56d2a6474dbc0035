package nbd

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"gemel/node/block"
	"gemel/node/frontend"
	"gemel/node/frontend/frontendtest"
)

// writer is a device that ends some of the writes by itself: at once or later, with
// or without time.
type writer struct {
	block.Device
	began *atomic.Int64
}

func (d writer) StartWrite(p []byte, off int64, fua bool, done block.WriteDone) bool {
	end := func() { done.WriteDone(d.WriteAt(p, off, fua), rand.IntN(2) == 0) }
	switch rand.IntN(3) {
	case 0:
		return false
	case 1:
		end()
	default:
		go end()
	}
	d.began.Add(1)
	return true
}

// ending is a writer that begins reads, discards and writes zeroes too.
type ending struct {
	writer
	starter
	block.Discarder
	block.Zeroer
}

func (d ending) SizeBytes() int64                            { return d.writer.SizeBytes() }
func (d ending) ReadAt(p []byte, off int64) error            { return d.writer.ReadAt(p, off) }
func (d ending) WriteAt(p []byte, off int64, fua bool) error { return d.writer.WriteAt(p, off, fua) }
func (d ending) Flush() error                                { return d.writer.Flush() }

// TestSuiteWithStartedWrites: nobody notices who ends the writes.
func TestSuiteWithStartedWrites(t *testing.T) {
	var began atomic.Int64
	attach := func(ctx context.Context, o frontend.Options, dev block.Device) (frontend.Attachment, error) {
		w := writer{dev, &began}
		d, discards := dev.(block.Discarder)
		z, zeroes := dev.(block.Zeroer)
		if discards && zeroes {
			return listen(ctx, o, ending{w, starter{dev, &began}, d, z})
		}
		return listen(ctx, o, w)
	}
	frontendtest.RunWithout(t, attach, func(path string) (frontendtest.User, error) { return dial(path, "suite") })
	if began.Load() == 0 {
		t.Error("no write was begun")
	}
}

// TestStartedWritesAmongOthers: on two connections, with reads of both kinds between.
func TestStartedWritesAmongOthers(t *testing.T) {
	memory, began := frontendtest.NewMemory(testSize), new(atomic.Int64)
	dev := struct {
		writer
		block.ReadStarter
	}{writer{memory, began}, starter{memory, began}}
	a, err := Listen(frontend.Options{Name: "suite", Dir: t.TempDir()}, dev)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for user := range 2 {
		c := mustDial(t, a.Path())
		for worker := range 40 {
			region := int64(user*40+worker) * (256 << 10)
			all.Go(func() { mixOnRegion(t, c, region, byte(user*40+worker+1)) })
		}
	}
	all.Wait()
	if err := a.Detach(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	<-a.Done()
}

// slow is a device that ends a write when it is told to.
type slow struct {
	idle
	begun chan block.WriteDone
}

func (d slow) StartWrite(_ []byte, _ int64, _ bool, done block.WriteDone) bool {
	d.begun <- done
	return true
}

// TestRepliesThatTheClientDoesNotRead: telling the end of a write does not wait for
// the client, and no reply is lost or torn.
func TestRepliesThatTheClientDoesNotRead(t *testing.T) {
	const reads, writes, length = 4, 100, 2 << 20 // what is read is more than the socket holds
	d := slow{begun: make(chan block.WriteDone, writes)}
	var list []request
	for i := range reads {
		list = append(list, request{kind: cmdRead, length: length, cookie: uint64(i)})
	}
	for i := range writes {
		list = append(list, request{kind: cmdWrite, length: 4096, cookie: uint64(reads + i)})
	}
	b := newBare(t, d, list)
	if _, err := b.nc.Write(b.sent); err != nil {
		t.Fatal(err)
	}
	for range writes {
		(<-d.begun).WriteDone(nil, false)
	}
	if _, err := io.ReadFull(b.nc, b.got); err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	for rest := b.got; len(rest) > 0; {
		cookie := binary.BigEndian.Uint64(rest[8:])
		if binary.BigEndian.Uint32(rest) != magicSimple || seen[cookie] || cookie >= reads+writes {
			t.Fatalf("reply %d after %d others: torn, or a second time", cookie, len(seen))
		}
		seen[cookie] = true
		if rest = rest[replySize:]; cookie < reads {
			rest = rest[length:]
		}
	}
}
