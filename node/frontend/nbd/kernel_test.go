package nbd

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/vishvananda/netlink/nl"

	"gemel/node/block"
	"gemel/node/frontend"
	"gemel/node/frontend/frontendtest"
)

// needKernel skips where the kernel shows no nbd devices.
func needKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to connect nbd devices")
	}
	if err := Usable(); err != nil {
		t.Skipf("needs the kernel's nbd driver: %v", err)
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("needs mkfs.ext4 (package e2fsprogs)")
	}
}

func TestSuiteOnKernel(t *testing.T) {
	needKernel(t)
	frontendtest.Run(t, func(ctx context.Context, o frontend.Options, dev block.Device) (frontend.Attachment, error) {
		a, err := Attach(ctx, o, dev)
		if err != nil {
			return nil, err
		}
		return a, nil
	})
}

// TestSweep: the device of a life that ended without Detach is taken away.
func TestSweep(t *testing.T) {
	needKernel(t)
	o := frontend.Options{Name: "swept", Dir: t.TempDir()}
	first, err := Attach(t.Context(), o, frontendtest.NewMemory(testSize))
	if err != nil {
		t.Fatal(err)
	}
	first.server.cut() // as the end of the process would
	second, err := Attach(t.Context(), o, frontendtest.NewMemory(testSize))
	if err != nil {
		t.Fatal(err)
	}
	if !waitFree(t.Context(), first.number) && first.number != second.number {
		t.Errorf("%s is still connected", first.Device())
	}
	if err := second.Detach(t.Context(), false); err != nil {
		t.Error(err)
	}
}

func TestUsableSaysWhy(t *testing.T) {
	if err := Usable(); err != nil && !errors.Is(err, ErrNoKernel) {
		t.Errorf("%v", err)
	}
}

func TestParseIndex(t *testing.T) {
	reply := append([]byte{nlConnect, familyVersion, 0, 0}, nl.NewRtAttr(attrIndex, nl.Uint32Attr(7)).Serialize()...)
	if n, ok := parseIndex(reply); !ok || n != 7 {
		t.Errorf("got %d, %v", n, ok)
	}
	for _, bad := range [][]byte{nil, {1, 1}, {1, 1, 0, 0}, {1, 1, 0, 0, 99}} {
		if _, ok := parseIndex(bad); ok {
			t.Errorf("%v has a number", bad)
		}
	}
}

func TestEndOfOneConnectionEndsAll(t *testing.T) {
	s := newServer("v", frontendtest.NewMemory(testSize))
	s.ofKernel = true
	var ours [2]interface{ Close() error }
	for i := range ours {
		near, far, err := socketPair()
		if err != nil {
			t.Fatal(err)
		}
		s.start(far, false)
		ours[i] = near
	}
	_ = ours[0].Close()
	s.running.Wait()
	_ = ours[1].Close()
}
