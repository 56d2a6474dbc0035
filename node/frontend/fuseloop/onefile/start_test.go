package onefile

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"gemel/node/block"
)

// starter is a device that ends writes by itself, when it is told to.
type starter struct {
	*device
	begun chan func(error)
}

func (d starter) StartWrite(p []byte, off int64, _ bool, done block.WriteDone) bool {
	if off == 0 {
		return false // some it leaves to WriteAt
	}
	d.begun <- func(err error) {
		d.mu.Lock()
		copy(d.mem[off:], p)
		d.mu.Unlock()
		done.WriteDone(err, false)
	}
	return true
}

// TestWritesThatEndByThemselves: each is answered once, with what became of it, and the
// server outlives the last.
func TestWritesThatEndByThemselves(t *testing.T) {
	const writes = 100
	dev := starter{newDevice(), make(chan func(error), writes)}
	k, s := connect(t, dev, &Session{MaxWrite: MaxWrite})
	k.skipResend()
	for n := range uint64(writes) {
		k.ask(opWrite, n, data(int64(n)*block.Size, block.Size), bytes.Repeat([]byte{byte(n)}, block.Size))
	}
	k.want(0, 0, writeOut) // the others wait
	bad := errors.New("bad")
	for i := range writes - 1 {
		end := <-dev.begun
		if i == 0 {
			end(bad)
		} else {
			go end(nil)
		}
	}
	failed, seen := 0, map[uint64]bool{0: true}
	for range writes - 1 {
		unique, reason, body := k.hear()
		if seen[unique] || reason != 0 && reason != unix.EIO || reason == 0 && order.Uint32(body) != block.Size {
			t.Fatalf("write %d is answered by %v, before: %v", unique, reason, seen[unique])
		}
		seen[unique] = true
		if reason != 0 {
			failed++
		}
	}
	if failed != 1 || !errors.Is(s.LastError(), bad) {
		t.Errorf("%d writes failed, the last by %v", failed, s.LastError())
	}
	dev.mu.Lock()
	for n := range writes {
		if dev.mem[n*block.Size] != byte(n) {
			t.Errorf("block %d holds %d", n, dev.mem[n*block.Size])
		}
	}
	dev.mu.Unlock()
	k.ask(opWrite, writes, data(block.Size, block.Size), make([]byte, block.Size))
	end := <-dev.begun
	unix.Close(k.fd)
	k.fd = -1
	select {
	case <-k.served:
		t.Error("the server has ended before its last write")
	default:
	}
	end(nil)
	<-k.served
}
