package scenarios

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/cluster"
	"gemel/node/replicator/control"
)

// moveLimit bounds the client's pause when replication takes another link.
const moveLimit = time.Second

var _ = Describe("Links of replication", Label("full"), func() {
	It("pull one private cable at the Primary while a client writes, then the other: replication goes on over the "+
		"second, then over the LAN, no fail-over, no resync, both stay in the set; plug them: replication comes back",
		Label("smoke"), func(ctx SpecContext) {
			primary, _ := world.sides(ctx)
			world.moveAndReturn(ctx, primary)
		}, SpecTimeout(specLimit))

	It("pull the private cables at the Secondary while a client writes: the same", func(ctx SpecContext) {
		_, secondary := world.sides(ctx)
		world.moveAndReturn(ctx, secondary)
	}, SpecTimeout(specLimit))
})

// moveAndReturn pulls the private cables of a server under load and plugs them.
func (p *pair) moveAndReturn(ctx context.Context, server string) {
	GinkgoHelper()
	primary, secondary := p.sides(ctx)
	p.awaitLink(ctx, primary, "private")
	before := p.node(ctx, primary).Vol
	report := p.underLoad(ctx, func() {
		for _, step := range []struct{ cable, next string }{{cluster.Private, "private2"}, {cluster.Private2, "lan"}} {
			p.pull(ctx, server, step.cable)
			p.awaitLink(ctx, primary, step.next)
			p.awaitLink(ctx, secondary, step.next)
		}
		p.expectUndisturbed(ctx, primary, &before.VolumeState)
		Expect(p.lab.PlugCable(server, cluster.Private)).To(Succeed())
		Expect(p.lab.PlugCable(server, cluster.Private2)).To(Succeed())
		p.awaitLink(ctx, primary, "private")
		p.awaitLink(ctx, secondary, "private")
	})
	after := p.node(ctx, primary).Vol
	for _, path := range after.Paths {
		fmt.Fprintf(GinkgoWriter, "link %s: %s, moved here %d times\n", path.Name, path.State, path.Moves)
	}
	fmt.Fprintf(GinkgoWriter, "client's longest pause %v, resynced %d bytes, last move %+v\n",
		longest(report), after.Counters.Resynced-before.Counters.Resynced, after.Move)
	Expect(report.Errors).To(BeZero())
	Expect(longest(report)).To(BeNumerically("<", moveLimit))
	p.expectUndisturbed(ctx, primary, &before.VolumeState)
	p.expectNothingOf(takeOver...)
}

// awaitLink waits until a node's replication uses the link, and if that is the
// best one, until the others stand by.
func (p *pair) awaitLink(ctx context.Context, server, name string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		node, err := p.oracle.Node(ctx, server)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(node.Vol.Connection).To(Equal(control.Connected))
		g.Expect(node.Vol.PeerPath).To(Equal(name))
		for _, path := range node.Vol.Paths {
			if path.Name != name && name == "private" {
				g.Expect(path.State).To(Equal(control.PathStandby), path.Reason)
			}
		}
	}).WithTimeout(30*time.Second).WithPolling(100*time.Millisecond).
		Should(Succeed(), func() string { return server + " does not replicate over " + name + "\n" + p.statuses() })
}

// expectUndisturbed compares the Primary with what it was: same reign, same set
// recorded by the same vote, nothing resynced.
func (p *pair) expectUndisturbed(ctx context.Context, primary string, before *control.VolumeState) {
	GinkgoHelper()
	now := p.node(ctx, primary).Vol
	Expect(now.Role).To(Equal(control.Primary))
	Expect(now.InSyncBy).To(HaveLen(2))
	Expect(now.Chosen).To(Equal(before.Chosen), "the in-sync set was recorded anew")
	Expect(now.Counters.Resynced).To(Equal(before.Counters.Resynced), "something was resynced")
}
