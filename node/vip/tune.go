package vip

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// tunings keep a box with several interfaces in one network from answering for
// the address on the wrong one, and from using it as the source of its own ARP
// questions, which would move it in other boxes' tables.
var tunings = []struct{ path, least string }{
	{"/proc/sys/net/ipv4/conf/%s/arp_ignore", "1"},
	{"/proc/sys/net/ipv4/conf/%s/arp_announce", "2"},
	{"/proc/sys/net/ipv4/conf/%s/arp_notify", "1"},
	{"/proc/sys/net/ipv6/conf/%s/ndisc_notify", "1"},
}

// Tune sets the kernel's options of an interface that will carry a VIP. It is
// best effort: everything works without on a box with one interface per
// network, so the caller tells the error and goes on. A box without IPv6 is
// no error, and a value that is already as high is left alone.
func Tune(iface string) error {
	if strings.ContainsAny(iface, "/ ") || iface == "" || iface == ".." {
		return fmt.Errorf("tune interface %q: this is no name of an interface", iface)
	}
	var errs []error
	for _, t := range tunings {
		path := fmt.Sprintf(t.path, iface)
		now, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && strings.Contains(path, "/ipv6/") {
			continue
		}
		if err == nil && strings.TrimSpace(string(now)) >= t.least {
			continue
		}
		if err == nil {
			err = os.WriteFile(path, []byte(t.least), 0)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("set %s to %s: %w", path, t.least, err))
		}
	}
	return errors.Join(errs...)
}
