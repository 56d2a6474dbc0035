package chassis

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Place is a gap in a cable: two links of the chassis that are joined by nothing until
// a relay carries frames between them.
type Place struct {
	Near string // the cable's end, on the box's side
	Far  string // the link whose other end is in the switch
}

// noAddresses is IN6_ADDR_GEN_MODE_NONE.
const noAddresses = 1

// The place's own pair of links. Neither has a "-" in its name, as cables have.
func placeNames(node, sw string) (far, port string) { return node + "~" + sw, node + "." + sw }

// OpenPlace cuts a cable open between its end and the switch, and returns where a relay
// belongs. The box goes on seeing a carrier; without a relay nothing passes. A cable that
// is open already stays so.
func (c *Chassis) OpenPlace(node, sw string) (Place, error) {
	place, err := c.openPlace(node, sw)
	if err != nil {
		return Place{}, fmt.Errorf("open cable of %s to %s: %w", node, sw, err)
	}
	return place, nil
}

func (c *Chassis) openPlace(node, sw string) (Place, error) {
	end, err := c.end(node, sw)
	if err != nil {
		return Place{}, err
	}
	far, port := placeNames(node, sw)
	place := Place{Near: end.Attrs().Name, Far: far}
	if _, err := c.nl.LinkByName(port); err == nil {
		return place, nil
	}
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port, TxQLen: 1000}, PeerName: far, PeerTxQLen: 1000}
	if err := c.nl.LinkAdd(pair); err != nil {
		return Place{}, fmt.Errorf("make veth %s: %w", port, err)
	}
	if err := c.fitPlace(end, sw, far, port); err != nil {
		return Place{}, errors.Join(err, c.ClosePlace(node, sw))
	}
	return place, nil
}

// fitPlace moves the switch's port from the cable's end to the pair. The ends that only
// a relay uses get no address of their own, or the chassis would speak on the cable.
func (c *Chassis) fitPlace(end netlink.Link, sw, far, port string) error {
	bridge, err := c.nl.LinkByName(sw)
	if err != nil {
		return fmt.Errorf("switch %s: %w", sw, err)
	}
	farLink, err := c.nl.LinkByName(far)
	if err != nil {
		return err
	}
	portLink, err := c.nl.LinkByName(port)
	if err != nil {
		return err
	}
	// Refused by a kernel without IPv6, where it is not needed.
	_ = c.nl.LinkSetIP6AddrGenMode(farLink, noAddresses)
	_ = c.nl.LinkSetIP6AddrGenMode(end, noAddresses)
	return errors.Join(
		c.nl.LinkSetMaster(portLink, bridge),
		c.nl.LinkSetNoMaster(end),
		c.nl.LinkSetUp(farLink),
		c.nl.LinkSetUp(portLink))
}

// ClosePlace makes a cable whole again. One that is whole, or not wired, is no error.
func (c *Chassis) ClosePlace(node, sw string) error {
	if err := c.removePlace(node, sw); err != nil {
		return fmt.Errorf("close cable of %s to %s: %w", node, sw, err)
	}
	end, err := c.end(node, sw)
	if errors.Is(err, ErrNoCable) {
		return nil
	}
	if err != nil {
		return err
	}
	bridge, err := c.nl.LinkByName(sw)
	if err != nil {
		return fmt.Errorf("switch %s: %w", sw, err)
	}
	if err := c.nl.LinkSetMaster(end, bridge); err != nil {
		return fmt.Errorf("close cable of %s to %s: %w", node, sw, err)
	}
	return nil
}

func (c *Chassis) removePlace(node, sw string) error {
	_, port := placeNames(node, sw)
	link, err := c.nl.LinkByName(port)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err == nil {
		err = c.nl.LinkDel(link)
	}
	if err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) {
		return fmt.Errorf("remove %s: %w", port, err)
	}
	return nil
}

// Learned returns the MACs a switch has learned, by the box behind whose plug it saw
// each last.
func (c *Chassis) Learned(sw string) (map[string][]net.HardwareAddr, error) {
	entries, err := c.nl.NeighList(0, unix.AF_BRIDGE)
	if err != nil {
		return nil, fmt.Errorf("what switch %s learned: %w", sw, err)
	}
	links, err := c.nl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("what switch %s learned: %w", sw, err)
	}
	learned := map[string][]net.HardwareAddr{}
	for _, entry := range entries {
		at := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Index == entry.LinkIndex })
		if at < 0 || entry.State&unix.NUD_PERMANENT != 0 {
			continue
		}
		if node, ok := behind(links[at].Attrs().Name, sw); ok {
			learned[node] = append(learned[node], entry.HardwareAddr)
		}
	}
	return learned, nil
}

// behind names the box behind a switch's port, if it is a port of that switch.
func behind(port, sw string) (string, bool) {
	for _, join := range []string{"-", "."} {
		if node, ok := strings.CutSuffix(port, join+sw); ok {
			return node, true
		}
	}
	return "", false
}
