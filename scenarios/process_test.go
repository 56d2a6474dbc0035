package scenarios

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("Processes", Label("full"), func() {
	DescribeTable("kill -9 while a client writes", func(ctx SpecContext, daemon string, onPrimary bool, limit time.Duration) {
		box, secondary := world.sides(ctx)
		if !onPrimary {
			box = secondary
		}
		report := world.underLoad(ctx, func() { world.kill(ctx, box, daemon) })
		Expect(longest(report)).To(BeNumerically("<=", limit))
		if daemon == "agent" || !onPrimary {
			Expect(report.Errors).To(BeZero())
		}
	},
		Entry("of the Primary's agent", "agent", true, failOverLimit, SpecTimeout(specLimit)),
		Entry("of the Secondary's agent", "agent", false, time.Second, SpecTimeout(specLimit)),
		Entry("of the Primary's replicator", "replicator", true, 2*failOverLimit, SpecTimeout(specLimit)),
		Entry("of the Secondary's replicator", "replicator", false, failOverLimit, SpecTimeout(specLimit)),
	)

	It("the Primary's replicator hangs while a client writes: the other serves, and waking it up does no harm",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			world.underLoad(ctx, func() {
				world.whileStopped(ctx, primary, "replicator", func() {
					world.awaitServing(ctx, secondary, 30*time.Second)
					time.Sleep(2 * time.Second)
				})
			})
			Expect(world.primary(ctx)).To(Equal(secondary))
		}, SpecTimeout(specLimit))

	// A hung agent drops nothing. Its replicator does, when the lease is over.
	It("the Primary's agent hangs while a client writes: its replicator drops the address, and the other serves",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			report := world.underLoad(ctx, func() {
				world.whileStopped(ctx, primary, "agent", func() {
					world.awaitServing(ctx, secondary, 30*time.Second)
					Expect(world.oracle.OneAddressHolder(ctx)).To(Succeed())
				})
			})
			Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
			Expect(world.primary(ctx)).To(Equal(secondary))
		}, SpecTimeout(specLimit))
})

// whileStopped acts while a daemon hangs, and lets it go on afterwards.
func (p *pair) whileStopped(ctx context.Context, box, daemon string, act func()) {
	GinkgoHelper()
	pid := p.pid(ctx, box, daemon)
	p.signal(ctx, box, "STOP", pid)
	defer p.wake(context.WithoutCancel(ctx), box, pid) // or nothing could heal it
	act()
}
