package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"gemel/node/replicator/handshake"
)

var (
	boxName    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	volumeName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	nicName    = regexp.MustCompile(`^[^\s/]{1,15}$`)
)

// check adds the mistakes that need more than one look at one value.
func check(c *Config, r *reader) {
	r.name("cluster", c.Cluster)
	checkNodes(c, r)
	checkWitness(c, r)
	checkEtcd(c, r)
	checkSelf(c, r)
	r.absolute("keys", c.Keys)
	r.absolute("state-dir", c.StateDir)
	r.absolute("undo-dir", c.UndoDir)
	r.absolute("run-dir", c.RunDir)
	r.absolute("device-dir", c.DeviceDir)
	checkPorts(c.Ports, r)
	checkTiming(c.Timing, r)
	checkFencing(c, r)
	checkDrill(c, r)
	checkReplication(c, r)
	checkVolumes(c, r)
}

// name wants a name that can stand in a certificate and on a command line.
func (r *reader) name(path, name string) {
	switch {
	case name == "":
		r.mistake(path, "missing; give a name")
	case !boxName.MatchString(name):
		r.mistake(path, "%q is not a name: letters, digits and dashes, up to 63, not starting or ending with a dash", name)
	}
}

func (r *reader) address(path, text string) netip.Addr {
	if text == "" {
		r.mistake(path, "missing; give an IP address")
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		r.mistake(path, "%q is not an IP address (no prefix length, no host name)", text)
		return netip.Addr{}
	}
	if a.IsUnspecified() || a.IsMulticast() {
		r.mistake(path, "%s is not the address of one box", text)
		return netip.Addr{}
	}
	return a
}

func (r *reader) absolute(path, dir string) {
	if dir != "" && !filepath.IsAbs(dir) {
		r.mistake(path, "%q is not an absolute path; start it with /", dir)
	}
}

// once reports a value that another key has already.
func (r *reader) once(seen map[string]string, path, value string) {
	if value == "" {
		return
	}
	if first, ok := seen[value]; ok {
		r.mistake(path, "%s is already used by %s", value, first)
		return
	}
	seen[value] = path
}

func checkNodes(c *Config, r *reader) {
	if len(c.Nodes) != 2 {
		r.mistake("nodes", "there are %d nodes; a cluster has exactly two data nodes", len(c.Nodes))
	}
	names, addresses := map[string]string{}, map[string]string{}
	for i, n := range c.Nodes {
		path := fmt.Sprintf("nodes[%d]", i)
		r.name(path+".name", n.Name)
		r.once(names, path+".name", n.Name)
		if len(n.Links) == 0 {
			r.mistake(path+".links", "missing; give at least one link with name and address")
		}
		checkLinks(n.Links, path, addresses, r)
	}
	if len(c.Nodes) == 2 && len(c.Nodes[0].Links) > 0 && len(c.Nodes[1].Links) > 0 {
		compareLinks(c, r)
	}
	if c.HasWitness() {
		r.once(names, "witness.name", c.Witness.Name)
		r.once(addresses, "witness.address", c.Witness.Address)
	}
}

func checkLinks(links []Link, node string, addresses map[string]string, r *reader) {
	names := map[string]string{}
	for i, l := range links {
		path := fmt.Sprintf("%s.links[%d]", node, i)
		r.name(path+".name", l.Name)
		r.once(names, path+".name", l.Name)
		if a := r.address(path+".address", l.Address); a.IsValid() {
			r.once(addresses, path+".address", a.String())
		}
	}
}

func compareLinks(c *Config, r *reader) {
	a, b := c.LinkNames(), []string{}
	for _, l := range c.Nodes[1].Links {
		b = append(b, l.Name)
	}
	if !slices.Equal(a, b) {
		r.mistake("nodes[1].links", "links differ: %s has [%s], %s has [%s]; give both the same names in the same order",
			c.Nodes[0].Name, strings.Join(a, ", "), c.Nodes[1].Name, strings.Join(b, ", "))
	}
	for i := 0; i < min(len(a), len(b)); i++ {
		x, errX := netip.ParseAddr(c.Nodes[0].Links[i].Address)
		y, errY := netip.ParseAddr(c.Nodes[1].Links[i].Address)
		if errX == nil && errY == nil && x.Is4() != y.Is4() {
			r.mistake(fmt.Sprintf("nodes[1].links[%d].address", i), "one end of the link is IPv4 and the other IPv6")
		}
	}
}

func checkWitness(c *Config, r *reader) {
	if !c.HasWitness() {
		return
	}
	r.name("witness.name", c.Witness.Name)
	r.address("witness.address", c.Witness.Address)
}

// checkSelf refuses a node that was named but is none of the cluster. A box
// that is not named may be any box with a client's certificate.
func checkSelf(c *Config, r *reader) {
	_, inFile := r.lines["node"]
	_, inEnv := r.env["node"]
	if !inFile && !inEnv || c.Node == "" || c.SelfIndex() >= 0 || c.IsWitness() {
		return
	}
	known := c.NodeNames()
	if c.HasWitness() {
		known = append(known, c.Witness.Name)
	}
	r.mistake("node", "%q is neither a node nor the witness; the boxes are %s", c.Node, strings.Join(known, ", "))
}

func checkPorts(p Ports, r *reader) {
	r.port("ports.replication", p.Replication)
	r.port("ports.api", p.API)
	if p.Replication == p.API {
		r.mistake("ports.api", "%d is already the port of replication", p.API)
	}
}

func (r *reader) port(path string, port int) {
	if port < 1 || port > 65535 {
		r.mistake(path, "%d is not a TCP port (1 to 65535)", port)
	}
}

func checkTiming(t Timing, r *reader) {
	r.between("timing.heartbeat", t.Heartbeat, 50*time.Millisecond, 10*time.Second)
	if t.MinorBeats < 1 || t.MinorBeats > 100 {
		r.mistake("timing.minor-beats", "%d is not in 1 to 100", t.MinorBeats)
	}
	if t.Major < 3*t.Heartbeat {
		r.mistake("timing.major", "%s is less than 3 heartbeats (%s); a single late beat would be a death", t.Major, 3*t.Heartbeat)
	}
	r.between("timing.renew", t.Renew, 50*time.Millisecond, time.Minute)
	if t.Lease <= 2*t.Renew {
		r.mistake("timing.lease", "%s is not more than 2 renewals (%s); one lost renewal would end a reign", t.Lease, 2*t.Renew)
	}
	r.between("timing.lease", t.Lease, 0, 10*time.Minute)
	r.between("timing.major", t.Major, 0, 10*time.Minute)
	r.between("timing.boot-wait", t.BootWait, 0, 10*time.Minute)
	r.between("timing.step-timeout", t.StepTimeout, time.Second, time.Hour)
}

func (r *reader) between(path string, d, low, high time.Duration) {
	if d < low || d > high {
		r.mistake(path, "%s is not in %s to %s", d, low, high)
	}
}

func checkAfterSplit(c *Config, r *reader) {
	if _, err := handshake.ParseZero(c.Replication.AfterSplit0, c.NodeNames()); err != nil {
		r.mistake("replication.after-sb-0pri", "%s", err)
	}
	if _, err := handshake.ParseOne(c.Replication.AfterSplit1); err != nil {
		r.mistake("replication.after-sb-1pri", "%s", err)
	}
	if err := handshake.CheckTwo(c.Replication.AfterSplit2); err != nil {
		r.mistake("replication.after-sb-2pri", "%s", err)
	}
}

func checkReplication(c *Config, r *reader) {
	checkAfterSplit(c, r)
	known := c.LinkNames()
	seen := map[string]bool{}
	for _, name := range c.Replication.Links {
		switch {
		case !slices.Contains(known, name):
			text := fmt.Sprintf("there is no link %q", name)
			if near := nearest(name, known); near != "" {
				text += "; did you mean " + near + "?"
			}
			r.mistake("replication.links", "%s", text)
		case seen[name]:
			r.mistake("replication.links", "%s stands there twice", name)
		}
		seen[name] = true
	}
	r.between("replication.peer-timeout", c.Replication.PeerTimeout, 100*time.Millisecond, time.Minute)
	r.between("replication.path-timeout", c.Replication.PathTimeout, 20*time.Millisecond, max(c.Replication.PeerTimeout/2, 20*time.Millisecond))
	r.between("replication.return-after", c.Replication.ReturnAfter, 100*time.Millisecond, time.Hour)
	if e := c.Replication.Encryption; e != EncryptionTLS && e != EncryptionPlain {
		r.mistake("replication.encryption", "%q is unknown; write tls or plain", e)
	}
	r.between("replication.connect-interval", c.Replication.ConnectInterval, 10*time.Millisecond, time.Minute)
	checkResync(c, r)
}

func checkVolumes(c *Config, r *reader) {
	names, devices, mounts := map[string]string{}, map[string]string{}, map[string]string{}
	services, addresses := map[string]string{}, nodeAddresses(c)
	for i, v := range c.Volumes {
		path := fmt.Sprintf("volumes[%d]", i)
		switch {
		case v.Name == "":
			r.mistake(path+".name", "missing; give a name")
		case !volumeName.MatchString(v.Name):
			r.mistake(path+".name", "%q is not a volume's name: a-z, 0-9 and dashes, up to 32", v.Name)
		}
		r.once(names, path+".name", v.Name)
		if v.Device == "" {
			r.mistake(path+".device", "missing; give the backing device or file")
		} else {
			r.absolute(path+".device", v.Device)
			r.once(devices, path+".device", filepath.Clean(v.Device))
		}
		if m := v.Apart(); m != "" {
			r.absolute(path+".metadata", m)
			r.once(devices, path+".metadata", filepath.Clean(m))
		}
		if v.ALExtents < 67 || v.ALExtents > 65534 {
			r.mistake(path+".al-extents", "%d is not in 67 to 65534", v.ALExtents)
		}
		checkFrontend(&c.Volumes[i], path, r)
		checkProtocol(&c.Volumes[i], path, r)
		if !slices.Contains([]string{IOErrorMend, IOErrorDetach, IOErrorPassOn}, v.OnIOError) {
			r.mistake(path+".on-io-error", "%q is neither %s, %s nor %s", v.OnIOError, IOErrorMend, IOErrorDetach, IOErrorPassOn)
		}
		if v.OnDiskFailure != DiskFailureHandOver && v.OnDiskFailure != DiskFailureStay {
			r.mistake(path+".on-disk-failure", "%q is neither %s nor %s", v.OnDiskFailure, DiskFailureHandOver, DiskFailureStay)
		}
		if v.DiskTimeout != 0 {
			r.between(path+".disk-timeout", v.DiskTimeout, time.Second, 10*time.Minute)
		}
		checkMount(v.Mount, path+".mount", mounts, r)
		checkPrefer(c, v, path, r)
		checkAddresses(v.Addresses, path, addresses, r)
		checkServices(c, v.Services, path, services, r)
	}
}

func checkFrontend(v *Volume, path string, r *reader) {
	switch {
	case !slices.Contains(Frontends(), v.Frontend):
		r.mistake(path+".frontend", "%q is not a frontend; write one of %s", v.Frontend, strings.Join(Frontends(), ", "))
	case v.Frontend == FrontendNBDSocket && v.Mount.Path != "":
		r.mistake(path+".frontend", "a socket cannot be mounted; take mount.path away or write another frontend")
	}
}

func checkProtocol(v *Volume, path string, r *reader) {
	if !slices.Contains([]string{"A", "B", "C"}, v.Protocol) {
		r.mistake(path+".protocol", "%q is not a protocol; write A, B or C", v.Protocol)
	}
	if v.OnCongestion != CongestionBlock && v.OnCongestion != CongestionPullAhead {
		r.mistake(path+".on-congestion", "%q is neither %s nor %s", v.OnCongestion, CongestionBlock, CongestionPullAhead)
	}
	if n := v.Fill(); n < 1<<20 || n > 1<<30 {
		r.mistake(path+".congestion-fill", "%s is not from 1MiB to 1GiB", v.CongestionFill)
	}
	if v.TakeoverUnderA != TakeoverRefuse && v.TakeoverUnderA != TakeoverAllow {
		r.mistake(path+".takeover-under-a", "%q is neither %s nor %s", v.TakeoverUnderA, TakeoverRefuse, TakeoverAllow)
	}
}

func checkPrefer(c *Config, v Volume, path string, r *reader) {
	switch {
	case v.Prefer != "" && c.NodeIndex(v.Prefer) < 0:
		r.mistake(path+".prefer", "%q is no data node; write one of %s, or nothing", v.Prefer, strings.Join(c.NodeNames(), ", "))
	case v.FailBack != FailBackManual && v.FailBack != FailBackAuto:
		r.mistake(path+".failback", "%q is neither %s nor %s", v.FailBack, FailBackManual, FailBackAuto)
	case v.FailBack == FailBackAuto && v.Prefer == "":
		r.mistake(path+".failback", "auto needs a node to return to; write prefer as well")
	}
}

func nodeAddresses(c *Config) map[string]string {
	seen := map[string]string{}
	for i, n := range c.Nodes {
		for j, l := range n.Links {
			seen[l.Address] = fmt.Sprintf("nodes[%d].links[%d].address", i, j)
		}
	}
	if c.HasWitness() {
		seen[c.Witness.Address] = "witness.address"
	}
	return seen
}

func checkMount(m Mount, path string, seen map[string]string, r *reader) {
	if m.Fsck != "journal" && m.Fsck != "full" && m.Fsck != "never" {
		r.mistake(path+".fsck", "%q is not a policy; write journal, full or never", m.Fsck)
	}
	if m.Type != "ext4" && m.Type != "xfs" {
		r.mistake(path+".type", "%q is not supported; write ext4 or xfs", m.Type)
	}
	if m.Path == "" {
		if m.FormatIfNew {
			r.mistake(path+".format-if-new", "there is nothing to format without mount.path")
		}
		return
	}
	r.absolute(path+".path", m.Path)
	if filepath.Clean(m.Path) == "/" {
		r.mistake(path+".path", "the root directory cannot be mounted over")
	}
	r.once(seen, path+".path", filepath.Clean(m.Path))
}

func checkAddresses(list []Address, volume string, seen map[string]string, r *reader) {
	for i, a := range list {
		path := fmt.Sprintf("%s.addresses[%d]", volume, i)
		if ip := r.address(path+".address", a.Address); ip.IsValid() {
			r.once(seen, path+".address", ip.String())
		}
		switch {
		case a.Interface == "":
			r.mistake(path+".interface", "missing; name the network interface that gets the address")
		case !nicName.MatchString(a.Interface):
			r.mistake(path+".interface", "%q is not the name of a network interface", a.Interface)
		}
		if a.IfTaken != TakenRefuse && a.IfTaken != TakenClaim {
			r.mistake(path+".if-taken", "%q is neither %s nor %s", a.IfTaken, TakenRefuse, TakenClaim)
		}
	}
}
