package vip

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hushPriority places the rule below the kernel's own for local addresses, so that
// programs of this box still reach the address, and above all that leads outside.
const hushPriority = 77

// hush lets nothing out any more that has the address as its source: no answer,
// no reset, no ICMP error. Clients wait, as they do for a box that is gone, instead
// of being refused. ARP and neighbour discovery do not pass here and go on.
func hush(ip netip.Addr) error {
	err := netlink.RuleAdd(hushRule(ip))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("keep %s from answering: %w", ip, err)
	}
	return nil
}

// unhush takes back what hush did, also in an earlier life of this process.
func unhush(ip netip.Addr) error {
	err := netlink.RuleDel(hushRule(ip))
	switch {
	case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT):
		return nil // the last two: a kernel that has no such rules
	}
	return fmt.Errorf("let %s answer again: %w", ip, err)
}

// Lacks says what this box's kernel cannot do for addresses, and what that costs;
// empty: nothing. Everything else works without.
func Lacks() (words []string) {
	if _, err := netlink.RuleList(netlink.FAMILY_V4); err != nil {
		words = append(words, fmt.Sprintf("no routing rules (%v): clients that come while services start or stop are "+
			"refused instead of waiting", err))
	}
	if _, err := Established([]netip.Addr{netip.IPv4Unspecified()}); err != nil {
		words = append(words, fmt.Sprintf("no socket diagnosis (%v): connections are not reset when an address goes, "+
			"and waiting clients are not told of a take-over", err))
	}
	return words
}

func hushRule(ip netip.Addr) *netlink.Rule {
	rule := netlink.NewRule()
	rule.Family, rule.Priority, rule.Src, rule.Type = family(ip), hushPriority, host(ip), unix.RTN_BLACKHOLE
	return rule
}
