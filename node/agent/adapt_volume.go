package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"gemel/node/api"
	"gemel/node/config"
	"gemel/node/mount"
	"gemel/node/vip"
)

// vips are the addresses of one volume.
type vips struct {
	manager *vip.Manager
	list    []vip.Address
	seize   map[vip.Address]bool // to be taken from a stranger that does not give it up
}

func newVIPs(vol config.Volume, conflict func(vip.Conflict)) (*vips, error) {
	v := &vips{manager: vip.New(conflict), seize: map[vip.Address]bool{}}
	for _, a := range vol.Addresses {
		ip, err := netip.ParseAddr(a.Address)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", a.Address, err)
		}
		address := vip.Address{IP: ip, Interface: a.Interface}
		v.list = append(v.list, address)
		v.seize[address] = a.IfTaken == config.TakenClaim
	}
	return v, nil
}

// A box that lost the reign or its power may answer for the address a little
// longer than its lease; a stranger answers for good.
const (
	takenPatience = 4 * time.Second
	takenAgain    = 250 * time.Millisecond
)

// Ask asks for every address.
func (v *vips) Ask() {
	for _, a := range v.list {
		if !v.manager.Holds(a.IP) {
			v.manager.Ask(a)
		}
	}
}

// Claim claims every address, or none: half a set of addresses serves nobody.
func (v *vips) Claim(ctx context.Context) error {
	until := time.Now().Add(takenPatience)
	for _, a := range v.list {
		if err := v.claim(ctx, a, until); err != nil {
			return errors.Join(err, v.manager.DropAll(v.list))
		}
	}
	return nil
}

// claim tries again while somebody else answers for the address, until then.
func (v *vips) claim(ctx context.Context, a vip.Address, until time.Time) error {
	for {
		err := v.manager.Claim(ctx, a)
		switch taken := (*vip.Taken)(nil); {
		case !errors.As(err, &taken):
			return err
		case time.Now().After(until) && v.seize[a]:
			return v.manager.Seize(ctx, a)
		case time.Now().After(until):
			return err
		}
		select {
		case <-time.After(takenAgain):
		case <-ctx.Done():
			return err
		}
	}
}

// Open lets every address answer, also if one of them cannot.
func (v *vips) Open(_ context.Context, clients []api.Connection) error {
	list := make([]vip.Connection, len(clients))
	for i, c := range clients {
		list[i] = vip.Connection{Local: c.Address, Remote: c.Client}
	}
	var errs []error
	for _, a := range v.list {
		errs = append(errs, v.manager.Open(a, list))
	}
	return errors.Join(errs...)
}

// established lists the connections of clients to some addresses of this box.
func established(ips []netip.Addr) ([]api.Connection, error) {
	found, err := vip.Established(ips)
	list := make([]api.Connection, len(found))
	for i, c := range found {
		list[i] = api.Connection{Address: c.Local, Client: c.Remote}
	}
	return list, err
}

func (v *vips) Drop(context.Context) error { return v.manager.DropAll(v.list) }

func (v *vips) Held() []api.Held {
	held := make([]api.Held, len(v.list))
	for i, a := range v.list {
		held[i] = api.Held{Address: a.IP.String(), Held: v.manager.Holds(a.IP), Rival: v.manager.Rival(a.IP)}
	}
	return held
}

func (v *vips) Announce() { v.manager.Announce() }

// fileSystem is the file system of one volume; without a path it does nothing.
type fileSystem struct{ is config.Mount }

func (f fileSystem) Mounted() (bool, error) {
	if f.is.Path == "" {
		return false, nil
	}
	_, mounted, err := mount.At(f.is.Path)
	return mounted, err
}

func (f fileSystem) Blank(ctx context.Context, device string) (bool, error) {
	found, err := mount.Signature(ctx, device)
	return found == "", err
}

func (f fileSystem) Format(ctx context.Context, device string, again bool) error {
	return mount.Format(ctx, device, f.is.Type, again)
}

func (f fileSystem) Check(ctx context.Context, device string) (string, error) {
	policy := mount.Policy(f.is.Fsck)
	if policy == "" {
		policy = mount.Journal
	}
	return mount.Check(ctx, device, f.is.Type, policy)
}

func (f fileSystem) Mount(ctx context.Context, device string) error {
	return mount.Mount(ctx, mount.Spec{Device: device, Path: f.is.Path, Type: f.is.Type, Options: f.is.Options})
}

func (f fileSystem) Grow(ctx context.Context, device string) (before, after int64, err error) {
	return mount.Grow(ctx, mount.Spec{Device: device, Path: f.is.Path, Type: f.is.Type})
}

func (f fileSystem) Unmount(ctx context.Context) error {
	if f.is.Path == "" {
		return nil
	}
	return mount.Unmount(ctx, f.is.Path)
}

func (f fileSystem) Detach(ctx context.Context) error {
	if f.is.Path == "" {
		return nil
	}
	return mount.LazyUnmount(ctx, f.is.Path)
}
