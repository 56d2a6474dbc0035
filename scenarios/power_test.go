package scenarios

import (
	"context"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/oracle"
)

var _ = Describe("Power", Label("full"), func() {
	It("press reset on the Primary while a client writes", Label("smoke"), func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		report := world.underLoad(ctx, func() { world.reset(ctx, primary) })
		Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
		world.awaitServing(ctx, secondary, failOverLimit)
	}, SpecTimeout(specLimit))

	It("press reset on the Secondary while a client writes", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		report := world.underLoad(ctx, func() { world.reset(ctx, secondary) })
		Expect(report.Errors).To(BeZero(), "the Primary needs nobody to go on")
		Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
		Expect(world.primary(ctx)).To(Equal(primary))
	}, SpecTimeout(specLimit))

	It("yank the power of both at once while a client writes, then switch both on again", func(ctx SpecContext) {
		world.underLoad(ctx, func() {
			world.atOnce(func(name string) { world.yank(ctx, name) })
			time.Sleep(2 * time.Second)
			world.atOnce(func(name string) { world.powerOn(ctx, name) })
		})
	}, SpecTimeout(specLimit))

	It("start both from cold", func(ctx SpecContext) {
		world.writeSome(ctx)
		world.atOnce(func(name string) { world.yank(ctx, name) })
		world.atOnce(func(name string) { world.powerOn(ctx, name) })
		world.awaitHealthy(ctx)
	}, SpecTimeout(specLimit))

	It("start a stale node alone: it refuses, and names who holds newer data", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		world.yank(ctx, secondary)
		world.writeSome(ctx) // acknowledged by the Primary alone
		world.yank(ctx, primary)
		world.powerOn(ctx, secondary)
		world.expectRefusal(ctx, secondary, primary, "--stale")
		world.powerOn(ctx, primary)
		world.awaitServing(ctx, primary, 30*time.Second)
	}, SpecTimeout(specLimit))
})

var _ = Describe("The vote", Label("full"), func() {
	It("the witness is down, then the Primary dies: the other refuses, with the reason, until the witness is back",
		Label("smoke"), func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			world.writeSome(ctx)
			world.yank(ctx, "witness")
			world.yank(ctx, primary)
			world.expectRefusal(ctx, secondary, "witness")
			world.powerOn(ctx, "witness")
			world.awaitServing(ctx, secondary, 30*time.Second)
		}, SpecTimeout(specLimit))

	It("the witness goes and comes: nobody notices", func(ctx SpecContext) {
		primary := world.primary(ctx)
		report := world.underLoad(ctx, func() {
			world.yank(ctx, "witness")
			time.Sleep(5 * time.Second) // longer than a lease
			world.powerOn(ctx, "witness")
		})
		Expect(report.Errors).To(BeZero())
		Expect(longest(report)).To(BeNumerically("<", time.Second))
		Expect(world.primary(ctx)).To(Equal(primary))
	}, SpecTimeout(specLimit))
})

func (p *pair) reset(ctx context.Context, box string) {
	GinkgoHelper()
	_, err := p.lab.PressReset(ctx, box)
	Expect(err).NotTo(HaveOccurred())
}

func (p *pair) yank(ctx context.Context, box string) {
	GinkgoHelper()
	_, err := p.lab.YankPower(ctx, box)
	Expect(err).NotTo(HaveOccurred())
}

func (p *pair) powerOn(ctx context.Context, box string) {
	GinkgoHelper()
	Expect(p.lab.PowerOn(ctx, box)).To(Succeed())
}

// atOnce does the same to both servers at the same time.
func (p *pair) atOnce(act func(server string)) {
	var both sync.WaitGroup
	for _, name := range oracle.Servers {
		both.Go(func() {
			defer GinkgoRecover()
			act(name)
		})
	}
	both.Wait()
}

// writeSome lets a client write for a moment; the records are judged at the end.
func (p *pair) writeSome(ctx context.Context) {
	GinkgoHelper()
	l := p.startLoad(ctx, loadRate)
	l.awaitFlow(ctx, 30*time.Second)
	l.stop(ctx)
}
