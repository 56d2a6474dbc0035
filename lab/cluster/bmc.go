package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"gemel/lab/bmc"
	"gemel/lab/chassis"
)

// attendBMC is the kind of the attendant that is a server's power control.
const attendBMC = "bmc"

// BMCUser is the user of every power control; the password is a lab's own.
const BMCUser = "admin"

// BMCAddress returns the address of a server's power control on the management network.
func BMCAddress(node string) (netip.Addr, error) {
	box, err := boxNamed(node)
	if err != nil {
		return netip.Addr{}, err
	}
	if box.Role != Server {
		return netip.Addr{}, fmt.Errorf("%s has no power control: %w; server1 and server2 have one", node, ErrNoNode)
	}
	return netip.AddrFrom4([4]byte{198, 18, number(Management), 10 + box.Number}), nil
}

// BMCPassword returns the password of the lab's power controls.
func (c *Cluster) BMCPassword() (string, error) {
	password, err := os.ReadFile(bmcFile(c.lab, "password"))
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("power controls of lab %s: %w; next: lab up --lab %s", c.lab, ErrNoLab, c.lab)
	}
	return strings.TrimSpace(string(password)), err
}

// BreakBMC makes a server's power control fail, lie or slow from now on; the zero value
// mends it.
func (c *Cluster) BreakBMC(node string, faults bmc.Faults) error {
	if _, err := BMCAddress(node); err != nil {
		return err
	}
	c.Note("bmc", "The power control of %s: %s from now on.", node, faults)
	return changeState(c.dir, func(s *State) {
		if faults == (bmc.Faults{}) {
			delete(s.BMC, node)
			return
		}
		s.BMC[node] = faults
	})
}

func bmcFile(lab, name string) string { return filepath.Join(Dir(lab), "bmc", name) }

func bmcFiles(lab, node string) bmc.Files {
	return bmc.Files{Cert: bmcFile(lab, node+".pem"), Key: bmcFile(lab, node+".key")}
}

// writeBMCs makes certificates and password of the power controls, and gives the servers
// what a fencing driver needs: /etc/gemel/bmc/<server>.pem and /etc/gemel/bmc/password.
func writeBMCs(lab string) error {
	if err := os.MkdirAll(bmcFile(lab, ""), 0o700); err != nil {
		return fmt.Errorf("power controls: %w", err)
	}
	password := bmcFile(lab, "password")
	if _, err := os.Stat(password); err != nil {
		if err := os.WriteFile(password, []byte(rand.Text()+"\n"), 0o600); err != nil {
			return fmt.Errorf("power controls: %w", err)
		}
	}
	for _, box := range Boxes()[:2] {
		address, err := BMCAddress(box.Name)
		if err != nil {
			return err
		}
		if err := bmc.MakeCert(bmcFiles(lab, box.Name), box.Name, address); err != nil {
			return err
		}
	}
	for _, box := range Boxes()[:2] {
		to := nodeDir(lab, box.Name, "etc", "bmc")
		if err := os.MkdirAll(to, 0o700); err != nil {
			return fmt.Errorf("power controls: %w", err)
		}
		for _, name := range []string{"password", "server1.pem", "server2.pem"} {
			data, err := os.ReadFile(bmcFile(lab, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(to, name), data, 0o600)
			}
			if err != nil {
				return fmt.Errorf("power controls: %w", err)
			}
		}
	}
	return nil
}

// startBMCs starts the power control of every server anew.
func (c *Cluster) startBMCs(ctx context.Context) error {
	for _, box := range Boxes()[:2] {
		if err := c.dismiss(ctx, attendBMC, box.Name); err != nil {
			return err
		}
		if err := c.engage(attendBMC, box.Name); err != nil {
			return err
		}
	}
	return nil
}

// runBMC is the process of a power control.
func runBMC(ctx context.Context, lab, node string, ready func()) error {
	address, err := BMCAddress(node)
	if err != nil {
		return err
	}
	c, err := Open(ctx, lab)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	password, err := c.BMCPassword()
	if err != nil {
		return err
	}
	listener, err := listenOnRack(lab, address)
	if err != nil {
		return err
	}
	server := bmc.New(bmc.Config{Name: node, User: BMCUser, Password: password, Boot: BootTime,
		Machine: plug{c, node}, Faults: func() bmc.Faults { return c.bmcFaults(node) }})
	ready()
	return server.Serve(ctx, listener, bmcFiles(lab, node))
}

// listenOnRack gives the management switch a power control's address and listens there.
func listenOnRack(lab string, address netip.Addr) (net.Listener, error) {
	rack, err := chassis.Open(lab)
	if err != nil {
		return nil, err
	}
	defer rack.Close()
	if err := rack.GiveAddress(Management, netip.PrefixFrom(address, 24)); err != nil {
		return nil, err
	}
	return rack.Listen(netip.AddrPortFrom(address, 443))
}

// bmcFaults are asked for at every request; a lab that is being taken down has none.
func (c *Cluster) bmcFaults(node string) bmc.Faults {
	state, err := loadState(c.dir)
	if err != nil {
		return bmc.Faults{}
	}
	return state.BMC[node]
}

// plug is a box's power as its power control has it.
type plug struct {
	cluster *Cluster
	node    string
}

func (p plug) On(ctx context.Context) (bool, error) {
	found, err := p.cluster.inspect(ctx, p.node)
	if err != nil {
		return false, err
	}
	return found.State.Running, nil
}

func (p plug) PowerOn(ctx context.Context) error { return p.cluster.PowerOn(ctx, p.node) }

func (p plug) PowerOff(ctx context.Context) error {
	_, err := p.cluster.YankPower(ctx, p.node)
	return err
}
