package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"gemel/node/frontend"
	"gemel/node/frontend/fuseloop"
	"gemel/node/replicator/disk"
)

const bareName = "bare"

// bareDisk is a block.Device with nothing between frontend and disk.
type bareDisk struct{ *disk.Disk }

func (d bareDisk) SizeBytes() int64 { return d.Size() }

func (d bareDisk) WriteAt(p []byte, off int64, fua bool) error {
	if err := d.Disk.WriteAt(p, off); err != nil || !fua {
		return err
	}
	return d.Sync()
}

func (d bareDisk) Flush() error { return d.Sync() }

// showBare shows a file through FUSE and loop below dir until ctx ends. It is run
// in a process and a mount namespace of its own, as the replicator is.
func showBare(ctx context.Context, image, dir string) (err error) {
	d, err := disk.Open(image)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	a, err := fuseloop.Attach(ctx, frontend.Options{Name: bareName, Dir: filepath.Join(dir, "bare-run"),
		DeviceDir: filepath.Join(dir, "bare-dev")}, bareDisk{d})
	if err != nil {
		return fmt.Errorf("show %s: %w", image, err)
	}
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return a.Detach(end, false)
}
