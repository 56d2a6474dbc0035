package scenarios

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/cluster"
	"gemel/node/replicator/control"
)

var _ = Describe("Cables", Label("full"), func() {
	It("pull the private cable while a client writes, and plug it: the Primary goes on alone, then both hold every write",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			report := world.underLoad(ctx, func() {
				world.pull(ctx, secondary, cluster.Private)
				world.awaitAlone(ctx, primary)
				Expect(world.lab.PlugCable(secondary, cluster.Private)).To(Succeed())
				world.awaitHealthy(ctx)
			})
			Expect(report.Errors).To(BeZero())
			Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
			Expect(world.primary(ctx)).To(Equal(primary))
		}, SpecTimeout(specLimit))

	It("pull the LAN cable of the Primary while a client writes: the volume moves to the other",
		Label("smoke"), func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			report := world.underLoad(ctx, func() {
				world.pull(ctx, primary, cluster.LAN)
				world.awaitServing(ctx, secondary, 20*time.Second)
			})
			Expect(report.Errors).To(BeZero())
			Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
			Expect(world.lab.PlugCable(primary, cluster.LAN)).To(Succeed())
			world.awaitHealthy(ctx)
			Expect(world.primary(ctx)).To(Equal(secondary), "a plugged cable moves nothing back")
		}, SpecTimeout(specLimit))

	It("pull both cables of the Primary while a client writes: it lets go, the other serves, plugging heals",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			world.underLoad(ctx, func() {
				world.pull(ctx, primary, cluster.LAN)
				world.pull(ctx, primary, cluster.Private)
				world.awaitServing(ctx, secondary, 30*time.Second)
				world.expectLetGo(ctx, primary)
			})
			Expect(world.lab.PlugCable(primary, cluster.LAN)).To(Succeed())
			Expect(world.lab.PlugCable(primary, cluster.Private)).To(Succeed())
			world.awaitHealthy(ctx)
			Expect(world.primary(ctx)).To(Equal(secondary))
		}, SpecTimeout(specLimit))
})

func (p *pair) pull(_ context.Context, box, cable string) {
	GinkgoHelper()
	Expect(p.lab.PullCable(box, cable)).To(Succeed())
}

// awaitAlone waits until the recorded in-sync set is the Primary alone.
func (p *pair) awaitAlone(ctx context.Context, primary string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		node, err := p.oracle.Node(ctx, primary)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(node.Vol.InSyncBy).To(Equal([]string{primary}))
		g.Expect(node.Vol.Connection).NotTo(Equal(control.Connected))
	}).WithTimeout(30*time.Second).WithPolling(200*time.Millisecond).
		Should(Succeed(), func() string { return "the Primary does not go on alone\n" + p.statuses() })
}

// expectLetGo waits until an isolated server has neither reign, mount nor address.
func (p *pair) expectLetGo(ctx context.Context, server string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		node, err := p.oracle.Node(ctx, server)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(node.Vol.Role).To(Equal(control.Secondary))
		g.Expect(node.Vol.Mount).To(BeEmpty())
		for _, held := range node.Vol.Addresses {
			g.Expect(held.Held).To(BeFalse())
		}
	}).WithTimeout(30*time.Second).WithPolling(300*time.Millisecond).
		Should(Succeed(), func() string { return server + " does not let go\n" + p.statuses() })
	Expect(p.oracle.OneAddressHolder(ctx)).To(Succeed())
	Expect(p.oracle.ServicesOnce(ctx)).To(Succeed())
}
