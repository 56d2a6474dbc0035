package ublk

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"gemel/node/block"
	"gemel/node/frontend"
	"gemel/node/frontend/frontendtest"
)

// needHost skips where the host cannot show a device at all.
func needHost(t testing.TB) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make devices")
	}
	if err := Usable(t.Context()); err != nil {
		t.Skipf("needs ublk: %v", err)
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("needs mkfs.ext4 (package e2fsprogs)")
	}
}

func TestSuite(t *testing.T) {
	needHost(t)
	frontendtest.Run(t, func(ctx context.Context, o frontend.Options, dev block.Device) (frontend.Attachment, error) {
		a, err := Attach(ctx, o, dev)
		if err != nil {
			return nil, err
		}
		return a, nil
	})
	nothingLeft(t)
}

var survival = frontendtest.Survival{
	Attach: func(ctx context.Context, o frontend.Options, dev block.Device) (frontendtest.Recoverable, error) {
		return Attach(ctx, o, dev)
	},
	Left: Left, Discard: Discard, NothingLeft: nothingLeft,
}

func TestMain(m *testing.M) { survival.Main(m) }

func TestSurvival(t *testing.T) {
	needHost(t)
	frontendtest.RunSurvival(t, survival)
}

// nothingLeft looks for devices of ublk.
func nothingLeft(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(classDir)
	if err != nil || len(left) != 0 {
		t.Errorf("devices are left: %v (%v)", left, err)
	}
}
