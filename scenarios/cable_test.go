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
	It("pull every cable of the Secondary while a client writes, and plug them: the Primary goes on alone, then both hold every write",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			report := world.underLoad(ctx, func() {
				world.isolate(ctx, secondary)
				world.awaitAlone(ctx, primary)
				world.rejoin(secondary)
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

	It("pull every cable of the Primary while a client writes: it lets go, the other serves, plugging heals",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			world.underLoad(ctx, func() {
				world.isolate(ctx, primary)
				world.awaitServing(ctx, secondary, 30*time.Second)
				world.expectLetGo(ctx, primary)
			})
			world.rejoin(primary)
			world.awaitHealthy(ctx)
			Expect(world.primary(ctx)).To(Equal(secondary))
		}, SpecTimeout(specLimit))
})

func (p *pair) pull(_ context.Context, box, cable string) {
	GinkgoHelper()
	Expect(p.lab.PullCable(box, cable)).To(Succeed())
}

// betweenServers are the cables over which the servers hear each other.
var betweenServers = []string{cluster.LAN, cluster.Private, cluster.Private2}

// isolate pulls every cable of a box that leads to the other; rejoin plugs them.
func (p *pair) isolate(ctx context.Context, box string) {
	GinkgoHelper()
	for _, cable := range betweenServers {
		p.pull(ctx, box, cable)
	}
}

func (p *pair) rejoin(box string) {
	GinkgoHelper()
	for _, cable := range betweenServers {
		Expect(p.lab.PlugCable(box, cable)).To(Succeed())
	}
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
