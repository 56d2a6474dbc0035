package nbd

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink/nl"

	"gemel/node/frontend"
	"gemel/node/frontend/claim"
)

var (
	_ frontend.Resizer = (*Kernel)(nil)
	_ frontend.Resizer = (*Socket)(nil)
)

// Resize makes the device larger while it is in use.
func (a *Kernel) Resize(ctx context.Context, size int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return fmt.Errorf("resize the device of volume %q: it is gone", a.opts.Name)
	}
	a.server.size.Store(size)
	err := claim.Bounded(ctx, "resize the nbd device", func() error { return resize(a.number, a.opts.Name, size) })
	if err != nil {
		return fmt.Errorf("resize the device of volume %q to %d bytes: %w", a.opts.Name, size, err)
	}
	return nil
}

// Resize makes the export larger. A client that is connected sees the new size when
// it connects anew: the protocol has no word for it.
func (a *Socket) Resize(_ context.Context, size int64) error {
	a.server.size.Store(size)
	return nil
}

// resize tells the kernel the new size of a device in bytes.
func resize(number int, name string, size int64) error {
	_, err := ask(nlReconfigure, nl.NewRtAttr(attrIndex, nl.Uint32Attr(uint32(number))), //nolint:gosec // small
		number64(attrSize, size), nl.NewRtAttr(attrBackend, nl.ZeroTerminated(backendOf(name))))
	if err != nil {
		return fmt.Errorf("reconfigure /dev/nbd%d: %w", number, err)
	}
	return nil
}
