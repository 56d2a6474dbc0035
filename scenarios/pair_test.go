package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/cluster"
	"gemel/lab/leftovers"
	"gemel/lab/oracle"
)

// pair is the lab under test with what the running scenario made in it.
type pair struct {
	lab     *cluster.Cluster
	oracle  *oracle.Oracle
	whole   leftovers.Snapshot // what the lab owns when nothing is wrong
	loads   []*load
	watched *watch    // asks who has the address; nil: nobody does
	begun   time.Time // the running scenario, on the clock that all boxes share with this host
	broken  bool      // could not be healed: the next scenario gets a new lab

	replaced  []replaced
	services  []string         // of the lab as it was built; empty: NFS only
	arbiter   string           // the same: cluster.ByEtcd, or empty for the witness
	settings  cluster.Settings // of the boxes' configuration
	collected string           // folder of the running scenario's findings; empty: none yet
	firstSync syncResult
}

// plain is how a lab is built.
var plain = cluster.Settings{Fencing: cluster.FencingOff, WitnessOn: cluster.LAN}

// syncResult is what the first sync moved, as the Primary tells.
type syncResult struct {
	size, moved int64
	took        time.Duration
}

// build makes the lab from nothing and waits for the end of the first sync.
func (p *pair) build(ctx context.Context) {
	GinkgoHelper()
	bin, err := binaries()
	Expect(err).NotTo(HaveOccurred())
	_, err = p.lab.Down(ctx)
	Expect(err).NotTo(HaveOccurred())
	p.settings = p.plainFor()
	options := cluster.Options{BinDir: bin, DiskSize: diskSize, CableRate: cluster.Gigabit, Model: "unthrottled", Services: p.services,
		Arbiter: p.arbiter, Settings: p.settings}
	if len(p.services) > 0 {
		options.DiskSize = 2 * diskSize
	}
	Expect(p.lab.Up(ctx, options)).To(Succeed())
	p.create(ctx, volume)
	if len(p.services) > 0 {
		p.create(ctx, cluster.Second)
	}
	begun := time.Now()
	p.awaitHealthy(ctx)
	primary := p.primary(ctx)
	node := p.node(ctx, primary)
	p.firstSync = syncResult{size: node.Vol.Size, moved: node.Vol.Counters.Resynced, took: time.Since(begun)}
	snapshot, err := leftovers.Take(ctx)
	Expect(err).NotTo(HaveOccurred())
	p.whole, p.broken = snapshot.Of(labName()), false
}

// plainFor are the settings of a scenario that wants none. Servers reach etcd over a network
// of its own, so that it can be cut off while everything else goes on.
func (p *pair) plainFor() cluster.Settings {
	settings := plain
	if p.arbiter == cluster.ByEtcd {
		settings.WitnessOn = cluster.Management
	}
	return settings
}

// create makes a volume on both servers of a new lab.
func (p *pair) create(ctx context.Context, volume string) {
	GinkgoHelper()
	for _, name := range oracle.Servers {
		Eventually(ctx, func(g Gomega) {
			said, err := p.lab.Exec(ctx, name, "gemel", "volume", "create", volume)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(said.Code).To(Equal(0), said.Stderr)
		}).WithTimeout(20*time.Second).Should(Succeed(), "create the volume on %s", name)
	}
}

// begin gives a scenario a healthy pair.
func (p *pair) begin(ctx context.Context) {
	GinkgoHelper()
	p.loads, p.collected = nil, ""
	var wanted []string
	if slices.Contains(CurrentSpecReport().Labels(), servicesLabel) {
		wanted = allServices
	}
	third := ""
	if slices.Contains(CurrentSpecReport().Labels(), etcdLabel) {
		third = cluster.ByEtcd
		bin, err := binaries()
		Expect(err).NotTo(HaveOccurred())
		if _, err := cluster.EtcdBinary(bin); err != nil {
			Skip(err.Error())
		}
	}
	if p.broken || !slices.Equal(p.services, wanted) || p.arbiter != third {
		p.services, p.arbiter = wanted, third
		p.build(ctx)
	}
	p.heal(ctx)
	if third == cluster.ByEtcd {
		p.awaitEtcd(ctx)
	}
	settings := p.plainFor()
	if slices.Contains(CurrentSpecReport().Labels(), fencingLabel) {
		settings.Fencing = cluster.FencingOn
	}
	if p.settings != settings {
		p.configure(ctx, settings)
	}
	p.watchAddress(ctx)
	p.begun = time.Now()
}

// heal puts the hardware right and waits until the pair is whole.
func (p *pair) heal(ctx context.Context) {
	GinkgoHelper()
	p.broken = true // until the end of this function
	did, err := p.lab.Heal(ctx)
	Expect(err).NotTo(HaveOccurred())
	for _, words := range did {
		fmt.Fprintln(GinkgoWriter, "healed:", words)
	}
	p.awaitHealthy(ctx)
	p.broken = false
}

func (p *pair) awaitHealthy(ctx context.Context) {
	GinkgoHelper()
	Eventually(ctx, func() error { return p.oracle.Healthy(ctx) }).
		WithTimeout(healLimit).WithPolling(300*time.Millisecond).
		Should(Succeed(), func() string { return "the pair does not heal\n" + p.statuses() })
}

// judge asks every oracle; the pair is whole and nothing writes.
func (p *pair) judge(ctx context.Context) {
	GinkgoHelper()
	_, err := p.oracle.Primary(ctx)
	Expect(err).NotTo(HaveOccurred())
	Expect(p.oracle.OneAddressHolder(ctx)).To(Succeed())
	Expect(p.oracle.ServicesOnce(ctx)).To(Succeed())
	p.oneReignPerEpoch()
	for _, l := range p.loads {
		report, err := p.oracle.Acknowledged(ctx, l.ackLog())
		Expect(err).NotTo(HaveOccurred())
		fmt.Fprintf(GinkgoWriter, "records of %s: %d acknowledged, %d must still be there, all found\n",
			l.name, l.report.Acked, report.Acked)
	}
	Expect(p.oracle.Identical(ctx)).To(Succeed())
	Eventually(ctx, func() error { return p.oracle.NothingLeaked(ctx, p.whole) }).
		WithTimeout(10 * time.Second).Should(Succeed())
	p.forgetRecords(ctx)
}

// forgetRecords keeps the small volume from filling up over many scenarios.
func (p *pair) forgetRecords(ctx context.Context) {
	GinkgoHelper()
	primary := p.primary(ctx)
	for _, l := range p.loads {
		_, err := p.lab.Exec(ctx, primary, "rm", "-f", "/srv/data/"+l.name+".0")
		Expect(err).NotTo(HaveOccurred())
	}
}

func (p *pair) primary(ctx context.Context) string {
	GinkgoHelper()
	name, err := p.oracle.Primary(ctx)
	Expect(err).NotTo(HaveOccurred(), p.statuses)
	return name
}

// sides returns who is Primary and who is not.
func (p *pair) sides(ctx context.Context) (primary, secondary string) {
	GinkgoHelper()
	primary = p.primary(ctx)
	return primary, other(primary)
}

func other(server string) string {
	if server == oracle.Servers[0] {
		return oracle.Servers[1]
	}
	return oracle.Servers[0]
}

func (p *pair) node(ctx context.Context, name string) oracle.Node {
	GinkgoHelper()
	node, err := p.oracle.Node(ctx, name)
	Expect(err).NotTo(HaveOccurred())
	return node
}

// awaitServing waits until one server serves with all that belongs to the volume.
func (p *pair) awaitServing(ctx context.Context, name string, limit time.Duration) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		node, err := p.oracle.Node(ctx, name)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(node.Vol.Role).To(Equal("Primary"))
		g.Expect(node.Vol.Phase).To(Equal("serving"))
	}).WithTimeout(limit).WithPolling(200*time.Millisecond).
		Should(Succeed(), func() string { return name + " does not serve\n" + p.statuses() })
}

// expectRefusal holds that a server alone does not become Primary, and says why.
func (p *pair) expectRefusal(ctx context.Context, name string, words ...string) {
	GinkgoHelper()
	said := func(g Gomega) string {
		node, err := p.oracle.Node(ctx, name)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(node.Vol.Role).NotTo(Equal("Primary"), "%s took over", name)
		return node.Vol.Refusal
	}
	Eventually(ctx, func(g Gomega) {
		refusal := said(g)
		for _, word := range words {
			g.Expect(refusal).To(ContainSubstring(word))
		}
	}).WithTimeout(30*time.Second).WithPolling(300*time.Millisecond).
		Should(Succeed(), func() string { return "no such refusal\n" + p.statuses() })
	fmt.Fprintf(GinkgoWriter, "%s refuses: %s\n", name, p.node(ctx, name).Vol.Refusal)
	Consistently(ctx, func(g Gomega) { said(g) }).WithTimeout(8*time.Second).
		WithPolling(500*time.Millisecond).Should(Succeed(), "%s does not keep to its refusal", name)
}

// kill ends one daemon of a box as if it had crashed.
func (p *pair) kill(ctx context.Context, box, daemon string) {
	GinkgoHelper()
	p.signal(ctx, box, "KILL", p.pid(ctx, box, daemon))
}

// pid finds one daemon of a box, by its number in that box.
func (p *pair) pid(ctx context.Context, box, daemon string) string {
	GinkgoHelper()
	found, err := p.lab.Exec(ctx, box, "pgrep", "-x", "-f", "gemel "+daemon+" .*")
	Expect(err).NotTo(HaveOccurred())
	pid := strings.TrimSpace(found.Stdout)
	Expect(pid).To(MatchRegexp(`^\d+$`), "one %s on %s", daemon, box)
	return pid
}

func (p *pair) signal(ctx context.Context, box, name, pid string) {
	GinkgoHelper()
	said, err := p.lab.Exec(ctx, box, "kill", "-"+name, pid)
	Expect(err).NotTo(HaveOccurred())
	Expect(said.Code).To(Equal(0), said.Stderr)
}

// wake lets a stopped process go on; one that is gone meanwhile is no failure.
func (p *pair) wake(ctx context.Context, box, pid string) {
	if _, err := p.lab.Exec(ctx, box, "kill", "-CONT", pid); err != nil {
		fmt.Fprintf(GinkgoWriter, "wake process %s of %s: %v\n", pid, box, err)
	}
}
