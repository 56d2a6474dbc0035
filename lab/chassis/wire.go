package chassis

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// A cable's shaper: burst is above the largest offloaded packet (64 KiB), or
// nothing that large would ever pass; the queue holds about 25 ms at 1 Gbit/s.
const (
	shaperBurst = 256 << 10
	shaperQueue = 3 << 20
)

// Wire makes a cable between a switch and the NIC of the box whose network
// namespace is at boxNS, such as "/proc/123/ns/net". An older cable of the same
// name is replaced. The NIC goes up last, so whoever sees it up sees it whole.
func (c *Chassis) Wire(boxNS string, cable Cable) error {
	if err := c.wire(boxNS, cable); err != nil {
		return fmt.Errorf("wire %s to %s: %w", cable.Node, cable.Switch, err)
	}
	return nil
}

func (c *Chassis) wire(boxNS string, cable Cable) error {
	ns, err := netns.GetFromPath(boxNS)
	if err != nil {
		return fmt.Errorf("namespace %s: %w", boxNS, err)
	}
	defer func() { _ = ns.Close() }()
	if err := c.Unwire(cable.Node, cable.Switch); err != nil {
		return err
	}
	end, err := c.makeCable(ns, cable)
	if err != nil {
		return err
	}
	err = c.fitEnd(end, cable)
	if err == nil {
		err = fitNIC(ns, cable)
	}
	if err != nil {
		return errors.Join(err, c.Unwire(cable.Node, cable.Switch))
	}
	return nil
}

// makeCable makes both ends in one step, each in its own namespace, so that
// nothing ever shows up in the host's.
func (c *Chassis) makeCable(box netns.NsHandle, cable Cable) (netlink.Link, error) {
	name, err := endName(cable.Node, cable.Switch)
	if err != nil {
		return nil, err
	}
	veth := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: name, TxQLen: 1000},
		PeerName:         cable.NIC,
		PeerHardwareAddr: cable.MAC,
		PeerNamespace:    netlink.NsFd(box),
		PeerTxQLen:       1000,
	}
	if err := c.nl.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("make veth %s with NIC %s: %w", name, cable.NIC, err)
	}
	return c.end(cable.Node, cable.Switch)
}

func (c *Chassis) fitEnd(end netlink.Link, cable Cable) error {
	sw, err := c.nl.LinkByName(cable.Switch)
	if err != nil {
		return fmt.Errorf("switch %s: %w", cable.Switch, err)
	}
	if err := c.nl.LinkSetMaster(end, sw); err != nil {
		return fmt.Errorf("into switch %s: %w", cable.Switch, err)
	}
	if err := shape(c.nl, end, cable.Rate); err != nil {
		return err
	}
	if cable.Pulled {
		return nil
	}
	return c.nl.LinkSetUp(end)
}

func fitNIC(box netns.NsHandle, cable Cable) error {
	nl, err := netlink.NewHandleAt(box)
	if err != nil {
		return fmt.Errorf("netlink in the box: %w", err)
	}
	defer nl.Close()
	nic, err := nl.LinkByName(cable.NIC)
	if err != nil {
		return fmt.Errorf("NIC %s: %w", cable.NIC, err)
	}
	if cable.Address.IsValid() {
		address := &netlink.Addr{IPNet: &net.IPNet{
			IP:   cable.Address.Addr().AsSlice(),
			Mask: net.CIDRMask(cable.Address.Bits(), cable.Address.Addr().BitLen()),
		}}
		if err := nl.AddrAdd(nic, address); err != nil {
			return fmt.Errorf("address %s on %s: %w", cable.Address, cable.NIC, err)
		}
	}
	if err := shape(nl, nic, cable.Rate); err != nil {
		return err
	}
	if err := nl.LinkSetUp(nic); err != nil {
		return fmt.Errorf("NIC %s up: %w", cable.NIC, err)
	}
	return nil
}

// shape limits what leaves a link to rate bits per second; 0 leaves it alone.
func shape(nl *netlink.Handle, link netlink.Link, rate uint64) error {
	if rate == 0 {
		return nil
	}
	bytesPerSecond := rate / 8
	tbf := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: link.Attrs().Index,
			Handle:    netlink.MakeHandle(1, 0),
			Parent:    netlink.HANDLE_ROOT,
		},
		Rate:   bytesPerSecond,
		Limit:  shaperQueue,
		Buffer: netlink.Xmittime(bytesPerSecond, shaperBurst),
	}
	if err := nl.QdiscReplace(tbf); err != nil {
		return fmt.Errorf("limit %s to %d bit/s (tbf): %w", link.Attrs().Name, rate, err)
	}
	return nil
}

// Unwire removes a cable with both its ends, and the place of a relay in it. No cable
// is no error.
func (c *Chassis) Unwire(node, sw string) error {
	if err := c.removePlace(node, sw); err != nil {
		return fmt.Errorf("unwire %s from %s: %w", node, sw, err)
	}
	link, err := c.end(node, sw)
	if errors.Is(err, ErrNoCable) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.nl.LinkDel(link); err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) {
		return fmt.Errorf("unwire %s from %s: %w", node, sw, err)
	}
	return nil
}

// unwireAll removes every cable: a namespace in use elsewhere would keep them alive.
func (c *Chassis) unwireAll() error {
	cables, err := c.Cables()
	if err != nil {
		return err
	}
	for _, cable := range cables {
		if err := c.Unwire(cable.Node, cable.Switch); err != nil {
			return err
		}
	}
	return nil
}
