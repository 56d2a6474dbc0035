package ublk

import (
	"context"
	"fmt"

	"gemel/node/frontend"
)

var _ frontend.Resizer = (*Attachment)(nil)

// Resize makes the device larger while it is in use, where the kernel can (6.16 or
// newer).
func (a *Attachment) Resize(ctx context.Context, size int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return fmt.Errorf("resize the device of volume %q: it is gone", a.opts.Name)
	}
	a.server.size.Store(size)
	var features uint64
	err := command(ctx, nrGetFeatures, noDevice, 0, bytesOf(&features))
	if err == nil && features&featUpdateSize == 0 {
		err = fmt.Errorf("%w; ublk can from Linux 6.16 on", frontend.ErrFixedSize)
	}
	if err == nil {
		err = command(ctx, nrUpdateSize, a.server.info.id, uint64(size)>>sectorShift, nil) //nolint:gosec // positive
	}
	if err != nil {
		return fmt.Errorf("resize the device of volume %q to %d bytes: %w", a.opts.Name, size, err)
	}
	return nil
}
