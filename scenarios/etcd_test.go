package scenarios

import (
	"context"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

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
)

var _ = Describe("etcd as the third voter", Label("full", etcdLabel), func() {
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
			world.awaitThird(ctx, oracle.Servers...)
		}, SpecTimeout(specLimit)),
	)
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

// awaitThird waits until servers reach the third voter.
func (p *pair) awaitThird(ctx context.Context, servers ...string) {
	GinkgoHelper()
	for _, name := range servers {
		Eventually(ctx, func(g Gomega) {
			node, err := p.oracle.Node(ctx, name)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(node.Witness.Reachable).To(BeTrue())
		}).WithTimeout(30*time.Second).WithPolling(200*time.Millisecond).
			Should(Succeed(), func() string { return name + " should reach etcd\n" + p.statuses() })
	}
}
