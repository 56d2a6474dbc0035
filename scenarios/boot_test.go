package scenarios

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/cluster"
	"gemel/node/replicator/control"
)

var _ = Describe("Boots", Label("full"), func() {
	It("reboot -f on the Primary while a client writes: the other serves, and the old one comes back as Secondary",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			report := world.underLoad(ctx, func() {
				world.rebootHard(ctx, primary)
				time.Sleep(cluster.BootTime)
				world.powerOn(ctx, primary)
			})
			Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
			world.awaitServing(ctx, secondary, failOverLimit)
			world.expectEvents(ctx, secondary, "failure.major", "elected", "serving")
		}, SpecTimeout(specLimit))

	It("both were in sync and are off: the Secondary is started first and serves alone, the old Primary joins it; then the "+
		"same the other way round", func(ctx SpecContext) {
		for range 2 {
			primary, secondary := world.sides(ctx)
			world.writeSome(ctx)
			world.atOnce(func(name string) { world.yank(ctx, name) })
			world.powerOn(ctx, secondary)
			world.awaitServing(ctx, secondary, 30*time.Second)
			world.powerOn(ctx, primary)
			world.awaitHealthy(ctx)
			Expect(world.primary(ctx)).To(Equal(secondary), "who comes later takes nothing back")
		}
	}, SpecTimeout(specLimit))

	It("without a witness the Primary reboots: the Secondary waits for it and says so, then the pair serves again",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			world.underLoad(ctx, func() {
				world.yank(ctx, "witness")
				world.yank(ctx, primary)
				world.expectRefusal(ctx, secondary, "witness", primary)
				world.powerOn(ctx, primary)
				Eventually(ctx, func() (string, error) { return world.oracle.Primary(ctx) }).
					WithTimeout(time.Minute).WithPolling(500*time.Millisecond).Should(BeElementOf(primary, secondary), world.statuses)
			})
		}, SpecTimeout(specLimit))

	It("the power of the whole room fails while a client writes, and everything boots at once: every box comes up, nothing is lost",
		func(ctx SpecContext) {
			l := world.startLoad(ctx, loadRate)
			time.Sleep(time.Second)
			world.everyVoter(func(name string) { world.yank(ctx, name) })
			world.everyVoter(func(name string) { world.powerOn(ctx, name) })
			l.awaitFlow(ctx, time.Minute)
			world.awaitHealthy(ctx)
		}, SpecTimeout(specLimit))
})

var _ = Describe("The last box standing", Label("full"), func() {
	It("Secondary and witness are dead, then the Primary's agent crashes: it takes its reign up again, and the client sees nothing",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			world.yank(ctx, secondary)
			world.awaitAlone(ctx, primary)
			world.yank(ctx, "witness")
			report := world.underLoad(ctx, func() {
				world.kill(ctx, primary, "agent")
				world.expectEvents(ctx, primary, "reign.resumed")
			})
			Expect(report.Errors).To(BeZero())
			Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
			Expect(world.primary(ctx)).To(Equal(primary))
		}, SpecTimeout(specLimit))

	// Nobody can record that the Primary goes on alone: it may not acknowledge a write.
	It("the witness is dead, then the Secondary dies: the Primary holds the client's writes back until the witness answers again",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			l := world.startLoad(ctx, loadRate)
			world.yank(ctx, "witness")
			time.Sleep(time.Second)
			world.yank(ctx, secondary)
			Eventually(ctx, func(g Gomega) {
				node := world.node(ctx, primary)
				g.Expect(node.Peer.Alive).To(BeFalse())
				g.Expect(node.Witness.Reachable).To(BeFalse())
				g.Expect(node.Vol.Connection).NotTo(Equal(control.Connected))
			}).WithTimeout(30 * time.Second).Should(Succeed())
			held := l.acked()
			Consistently(ctx, l.acked).WithTimeout(3*time.Second).Should(Equal(held), "a write was acknowledged that nobody may")
			world.powerOn(ctx, "witness")
			l.awaitFlow(ctx, time.Minute)
			Expect(world.node(ctx, primary).Vol.InSyncBy).To(Equal([]string{primary}))
		}, SpecTimeout(specLimit))
})

// rebootHard is "reboot -f": the box's kernel ends everything at once, as its own. The
// first process of a box is in a process namespace of its own, which is what ends.
func (p *pair) rebootHard(ctx context.Context, box string) {
	GinkgoHelper()
	_, _ = p.lab.Exec(ctx, box, "python3", "-c", "import ctypes; ctypes.CDLL(None).reboot(0x1234567)") // nobody is left to answer
	Eventually(ctx, func() error {
		_, err := p.lab.Exec(ctx, box, "true")
		return err
	}).WithTimeout(20*time.Second).Should(MatchError(cluster.ErrOff), box+" goes on running")
}

// everyVoter does the same to servers and witness at the same time.
func (p *pair) everyVoter(act func(box string)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer GinkgoRecover()
		act("witness")
	}()
	p.atOnce(act)
	<-done
}
