package scenarios

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/node/replicator/control"
)

var _ = Describe("Resyncs", Label("full"), func() {
	It("a resync is interrupted by a pulled cable, by the death of the target's replicator and of the source's, one after "+
		"the other: each time it goes on with what is left, and ends", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		whole := world.fallBehind(ctx, primary, secondary, 64<<20, "4MiB")
		world.isolate(ctx, secondary)
		world.awaitDisconnected(ctx, primary)
		world.rejoin(secondary)
		world.awaitOutOfSync(ctx, primary, whole*7/10)
		world.kill(ctx, secondary, "replicator")
		world.awaitDisconnected(ctx, primary)
		world.awaitOutOfSync(ctx, primary, whole*5/10)
		left := world.node(ctx, primary).Vol.OutOfSync
		world.kill(ctx, primary, "replicator")
		world.awaitHealthy(ctx)
		gone := world.node(ctx, primary).Vol.Counters // of the new replicator
		fmt.Fprintf(GinkgoWriter, "the last replicator sent %d KiB, %d KiB were the same; %d KiB were left\n",
			gone.Resynced>>10, gone.Same>>10, left>>10)
		Expect(world.primary(ctx)).To(Equal(primary), "nobody else could")
	}, SpecTimeout(specLimit))

	It("the Primary loses its power in the middle of a resync: the half-filled Secondary refuses, and the resync ends when it is back",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			world.fallBehind(ctx, primary, secondary, 32<<20, "2MiB")
			world.yank(ctx, primary)
			world.expectRefusal(ctx, secondary, primary)
			world.powerOn(ctx, primary)
			world.awaitServing(ctx, primary, 30*time.Second)
			world.awaitHealthy(ctx)
			Expect(world.primary(ctx)).To(Equal(primary))
		}, SpecTimeout(specLimit))

	It("an operator gives up the Secondary's data while a client writes: every block is gone over again", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		before := world.node(ctx, primary).Vol.Counters
		report := world.underLoad(ctx, func() {
			world.must(ctx, secondary, "gemel", "volume", "invalidate", volume, "--yes")
			world.awaitHealthy(ctx)
		})
		Expect(report.Errors).To(BeZero())
		after := world.node(ctx, primary).Vol
		Expect(after.Counters.Resynced + after.Counters.Same - before.Resynced - before.Same).To(BeNumerically(">=", after.Size))
		world.expectEvents(ctx, secondary, "data.given-up")
		world.expectNothingOf(takeOver...)
	}, SpecTimeout(specLimit))

	It("files come and go and their blocks are discarded while a client writes: both disks stay the same", func(ctx SpecContext) {
		primary, _ := world.sides(ctx)
		report := world.underLoad(ctx, func() {
			for range 3 {
				world.must(ctx, primary, "dd", "if=/dev/urandom", "of=/srv/data/much", "bs=1M", "count=24", "conv=fsync")
				world.must(ctx, primary, "rm", "/srv/data/much")
				world.must(ctx, primary, "fstrim", "/srv/data")
			}
		})
		Expect(report.Errors).To(BeZero())
		world.expectNothingOf(takeOver...)
		Expect(world.oracle.Identical(ctx)).To(Succeed())
	}, SpecTimeout(specLimit))
})

// fallBehind makes the Secondary lack some data, and lets it come back to a resync that
// is slow enough to be met in the middle. It returns how much was to be copied.
func (p *pair) fallBehind(ctx context.Context, primary, secondary string, much int64, rate string) (whole int64) {
	GinkgoHelper()
	p.yank(ctx, secondary)
	p.awaitAlone(ctx, primary)
	p.must(ctx, primary, "dd", "if=/dev/urandom", "of=/srv/data/much", "bs=1M", fmt.Sprint("count=", much>>20), "conv=fsync")
	DeferCleanup(func(ctx SpecContext) { p.must(ctx, p.primary(ctx), "rm", "-f", "/srv/data/much") })
	p.must(ctx, primary, "gemel", "volume", "resync", volume, "--max-rate", rate)
	DeferCleanup(func(ctx SpecContext) {
		p.must(ctx, p.primary(ctx), "gemel", "volume", "resync", volume, "--max-rate", "none")
	})
	whole = p.node(ctx, primary).Vol.OutOfSync
	Expect(whole).To(BeNumerically(">=", much))
	p.powerOn(ctx, secondary)
	p.awaitOutOfSync(ctx, primary, whole*9/10)
	Expect(p.node(ctx, secondary).Vol.Disk).To(Equal(control.Inconsistent))
	return whole
}

// awaitDisconnected waits until a server's replicator has lost the other.
func (p *pair) awaitDisconnected(ctx context.Context, server string) {
	GinkgoHelper()
	Eventually(ctx, func() (string, error) {
		node, err := p.oracle.Node(ctx, server)
		return node.Vol.Connection, err
	}).WithTimeout(30*time.Second).WithPolling(100*time.Millisecond).
		ShouldNot(Or(BeEmpty(), Equal(control.Connected)), func() string { return server + " loses nobody\n" + p.statuses() })
}
