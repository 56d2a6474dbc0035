package scenarios

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/node/replicator/control"
)

var _ = Describe("Old data", Label("full"), func() {
	It("an image of last week is put back under the Secondary: it is refused by name, and filled anew when the operator says so",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			world.yank(ctx, secondary)
			image := filepath.Join(GinkgoT().TempDir(), "last-week.img")
			world.copyImage(ctx, world.image(secondary), image)
			world.powerOn(ctx, secondary)
			world.awaitHealthy(ctx)
			world.writeSome(ctx)
			world.yank(ctx, secondary)
			world.copyImage(ctx, image, world.image(secondary))
			world.powerOn(ctx, secondary)
			world.awaitRefused(ctx, secondary, "older-data-restored")
			world.expectEvents(ctx, secondary, "replication.older-data-restored")
			world.must(ctx, secondary, "gemel", "volume", "invalidate", volume, "--yes")
			world.must(ctx, primary, "gemel", "volume", "connect", volume)
			world.awaitHealthy(ctx)
			Expect(world.primary(ctx)).To(Equal(primary))
		}, SpecTimeout(specLimit))

	It("a copy of the Primary's disk is put under the Secondary: it is refused by name, and becomes a replica of its own when made anew",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			world.writeSome(ctx)
			world.atOnce(func(name string) { world.yank(ctx, name) })
			world.copyImage(ctx, world.image(primary), world.image(secondary))
			world.atOnce(func(name string) { world.powerOn(ctx, name) })
			Eventually(ctx, func() (string, error) {
				node, err := world.oracle.Node(ctx, secondary)
				return node.Vol.Problem, err
			}).WithTimeout(time.Minute).Should(ContainSubstring("the disk came from the other node"))
			world.awaitServing(ctx, primary, time.Minute) // alone, for nobody else can
			world.must(ctx, secondary, "gemel", "volume", "create", volume, "--force")
			world.awaitHealthy(ctx)
			world.expectEvents(ctx, secondary, "volume.created")
		}, SpecTimeout(specLimit))
})

// copyImage copies an image over another in place; the box whose it is has to be off.
func (p *pair) copyImage(ctx context.Context, from, to string) {
	GinkgoHelper()
	said, err := run(ctx, "dd", "if="+from, "of="+to, "bs=1M", "conv=fsync")
	Expect(err).NotTo(HaveOccurred(), said)
}

// awaitRefused waits until a server names the reason why it is no replica of the pair.
func (p *pair) awaitRefused(ctx context.Context, server, name string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		node, err := p.oracle.Node(ctx, server)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(node.Vol.Connection).To(Equal(control.StandAlone))
		g.Expect(node.Vol.Apart).NotTo(BeNil())
		g.Expect(node.Vol.Apart.Name).To(Equal(name))
	}).WithTimeout(time.Minute).WithPolling(300*time.Millisecond).
		Should(Succeed(), func() string { return server + " is not refused\n" + p.statuses() })
	fmt.Fprintf(GinkgoWriter, "%s is refused: %s\n", server, p.node(ctx, server).Vol.ConnectionReason)
}
