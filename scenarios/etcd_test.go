package scenarios

import (
	"context"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/badcable"
	"gemel/lab/cluster"
	"gemel/lab/oracle"
	"gemel/node/replicator/control"
)

// etcdLabel marks scenarios that need a lab with etcd as third voter.
const etcdLabel = "etcd"

// etcdMembers are the boxes of etcd. The servers reach them over the management network.
var etcdMembers = []string{"etcd1", "etcd2", "etcd3"}

const (
	// etcdTrouble is longer than a lease, and than etcd takes to elect another leader.
	etcdTrouble = 6 * time.Second
	// far and slow are delays of etcd's answers: a vote takes two answers and has a second.
	far, slow = 100 * time.Millisecond, 400 * time.Millisecond
)

var _ = Describe("etcd as the third voter", Label("full", etcdLabel), func() {
	It("yank the power of the Primary while a client writes: the other serves", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		report := world.underLoad(ctx, func() { world.yank(ctx, primary) })
		Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
		world.awaitServing(ctx, secondary, failOverLimit)
		world.expectEvents(ctx, secondary, "failure.major", "campaign", "elected")
	}, SpecTimeout(specLimit))

	DescribeTable("trouble in etcd while a client writes: no fail-over, no error", func(ctx SpecContext, trouble func(context.Context)) {
		primary := world.primary(ctx)
		reign := world.node(ctx, primary).Vol.Epoch
		report := world.underLoad(ctx, func() { trouble(ctx) })
		Expect(report.Errors).To(BeZero())
		Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
		now := world.node(ctx, primary).Vol
		Expect(now.Role).To(Equal(control.Primary))
		Expect(now.Epoch).To(Equal(reign))
		world.expectNothingOf(takeOver...)
	},
		Entry("its leader is killed and started again, then the power of the next one's box is yanked", func(ctx context.Context) {
			Expect(world.lab.KillProcess(ctx, world.etcdLeader(ctx), "etcd")).To(Succeed())
			world.awaitEtcd(ctx)
			world.yank(ctx, world.etcdLeader(ctx))
			time.Sleep(etcdTrouble)
			world.awaitThird(ctx, true, oracle.Servers...)
		}, SpecTimeout(specLimit)),
		Entry("its leader hangs: the other members vote", func(ctx context.Context) {
			Expect(world.lab.PauseProcess(ctx, world.etcdLeader(ctx), "etcd")).To(Succeed())
			time.Sleep(etcdTrouble)
			world.awaitThird(ctx, true, oracle.Servers...)
		}, SpecTimeout(specLimit)),
		Entry("it is so slow that it does not vote in time", func(ctx context.Context) {
			for _, member := range etcdMembers {
				world.delay(ctx, member, slow)
			}
			time.Sleep(etcdTrouble)
		}, SpecTimeout(specLimit)),
		Entry("the Primary is cut off from it, then both: they say so, and what that means", func(ctx context.Context) {
			primary, secondary := world.sides(ctx)
			world.cutFromEtcd(ctx, primary)
			world.awaitThird(ctx, true, secondary)
			world.cutFromEtcd(ctx, secondary)
			time.Sleep(etcdTrouble)
			for _, name := range oracle.Servers {
				Expect(world.lab.PlugCable(name, cluster.Management)).To(Succeed())
				world.expectEvents(ctx, name, "witness.down", "witness.up")
			}
		}, SpecTimeout(specLimit)),
		Entry("both private cables between the servers are cut: replication goes over the LAN", func(ctx context.Context) {
			primary := world.primary(ctx)
			world.pull(ctx, primary, cluster.Private)
			world.pull(ctx, primary, cluster.Private2)
			world.awaitLink(ctx, primary, "lan")
		}, SpecTimeout(specLimit)),
	)

	It("its leader hangs while a client writes, and the Primary's power is yanked: the other serves", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		report := world.underLoad(ctx, func() {
			Expect(world.lab.PauseProcess(ctx, world.etcdLeader(ctx), "etcd")).To(Succeed())
			world.yank(ctx, primary)
			world.awaitServing(ctx, secondary, 30*time.Second)
		})
		Expect(longest(report)).To(BeNumerically("<=", 2*failOverLimit))
		world.expectEvents(ctx, secondary, "failure.major", "campaign", "elected")
	}, SpecTimeout(specLimit))

	It("it is far away while a client writes: no fail-over, and when the Primary's power is yanked the other serves",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			report := world.underLoad(ctx, func() {
				for _, name := range oracle.Servers {
					world.delay(ctx, name, far)
				}
				time.Sleep(etcdTrouble)
				world.expectNothingOf(takeOver...)
				world.yank(ctx, primary)
				world.awaitServing(ctx, secondary, 30*time.Second)
			})
			Expect(longest(report)).To(BeNumerically("<=", 2*failOverLimit))
		}, SpecTimeout(specLimit))

	It("two of its three members are down, then the Primary dies: the other refuses, with the reason, until etcd has a "+
		"majority again", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		world.writeSome(ctx)
		world.yank(ctx, "etcd1")
		world.yank(ctx, "etcd2")
		world.awaitThird(ctx, false, oracle.Servers...)
		world.expectNothingOf(takeOver...)
		world.yank(ctx, primary)
		world.expectRefusal(ctx, secondary, "etcd")
		world.powerOn(ctx, "etcd1")
		world.awaitServing(ctx, secondary, 30*time.Second)
	}, SpecTimeout(specLimit))

	It("pull every cable between the servers while a client writes, with etcd in reach of both: the Primary goes on alone "+
		"with etcd's vote, and the other does not take over", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		report := world.underLoad(ctx, func() {
			world.isolate(ctx, secondary)
			world.awaitAlone(ctx, primary)
			time.Sleep(etcdTrouble)
			Expect(world.node(ctx, secondary).Vol.Role).To(Equal(control.Secondary))
			world.expectNothingOf("elected", "letting-go")
			world.rejoin(secondary)
			world.awaitHealthy(ctx)
		})
		Expect(report.Errors).To(BeZero())
		Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
		Expect(world.primary(ctx)).To(Equal(primary))
	}, SpecTimeout(specLimit))
})

// awaitEtcd waits until every member of etcd is well.
func (p *pair) awaitEtcd(ctx context.Context) {
	GinkgoHelper()
	for _, member := range etcdMembers {
		Eventually(ctx, func(g Gomega) {
			said, err := p.lab.Exec(ctx, member, "curl", "-s", "--max-time", "5", "http://127.0.0.1:2379/health")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(said.Stdout).To(ContainSubstring(`"health":"true"`))
		}).WithTimeout(healLimit).WithPolling(200*time.Millisecond).Should(Succeed(), "%s is not well", member)
	}
}

// etcdLeader returns the box whose member leads, by the members' own words.
func (p *pair) etcdLeader(ctx context.Context) (leader string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		for _, member := range etcdMembers {
			said, err := p.lab.Exec(ctx, member, "curl", "-s", "--max-time", "5", "http://127.0.0.1:2379/metrics")
			g.Expect(err).NotTo(HaveOccurred())
			if strings.Contains(said.Stdout, "\netcd_server_is_leader 1\n") {
				leader = member
			}
		}
		g.Expect(leader).NotTo(BeEmpty())
	}).WithTimeout(30*time.Second).WithPolling(200*time.Millisecond).Should(Succeed(), "etcd has no leader")
	fmt.Fprintf(GinkgoWriter, "%s leads etcd\n", leader)
	return leader
}

// awaitThird waits until servers reach the third voter, or say what its absence means.
func (p *pair) awaitThird(ctx context.Context, there bool, servers ...string) {
	GinkgoHelper()
	for _, name := range servers {
		Eventually(ctx, func(g Gomega) {
			node, err := p.oracle.Node(ctx, name)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(node.Witness.Reachable).To(Equal(there))
			if !there {
				g.Expect(node.Witness.Means).To(ContainSubstring("until etcd is back"))
			}
		}).WithTimeout(30*time.Second).WithPolling(200*time.Millisecond).
			Should(Succeed(), func() string { return name + " should reach etcd: " + fmt.Sprint(there) + "\n" + p.statuses() })
	}
}

// cutFromEtcd pulls the cable over which a server reaches etcd, and waits until it says what
// that means.
func (p *pair) cutFromEtcd(ctx context.Context, server string) {
	GinkgoHelper()
	p.pull(ctx, server, cluster.Management)
	p.awaitThird(ctx, false, server)
	said, err := p.lab.Exec(ctx, server, "gemel", "status")
	Expect(err).NotTo(HaveOccurred())
	Expect(strings.Join(strings.Fields(said.Stdout), " ")).To(ContainSubstring("etcd does not answer"))
}

// delay makes a box's management cable longer, each way.
func (p *pair) delay(ctx context.Context, box string, by time.Duration) {
	GinkgoHelper()
	Expect(p.lab.DegradeCable(ctx, box, cluster.Management, cluster.BothWays, badcable.Quality{Delay: by})).To(Succeed())
}
