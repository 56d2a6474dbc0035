package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Address is a VIP and the interface it goes to.
type Address struct {
	IP        netip.Addr // no zone
	Interface string
}

func (a Address) String() string { return fmt.Sprintf("%s on %s", a.IP, a.Interface) }

// Conflict is another box claiming an address that is held here.
type Conflict struct {
	Address Address
	MAC     net.HardwareAddr // of the other box
}

// ErrFixed: the address is configured on this box with a network of its own,
// so it is no VIP. Its remedy is in the system's network configuration.
var ErrFixed = errors.New("address is a fixed address of this box")

// Taken is the refusal to claim an address that somebody else answers for.
type Taken struct {
	Address Address
	MAC     net.HardwareAddr // of the box that has it
}

func (t *Taken) Error() string {
	return fmt.Sprintf("address %s is taken: the box with MAC %s answers for it; "+
		"find that box and remove the address there", t.Address, t.MAC)
}

// Manager holds addresses. It is safe for concurrent use.
type Manager struct {
	onConflict func(Conflict)

	mu      sync.Mutex
	held    map[netip.Addr]*holder
	early   map[netip.Addr]*early
	closed  bool
	reports sync.WaitGroup // running calls of onConflict, and early questions
}

// New returns a Manager that holds nothing. onConflict is called, on a
// goroutine of its own and at most once a second for each address, when another
// box claims a held address; it may call Drop. nil: nobody is told, the address
// is still defended.
func New(onConflict func(Conflict)) *Manager {
	if onConflict == nil {
		onConflict = func(Conflict) {}
	}
	return &Manager{onConflict: onConflict, held: make(map[netip.Addr]*holder), early: make(map[netip.Addr]*early)}
}

// Claim makes this box answer for the address, and returns when the first
// announcement is out. An address that is already on the interface is adopted without
// a probe: an earlier life of this process left it there. Otherwise the network
// is probed for 250 ms first, or was by Ask; *Taken is the refusal. Without a carrier there is
// nobody to ask: the address is added, and announced when the carrier comes.
// Claiming a held address announces it again. A new address says nothing to clients
// until Open; one that is adopted was open and stays so.
func (m *Manager) Claim(ctx context.Context, a Address) error {
	return m.claim(ctx, a, m.ask)
}

// Seize is Claim without the question: it takes the address from whoever has it. Both
// boxes answer from then on, and clients end up at the one that they heard last.
func (m *Manager) Seize(ctx context.Context, a Address) error {
	return m.claim(ctx, a, func(context.Context, *wire, net.HardwareAddr, Address) error { return nil })
}

// question says why an address must not be taken.
type question func(context.Context, *wire, net.HardwareAddr, Address) error

func (m *Manager) claim(ctx context.Context, a Address, ask question) error {
	a.IP = a.IP.Unmap()
	m.mu.Lock()
	defer m.mu.Unlock()
	if h := m.held[a.IP]; h != nil {
		if h.addr.Interface != a.Interface {
			return fmt.Errorf("claim address %s: it is held on %s", a, h.addr.Interface)
		}
		h.again()
		return nil
	}
	if err := m.begin(ctx, a, ask); err != nil {
		return fmt.Errorf("claim address %s: %w", a, err)
	}
	return nil
}

func (m *Manager) begin(ctx context.Context, a Address, ask question) error {
	link, err := etherLink(a.Interface)
	if err != nil {
		return err
	}
	present, err := find(a)
	if err != nil {
		return err
	}
	w, err := openWire(link.Attrs().Index, a.IP)
	if err != nil {
		return err
	}
	var early *waiting
	if !present {
		early = keepWaiting(a.IP)
		err = take(ctx, w, link, a, ask)
	}
	if err != nil {
		early.end()
		w.close()
		return err
	}
	h := m.hold(a, w)
	h.early, m.held[a.IP] = early, h
	return nil
}

// take asks and adds.
func take(ctx context.Context, w *wire, link netlink.Link, a Address, ask question) error {
	if up(link) {
		if err := ask(ctx, w, link.Attrs().HardwareAddr, a); err != nil {
			return err
		}
	}
	_ = hush(a.IP) // a kernel that cannot refuses clients until Open, which costs them a try; see Lacks
	if err := add(link, a); err != nil {
		return errors.Join(err, unhush(a.IP))
	}
	awaitUse(ctx, a.IP)
	return nil
}

// awaitUse waits until what is sent to the address arrives here. The kernel adds an
// IPv6 address at once and its route a moment later.
func awaitUse(ctx context.Context, ip netip.Addr) {
	const step, limit = 2 * time.Millisecond, 500 * time.Millisecond
	for begin := time.Now(); ip.Is6() && time.Since(begin) < limit && ctx.Err() == nil; {
		routes, err := netlink.RouteGet(ip.AsSlice())
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return
		}
		sleep(ctx, step)
	}
}

// Open lets a claimed address answer its clients: what they reach now is ready. Those
// that asked for a connection since the claim get it at once.
// Those in list were connected to the box that had the address before; they are made
// to notice and connect anew. Entries for other addresses are passed over.
func (m *Manager) Open(a Address, list []Connection) error {
	a.IP = a.IP.Unmap()
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.held[a.IP]
	if h == nil {
		return fmt.Errorf("open address %s: it is not held", a)
	}
	if err := unhush(a.IP); err != nil {
		return fmt.Errorf("open address %s: %w", a, err)
	}
	_ = h.early.admit() // those it does not reach ask again
	h.early = nil
	var mine []Connection
	for _, c := range list {
		if c.Local.Addr() == a.IP && c.Remote.Addr().Is4() == a.IP.Is4() {
			mine = append(mine, c)
		}
	}
	if len(mine) > 0 {
		h.tickle(mine)
	}
	return nil
}

// Drop stops answering for the address, at once: nothing of it leaves the box any
// more, it is off the interface, and this box's side of its connections is reset, without a
// word to the clients: they belong to the next box. It also removes what an earlier
// life of this process left, and dropping an absent address is no error. A fixed address
// is left alone (ErrFixed).
func (m *Manager) Drop(a Address) error {
	a.IP = a.IP.Unmap()
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.held[a.IP]
	delete(m.held, a.IP)
	if h != nil {
		h.mute()
	}
	err := release(a)
	if h != nil {
		h.stop()
	}
	if err != nil {
		return fmt.Errorf("drop address %s: %w", a, err)
	}
	return nil
}

// release silences the address, deletes it and ends its connections. Deleting comes
// before resetting: the resets do not get out anyway, and the address shall be gone soon.
func release(a Address) error {
	list, err := everywhere(a.IP)
	if err != nil {
		return err
	}
	for _, found := range list {
		if err := refuseFixed(found); err != nil {
			return err // its traffic is none of ours
		}
	}
	_ = hush(a.IP)
	if err := remove(a, list); err != nil {
		return err // and it stays silent
	}
	_ = reset(a.IP) // where the kernel cannot, they end with the services; see Lacks
	return unhush(a.IP)
}

// DropAll drops every address of the list, for boot and stop; one that cannot
// be dropped does not save the others.
func (m *Manager) DropAll(list []Address) error {
	var errs []error
	for _, a := range list {
		errs = append(errs, m.Drop(a))
	}
	return errors.Join(errs...)
}

// Present returns those of the list that are on their interfaces, whoever put them there.
func Present(list []Address) (here []Address) {
	for _, a := range list {
		if present, err := find(a); err == nil && present {
			here = append(here, a)
		}
	}
	return here
}

// Holds reports whether this box answers for the address: it was claimed, and
// it is on its interface now.
func (m *Manager) Holds(ip netip.Addr) bool {
	ip = ip.Unmap()
	m.mu.Lock()
	h := m.held[ip]
	m.mu.Unlock()
	if h == nil {
		return false
	}
	present, err := find(h.addr)
	return err == nil && present
}

// Rival returns the MAC of another box that has a held address at present, as far as is
// known; empty: none.
func (m *Manager) Rival(ip netip.Addr) string {
	m.mu.Lock()
	h := m.held[ip.Unmap()]
	m.mu.Unlock()
	if h == nil {
		return ""
	}
	return h.present()
}

// Announce announces every held address again, from the start of the schedule.
func (m *Manager) Announce() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range m.held {
		h.again()
	}
}

// Close stops announcing and listening, and waits for running calls of
// onConflict and questions. Addresses that were not dropped stay on their interfaces.
func (m *Manager) Close() {
	m.mu.Lock()
	held := m.held
	m.held, m.closed = make(map[netip.Addr]*holder), true
	m.mu.Unlock()
	for _, h := range held {
		h.stop()
	}
	m.reports.Wait()
}

// etherLink refuses interfaces on which an address cannot be announced.
func etherLink(name string) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("look at interface %s: %w", name, err)
	}
	a := link.Attrs()
	if len(a.HardwareAddr) != 6 || a.RawFlags&(unix.IFF_LOOPBACK|unix.IFF_NOARP) != 0 {
		return nil, fmt.Errorf("interface %s is no Ethernet with ARP; choose one that the clients reach", name)
	}
	if a.MasterIndex == 0 {
		return link, nil
	}
	master, err := netlink.LinkByIndex(a.MasterIndex)
	if err != nil {
		return nil, fmt.Errorf("look at the master of interface %s: %w", name, err)
	}
	if master.Type() != "vrf" { // a VRF's members have addresses of their own
		return nil, fmt.Errorf("interface %s is a port of %s %s, which is where addresses answer; name that one",
			name, master.Type(), master.Attrs().Name)
	}
	return link, nil
}

// Check says why an interface could not carry an address; nil: it could.
func Check(iface string) error {
	_, err := etherLink(iface)
	return err
}

func family(ip netip.Addr) int {
	if ip.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

func host(ip netip.Addr) *net.IPNet {
	return &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}
}

// find reports whether the address is on its interface as a VIP.
func find(a Address) (bool, error) {
	list, err := everywhere(a.IP)
	if err != nil {
		return false, err
	}
	here := false
	for _, found := range list {
		if err := refuseFixed(found); err != nil {
			return false, err
		}
		link, err := netlink.LinkByIndex(found.LinkIndex)
		if err != nil {
			return false, fmt.Errorf("name the interface of %s: %w", a.IP, err)
		}
		if name := link.Attrs().Name; name != a.Interface {
			return false, fmt.Errorf("it is on %s already; drop it there first", name)
		}
		here = true
	}
	return here, nil
}

func everywhere(ip netip.Addr) ([]netlink.Addr, error) {
	list, err := netlink.AddrList(nil, family(ip))
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var found []netlink.Addr
	for _, addr := range list {
		if addr.IP.Equal(ip.AsSlice()) {
			found = append(found, addr)
		}
	}
	return found, nil
}

func refuseFixed(found netlink.Addr) error {
	if ones, bits := found.Mask.Size(); ones != bits {
		return fmt.Errorf("%s: %w; remove it from the network configuration", found.IPNet, ErrFixed)
	}
	return nil
}

func add(link netlink.Link, a Address) error {
	addr := &netlink.Addr{IPNet: host(a.IP), Flags: unix.IFA_F_NOPREFIXROUTE}
	if a.IP.Is6() {
		// We probed already; the kernel's own detection would keep the
		// address useless for a second. Deprecated: never chosen as a source.
		addr.Flags |= unix.IFA_F_NODAD
		addr.ValidLft, addr.PreferedLft = 0xffffffff, 0
	}
	if err := netlink.AddrAdd(link, addr); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add the address: %w", err)
	}
	return nil
}

// remove deletes the address from the interfaces that have it.
func remove(a Address, list []netlink.Addr) error {
	var errs []error
	for _, found := range list {
		err := netlink.AddrDel(nil, &netlink.Addr{IPNet: host(a.IP), LinkIndex: found.LinkIndex})
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("delete the address: %w", err))
		}
	}
	return errors.Join(errs...)
}
