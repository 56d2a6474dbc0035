// Package chassis is the rack the lab's boxes sit in: the switches and one end
// of every cable, kept in a network namespace of their own. A box that is reset
// loses its NIC but never a neighbour's, and a cable pulled here makes the box
// see NO-CARRIER, as on real hardware.
//
// It knows nothing of containers: a box is a network namespace. It is not a
// traffic shaper beyond the speed of a cable.
package chassis

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"gemel/lab/ownthread"
)

// ErrNoChassis says that the lab's namespace does not exist.
var ErrNoChassis = errors.New("no such chassis")

// ErrNoCable says that no such cable is wired.
var ErrNoCable = errors.New("no such cable")

// Prefix and suffix mark the namespaces that belong to labs.
const (
	namePrefix = "gemel-"
	nameSuffix = "-chassis"
	namedDir   = "/run/netns"
)

// macAgeing is how long a switch remembers behind which plug a MAC is: what shops sell.
// An address that moves without telling the network stays wrong that long.
const macAgeing = 300 * time.Second

// userTicks is the kernel's unit for the times of a bridge, per second.
const userTicks = 100

// maxLinkName is the kernel's limit for a link's name, in bytes.
const maxLinkName = 15

// Cable is one cable from a box's NIC to a switch.
type Cable struct {
	Node    string           // name of the box
	Switch  string           // switch it is plugged into, such as "lan"
	NIC     string           // name of the link inside the box, such as "lan0"
	MAC     net.HardwareAddr // of the NIC
	Address netip.Prefix     // given to the NIC
	Rate    uint64           // bits per second each way; 0: unthrottled
	Pulled  bool             // wired, but with the plug out
}

// CableState is what a wired cable looks like from the chassis.
type CableState struct {
	Node    string `json:"node"`
	Switch  string `json:"switch"`
	Plugged bool   `json:"plugged"`
	Carrier bool   `json:"carrier"`
	In      uint64 `json:"in"`  // bytes to the box since it was wired
	Out     uint64 `json:"out"` // bytes from the box
}

// Chassis is an open chassis. Its methods may be used from several goroutines.
type Chassis struct {
	name string
	ns   netns.NsHandle
	nl   *netlink.Handle
}

// Name returns the name of the namespace of a lab's chassis.
func Name(lab string) string { return namePrefix + lab + nameSuffix }

// Path returns where the namespace of a lab's chassis is.
func Path(lab string) string { return filepath.Join(namedDir, Name(lab)) }

// List returns the names of the labs that have a chassis on this host.
func List() ([]string, error) {
	entries, err := os.ReadDir(namedDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list chassis: %w", err)
	}
	var labs []string
	for _, entry := range entries {
		rest, ok := strings.CutPrefix(entry.Name(), namePrefix)
		if lab, ok2 := strings.CutSuffix(rest, nameSuffix); ok && ok2 {
			labs = append(labs, lab)
		}
	}
	return labs, nil
}

// Open opens the chassis of a lab; ErrNoChassis when there is none.
func Open(lab string) (*Chassis, error) {
	ns, err := netns.GetFromName(Name(lab))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open chassis of lab %s: %w", lab, ErrNoChassis)
	}
	if err != nil {
		return nil, fmt.Errorf("open chassis of lab %s: %w", lab, err)
	}
	nl, err := netlink.NewHandleAt(ns)
	if err != nil {
		_ = ns.Close()
		return nil, fmt.Errorf("open chassis of lab %s: netlink: %w", lab, err)
	}
	return &Chassis{name: lab, ns: ns, nl: nl}, nil
}

// Create opens the chassis of a lab, making it and its switches where missing.
func Create(lab string, switches ...string) (*Chassis, error) {
	chassis, err := Open(lab)
	if errors.Is(err, ErrNoChassis) {
		if err = makeNamespace(Name(lab)); err != nil {
			return nil, fmt.Errorf("create chassis of lab %s: %w", lab, err)
		}
		chassis, err = Open(lab)
	}
	if err != nil {
		return nil, err
	}
	for _, name := range switches {
		if err := chassis.addSwitch(name); err != nil {
			chassis.Close()
			return nil, err
		}
	}
	return chassis, nil
}

// makeNamespace makes a named network namespace.
func makeNamespace(name string) error {
	if err := shareNamedDir(); err != nil {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	return ownthread.Do(func() error {
		ns, err := netns.NewNamed(name)
		if err != nil {
			return fmt.Errorf("network namespace %s: %w", name, err)
		}
		return ns.Close()
	})
}

// shareNamedDir makes the directory of names a shared mount of its own, as the first
// `ip netns add` of a host does. Were ours first and ip's later, ip's mount would cover
// our namespaces, and nobody could remove them.
func shareNamedDir() error {
	if err := os.MkdirAll(namedDir, 0o755); err != nil {
		return err
	}
	err := unix.Mount("", namedDir, "", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) { // EINVAL: not a mount point yet
		return err
	}
	if err := unix.Mount(namedDir, namedDir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.Mount("", namedDir, "", unix.MS_SHARED|unix.MS_REC, "")
}

// Remove ends the chassis of a lab with all its cables. No chassis is no error.
func Remove(lab string) error {
	chassis, err := Open(lab)
	if errors.Is(err, ErrNoChassis) {
		return nil
	}
	// A file without a namespace behind it is what a power cut between two steps leaves.
	if err != nil {
		return removeStale(lab, err)
	}
	defer chassis.Close()
	if err := chassis.unwireAll(); err != nil {
		return err
	}
	if err := netns.DeleteNamed(Name(lab)); err != nil {
		return fmt.Errorf("remove chassis of lab %s: %w", lab, err)
	}
	return nil
}

func removeStale(lab string, cause error) error {
	if err := os.Remove(Path(lab)); err != nil {
		return fmt.Errorf("remove stale chassis of lab %s: %w", lab, errors.Join(cause, err))
	}
	return nil
}

// Close closes the handles; the chassis itself stays.
func (c *Chassis) Close() {
	c.nl.Close()
	_ = c.ns.Close()
}

func (c *Chassis) addSwitch(name string) error {
	snooping, ageing := false, uint32(macAgeing/(time.Second/userTicks))
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}, MulticastSnooping: &snooping, AgeingTime: &ageing}
	if _, err := c.nl.LinkByName(name); err != nil {
		if err := c.nl.LinkAdd(bridge); err != nil {
			return fmt.Errorf("switch %s of lab %s: %w", name, c.name, err)
		}
	}
	link, err := c.nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("switch %s of lab %s: %w", name, c.name, err)
	}
	if err := c.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("switch %s of lab %s: up: %w", name, c.name, err)
	}
	return nil
}

// endName names the chassis end of a cable.
func endName(node, sw string) (string, error) {
	name := node + "-" + sw
	if len(name) > maxLinkName {
		return "", fmt.Errorf("cable %s: the name is longer than %d bytes; use shorter names", name, maxLinkName)
	}
	return name, nil
}

func (c *Chassis) end(node, sw string) (netlink.Link, error) {
	name, err := endName(node, sw)
	if err != nil {
		return nil, err
	}
	link, err := c.nl.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, fmt.Errorf("cable of %s to %s in lab %s: %w", node, sw, c.name, ErrNoCable)
	}
	if err != nil {
		return nil, fmt.Errorf("cable of %s to %s in lab %s: %w", node, sw, c.name, err)
	}
	return link, nil
}

// Pull takes the plug of a cable out at the switch: the box sees NO-CARRIER.
func (c *Chassis) Pull(node, sw string) error {
	return c.setPlug(node, sw, "pull", c.nl.LinkSetDown)
}

// Plug puts the plug of a cable back.
func (c *Chassis) Plug(node, sw string) error {
	return c.setPlug(node, sw, "plug", c.nl.LinkSetUp)
}

func (c *Chassis) setPlug(node, sw, verb string, set func(netlink.Link) error) error {
	link, err := c.end(node, sw)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	if err := set(link); err != nil {
		return fmt.Errorf("%s cable of %s to %s: %w", verb, node, sw, err)
	}
	return nil
}

// Cables returns the state of every wired cable.
func (c *Chassis) Cables() ([]CableState, error) {
	links, err := c.nl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("cables of lab %s: %w", c.name, err)
	}
	var cables []CableState
	for _, link := range links {
		node, sw, ok := splitEnd(link)
		if !ok {
			continue
		}
		attrs := link.Attrs()
		cable := CableState{
			Node: node, Switch: sw,
			Plugged: attrs.Flags&net.FlagUp != 0,
			Carrier: attrs.OperState == netlink.OperUp,
		}
		if count := attrs.Statistics; count != nil { // the chassis sends what the box receives
			cable.In, cable.Out = count.TxBytes, count.RxBytes
		}
		cables = append(cables, cable)
	}
	return cables, nil
}

func splitEnd(link netlink.Link) (node, sw string, ok bool) {
	if link.Type() != "veth" {
		return "", "", false
	}
	cut := strings.LastIndex(link.Attrs().Name, "-")
	if cut < 0 {
		return "", "", false
	}
	return link.Attrs().Name[:cut], link.Attrs().Name[cut+1:], true
}
