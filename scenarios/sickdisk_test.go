package scenarios

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/drive/faults"
	"gemel/node/replicator/control"
)

var _ = Describe("Sick disks", Label("full"), func() {
	It("the Primary's disk is gone while a client writes: the volume goes on through the other's and is handed over, the client "+
		"sees no error; then the disk is replaced and filled whole", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		report := world.underLoad(ctx, func() {
			_, err := world.lab.FailDisk(ctx, primary, faults.Fault{Kind: faults.Gone})
			Expect(err).NotTo(HaveOccurred())
			world.awaitServing(ctx, secondary, 30*time.Second)
			world.awaitDisk(ctx, primary, control.Diskless)
		})
		Expect(report.Errors).To(BeZero())
		Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
		world.expectEvents(ctx, primary, "disk.remote", "leaving")
		world.expectNothingOf("letting-go", "failure.major")
		world.yank(ctx, primary) // with the disk inside it would not have to be switched off
		world.fillBlank(ctx, primary)
		Expect(world.primary(ctx)).To(Equal(secondary))
	}, SpecTimeout(specLimit))

	It("the Primary's disk answers nothing any more while a client writes: it lets go, the other serves, and nothing is lost",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			world.underLoad(ctx, func() {
				_, err := world.lab.StickDisk(ctx, primary)
				Expect(err).NotTo(HaveOccurred())
				world.awaitServing(ctx, secondary, time.Minute)
			})
			world.expectEvents(ctx, primary, "letting-go")
			world.expectEvents(ctx, secondary, "elected", "serving")
			world.mendDisk(ctx, primary)
			world.reset(ctx, primary)
			world.awaitHealthy(ctx)
			Expect(world.primary(ctx)).To(Equal(secondary))
		}, SpecTimeout(specLimit))

	It("the Secondary's disk answers nothing any more while a client writes: the Primary goes on alone, and what the disk "+
		"answers late does no harm", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		report := world.underLoad(ctx, func() {
			_, err := world.lab.StickDisk(ctx, secondary)
			Expect(err).NotTo(HaveOccurred())
			world.awaitAlone(ctx, primary)
		})
		Expect(report.Errors).To(BeZero())
		Expect(world.primary(ctx)).To(Equal(primary))
		world.awaitDisk(ctx, secondary, control.Diskless)
		world.mendDisk(ctx, secondary) // whatever waited is answered now
		world.renewDaemons(ctx, secondary)
		world.awaitHealthy(ctx)
		world.expectEvents(ctx, primary, "set.chosen", "set.chosen")
		world.expectNothingOf(takeOver...)
	}, SpecTimeout(specLimit))

	It("the Secondary gets a blank disk: nothing of it is taken for data, and after volume create it is filled whole",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			world.yank(ctx, secondary)
			world.writeSome(ctx)
			world.fillBlank(ctx, secondary)
			Expect(world.primary(ctx)).To(Equal(primary))
			world.expectEvents(ctx, secondary, "volume.created")
			world.expectNothingOf(takeOver...)
		}, SpecTimeout(specLimit))
})

// fillBlank puts a blank disk into a server that is off, switches it on, makes its replica
// anew and waits for the full sync.
func (p *pair) fillBlank(ctx context.Context, server string) {
	GinkgoHelper()
	_, err := p.lab.SwapDisk(ctx, server, false)
	Expect(err).NotTo(HaveOccurred())
	p.powerOn(ctx, server)
	p.awaitDisk(ctx, server, control.Diskless)
	before := p.node(ctx, other(server)).Vol.Counters
	p.must(ctx, server, "gemel", "volume", "create", volume)
	p.awaitHealthy(ctx)
	after := p.node(ctx, other(server)).Vol
	// Blocks of zeroes may be compared, and need not be sent to a blank disk then.
	Expect(after.Counters.Resynced + after.Counters.Same - before.Resynced - before.Same).To(BeNumerically(">=", after.Size))
}

// mendDisk heals a server's disk. Who gave it up looks again at its next start.
func (p *pair) mendDisk(ctx context.Context, server string) {
	GinkgoHelper()
	_, err := p.lab.HealDisk(ctx, server)
	Expect(err).NotTo(HaveOccurred())
}

// awaitDisk waits until a server says that its disk is in a state.
func (p *pair) awaitDisk(ctx context.Context, server, state string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		node, err := p.oracle.Node(ctx, server)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(node.Vol.Disk).To(Equal(state))
	}).WithTimeout(time.Minute).WithPolling(300*time.Millisecond).
		Should(Succeed(), func() string { return server + "'s disk is not " + state + "\n" + p.statuses() })
}
