package chassis

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"gemel/lab/ownthread"
)

// GiveAddress gives the chassis itself an address on a switch, for what sits in the rack
// without being a box. An address it has already is no error.
func (c *Chassis) GiveAddress(sw string, address netip.Prefix) error {
	link, err := c.nl.LinkByName(sw)
	if err != nil {
		return fmt.Errorf("address %s on switch %s: %w", address, sw, err)
	}
	err = c.nl.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{
		IP: address.Addr().AsSlice(), Mask: net.CIDRMask(address.Bits(), address.Addr().BitLen()),
	}})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("address %s on switch %s: %w", address, sw, err)
	}
	// Over it goes what the chassis says to itself, such as a question from the host's side.
	loopback, err := c.nl.LinkByName("lo")
	if err == nil {
		err = c.nl.LinkSetUp(loopback)
	}
	if err != nil {
		return fmt.Errorf("loopback of the chassis: %w", err)
	}
	return nil
}

// Listen opens a TCP listener in the chassis. It keeps the namespace alive until closed.
func (c *Chassis) Listen(at netip.AddrPort) (listener net.Listener, err error) {
	err = c.inside(func() (err error) {
		listener, err = net.Listen("tcp", at.String())
		return err
	})
	return listener, err
}

// inside runs do in the chassis's namespace; what it opens stays there.
func (c *Chassis) inside(do func() error) error {
	return ownthread.Do(func() error {
		if err := netns.Set(c.ns); err != nil {
			return fmt.Errorf("enter chassis of lab %s: %w", c.name, err)
		}
		return do()
	})
}
