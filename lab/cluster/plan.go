// Package cluster is a lab: two servers, a witness (or three boxes of etcd) and a client in containers,
// cabled to the chassis, with the verbs that trouble them. It drives the engine
// and the kernel; it decides nothing about the product and knows its insides only
// through its command line and its configuration file.
package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Switches of the chassis, and so the kinds of cables a box has.
const (
	LAN        = "lan"   // what clients see
	Private    = "priv"  // between the servers
	Private2   = "priv2" // between the servers, in case the first one breaks
	Management = "mgmt"  // power control and third boxes; no client and no data
)

// Switches are all switches of a chassis, in the order they are shown. The place of a
// switch is also the third byte of its addresses.
var Switches = []string{LAN, Private, Private2, Management}

// aliases are other words for cables.
var aliases = map[string]string{"private": Private, "priv1": Private, "private2": Private2, "management": Management}

// Role says what a box runs.
type Role string

// Roles of boxes, as images/node/init knows them.
const (
	Server  Role = "server"
	Witness Role = "witness"
	Client  Role = "client"
	Etcd    Role = "etcd"
)

// VIP is the address the cluster serves on; it is the same in every lab, because
// every lab has a network of its own.
var VIP = netip.MustParseAddr("198.18.0.250")

// Root holds one directory of state per lab.
const Root = "/var/lib/gemel-lab"

// Box is one planned machine of a lab.
type Box struct {
	Name   string
	Role   Role
	Number byte // last byte of its addresses
	Cables []string
}

// Boxes are all machines that a lab may have, in the order they are shown. Which of them
// one has depends on its third voter: see Cluster.Boxes.
func Boxes() []Box {
	return []Box{
		{Name: "server1", Role: Server, Number: 1, Cables: []string{LAN, Private, Private2, Management}},
		{Name: "server2", Role: Server, Number: 2, Cables: []string{LAN, Private, Private2, Management}},
		{Name: "witness", Role: Witness, Number: 3, Cables: []string{LAN, Management}},
		{Name: "client", Role: Client, Number: 4, Cables: []string{LAN}},
		{Name: "etcd1", Role: Etcd, Number: 5, Cables: []string{LAN, Management}},
		{Name: "etcd2", Role: Etcd, Number: 6, Cables: []string{LAN, Management}},
		{Name: "etcd3", Role: Etcd, Number: 7, Cables: []string{LAN, Management}},
	}
}

func boxNamed(name string) (Box, error) {
	boxes := Boxes()
	at := slices.IndexFunc(boxes, func(b Box) bool { return b.Name == name })
	if at < 0 {
		return Box{}, fmt.Errorf("%q: %w; there are %s", name, ErrNoNode, boxNames(boxes))
	}
	return boxes[at], nil
}

// boxNames lists boxes for people.
func boxNames(boxes []Box) string {
	var names []string
	for _, box := range boxes {
		names = append(names, box.Name)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// Cable returns the switch a user means by a name, for a box that has such a cable.
func (b Box) cable(name string) (string, error) {
	if plain, ok := aliases[name]; ok {
		name = plain
	}
	if !slices.Contains(b.Cables, name) {
		return "", fmt.Errorf("%s has no cable %q: %w; it has %v", b.Name, name, ErrNoCable, b.Cables)
	}
	return name, nil
}

// NIC returns the name of the box's NIC on a switch.
func NIC(sw string) string {
	if sw == Private2 {
		return Private + "1"
	}
	return sw + "0"
}

// shaped says whether a switch's cables have the speed of the lab's options.
func shaped(sw string) bool { return sw == Private || sw == Private2 }

// Address returns the box's address on a switch.
func (b Box) Address(sw string) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, number(sw), b.Number}), 24)
}

// mac returns the stable, locally administered MAC of the box's NIC on a switch.
func (b Box) mac(sw string) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x67, 0x6d, 0x6c, number(sw), b.Number}
}

func number(sw string) byte { return byte(max(0, slices.Index(Switches, sw))) }

// labName keeps a lab's name short enough for everything that is named after it.
var labName = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}$`)

// CheckName says whether a lab may be called so.
func CheckName(lab string) error {
	if !labName.MatchString(lab) {
		return fmt.Errorf("lab name %q: use a small letter, then up to 15 small letters or digits", lab)
	}
	return nil
}

// ContainerName returns the name of a box's container.
func ContainerName(lab, node string) string { return "gemel-" + lab + "-" + node }

// Dir returns the directory of a lab's state.
func Dir(lab string) string { return filepath.Join(Root, lab) }

// nodeDir returns the directory of a box's state; its parts are etc, state, log.
func nodeDir(lab, node string, parts ...string) string {
	return filepath.Join(append([]string{Dir(lab), "nodes", node}, parts...)...)
}
